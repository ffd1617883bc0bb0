"""A clipped relative bias as the matrix that it adds to a block of logits."""

import jax.numpy as jnp
from jax import Array


def relative_block(table: Array, rows: int, columns: int, offset: Array | int, sign: int) -> Array:
    """table[..., clip(sign (c - r) + offset, -D, D) + D] for every (r, c): [..., rows, columns].

    The diagonals are laid out by reshaping, not looked up one entry at a time, and the gradient
    sums along them the same way. `table` is [..., 2 D + 1].
    """
    far = table.shape[-1] // 2
    period = rows + columns
    shift = jnp.arange(period)
    shift = jnp.where(shift < columns, shift, shift - period)
    diagonal = jnp.asarray(table)[..., jnp.clip(sign * shift + offset, -far, far) + far]
    # Rows of period - 1 entries of a sequence with this period: each starts one entry earlier.
    tiled = jnp.broadcast_to(diagonal[..., None, :], (*diagonal.shape[:-1], rows, period))
    flat = tiled.reshape(*diagonal.shape[:-1], rows * period)[..., : rows * (period - 1)]
    return flat.reshape(*diagonal.shape[:-1], rows, period - 1)[..., :columns]
