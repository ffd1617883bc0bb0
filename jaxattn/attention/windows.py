"""Chunks of a sequence and their neighbours, and permutations of it."""

import jax.numpy as jnp
from jax import Array


def window(x: Array, axis: int = 0, fill: int = 0) -> Array:
    """Chunks [.., C, L, ..] with both neighbours: [.., C, W, ..], W = 3 L, or L when C = 1.

    `axis` is that of the chunks; their positions follow it. `fill` stands before the first chunk
    and after the last.
    """
    chunks = x.shape[axis]
    if chunks == 1:
        return x
    ends = [(0, 0)] * x.ndim
    ends[axis] = (1, 1)
    wide = jnp.moveaxis(jnp.pad(x, ends, constant_values=fill), axis, 0)
    before, after = jnp.moveaxis(wide[:-2], 0, axis), jnp.moveaxis(wide[2:], 0, axis)
    return jnp.concatenate([before, x, after], axis=axis + 1)


def take(x: Array, order_N: Array) -> Array:
    """x[order] along axis 0 for a permutation: its gradient then needs no atomic additions."""
    return x.at[order_N].get(unique_indices=True, mode="promise_in_bounds")
