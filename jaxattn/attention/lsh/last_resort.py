"""The key of a query that meets none in any round."""

import jax
import jax.numpy as jnp
from jax import Array


def itself(real_BN: Array, mask: Array | None) -> Array:
    """Each position, -1 where it is padding or may not attend to itself: int32 [B, 1 or H, N]."""
    position_N = jnp.arange(real_BN.shape[1], dtype=jnp.int32)
    allowed_BHN = real_BN[:, None]
    if mask is not None:
        row_N, column_N = (jnp.minimum(position_N, n - 1) for n in mask.shape[2:])
        allowed_BHN &= mask[:, :, row_N, column_N]
    return jnp.where(allowed_BHN, position_N, -1)


def nearest_visible(
    real_BN: Array, number_BN: Array | None, mask: Array | None, bias: Array | None
) -> Array:
    """The last key visible to each position up to its own, else the first after it.

    int32 [B, 1 or H, N]; -1 where the position is padding or no key of its document is visible.

    Args:
        real_BN: bool, True = real token.
        number_BN: running number of the document, None: one document.
        mask: bool, [1 or B, 1 or H, 1 or N, 1 or N], True = may attend; None: all.
        bias: like it; a bias of -inf hides too.
    """
    length = real_BN.shape[1]
    position_N = jnp.arange(length, dtype=jnp.int32)
    seen = real_BN[:, None, None]
    for allowed in (mask, None if bias is None else bias > -jnp.inf):
        if allowed is not None:
            seen &= allowed
    if seen.shape[2] == 1:
        seen_BHM = seen[:, :, 0]
        axis = seen_BHM.ndim - 1
        before = jax.lax.cummax(jnp.where(seen_BHM, position_N, -1), axis)
        after = jax.lax.cummin(jnp.where(seen_BHM, position_N, length), axis, reverse=True)
        if number_BN is not None:
            own_BHN = jnp.broadcast_to(number_BN[:, None], before.shape)

            def outside(index: Array) -> Array:
                index = jnp.clip(index, 0, length - 1)
                return jnp.take_along_axis(own_BHN, index, -1) != own_BHN

            before = jnp.where(outside(before), -1, before)
            after = jnp.where(outside(after), length, after)
    else:
        if number_BN is not None:
            seen &= (number_BN[:, :, None] == number_BN[:, None])[:, None]
        past_NM = position_N <= position_N[:, None]
        before = jnp.where(seen & past_NM, position_N, -1).max(-1)
        after = jnp.where(seen & ~past_NM, position_N, length).min(-1)
    index = jnp.where(before >= 0, before, jnp.where(after < length, after, -1))
    return jnp.where(real_BN[:, None], index, -1)
