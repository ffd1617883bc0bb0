"""What every attention asks of its arguments, checked once, told in one sentence."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jaxattn.errors import InputError


def check_inputs(
    q: Array,
    k: Array | None,
    v: Array,
    *,
    key_mask: Array | None,
    relative_bias: Array | None,
    segment_ids: Array | None,
) -> None:
    """Raise InputError unless the arguments fit together.

    Shapes: q [B, N, H, K]; k [B, M, H, K] or None; v [B, M, H, V]; key_mask bool [B, M];
    relative_bias float [H, 2 D + 1]; segment_ids int [B, N]. N, M >= 1.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x is not None and (x.ndim != 4 or 0 in x.shape):
            raise InputError(f"{name} has shape {x.shape}, expected four axes, none of them empty")
        if x is not None and not jnp.issubdtype(x.dtype, jnp.floating):
            raise InputError(f"{name} has type {x.dtype}, expected a floating type")
    batch, _, heads, width = q.shape
    length = v.shape[1]
    if k is not None and k.shape != (batch, length, heads, width):
        raise InputError(
            f"k has shape {k.shape}, expected {(batch, length, heads, width)} "
            f"with q of shape {q.shape} and v of shape {v.shape}"
        )
    if (v.shape[0], v.shape[2]) != (batch, heads):
        raise InputError(f"v has shape {v.shape}, expected batch {batch} and {heads} heads as in q")
    if key_mask is not None and (key_mask.shape != (batch, length) or key_mask.dtype != bool):
        raise InputError(
            f"key_mask has shape {key_mask.shape} and type {key_mask.dtype}, "
            f"expected {(batch, length)} and bool"
        )
    if relative_bias is not None:
        shape = relative_bias.shape
        if len(shape) != 2 or shape[0] != heads or shape[1] % 2 == 0:
            raise InputError(
                f"relative_bias has shape {shape}, expected ({heads}, 2 D + 1) for {heads} heads"
            )
    if segment_ids is not None:
        integer = jnp.issubdtype(segment_ids.dtype, jnp.integer)
        if segment_ids.shape != (batch, length) or not integer:
            raise InputError(
                f"segment_ids has shape {segment_ids.shape} and type {segment_ids.dtype}, "
                f"expected {(batch, length)} and an integer type"
            )
    for name, x in (("relative_bias", relative_bias), ("segment_ids", segment_ids)):
        if x is not None and q.shape[1] != length:
            raise InputError(
                f"{name} needs queries and keys of one sequence, "
                f"found {q.shape[1]} queries and {length} keys"
            )


def documents(segment_ids: Array | None) -> Array | None:
    """Running number of the document of each token, int32 [B, N], from 0: a run of equal ids.

    An id that comes again later is another document, in every attention alike.
    """
    if segment_ids is None:
        return None
    changes = segment_ids[:, 1:] != segment_ids[:, :-1]
    return jnp.pad(jnp.cumsum(changes, axis=1, dtype=jnp.int32), ((0, 0), (1, 0)))


def four_axes(name: str, x: Array | None, q: Array, v: Array) -> Array | None:
    """`x` with axes of size 1 put in front so that it has four; they broadcast to [B, H, N, M].

    A mask must be bool and a bias a floating type: InputError otherwise.
    """
    if x is None:
        return None
    kind = jnp.bool_ if name == "attn_mask" else jnp.floating
    if not jnp.issubdtype(x.dtype, kind):
        raise InputError(f"{name} has type {x.dtype}, expected {kind.__name__}")
    full = (q.shape[0], q.shape[2], q.shape[1], v.shape[1])
    shape = (1,) * (4 - x.ndim) + x.shape
    if len(shape) != 4 or any(n not in (1, m) for n, m in zip(shape, full, strict=True)):
        raise InputError(f"{name} has shape {x.shape}, expected one that broadcasts to {full}")
    return jnp.asarray(x).reshape(shape)


def check_key(key: Array | None, name: str) -> Array:
    """`key` if it is one typed PRNG key (`jax.random.key`), InputError otherwise."""
    if key is None:
        raise InputError(f"{name} draws random numbers: pass key=jax.random.key(...)")
    typed = isinstance(key, Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed or key.shape != ():
        raise InputError(f"{name}: key is {key!r}, expected one typed key (jax.random.key)")
    return key


def hide(x_BMHK: Array, key_mask_BM: Array | None) -> Array:
    """`x` with zeros in masked positions: a product with weight 0 would let NaN and inf through."""
    if key_mask_BM is None:
        return x_BMHK
    return jnp.where(key_mask_BM[:, :, None, None], x_BMHK, 0)


def sum_dtype(x: Array) -> DTypeLike:
    """Type of scores, normalisers and sums: float32, or float64 for float64 inputs."""
    return jnp.promote_types(x.dtype, jnp.float32)


class Visibility(NamedTuple):
    """What hides keys from queries, and what drops weights; none of it has a gradient.

    key_mask: bool [B, M]. attn_mask: bool, four axes that broadcast to [B, H, N, M].
    documents: int [B, N], attention stays within equal ones. dropout_key: typed key.
    """

    key_mask: Array | None
    attn_mask: Array | None
    documents: Array | None
    dropout_key: Array | None


def live_rows(cotangent: Array) -> Array:
    """Rows (last axis kept, size 1) whose gradient is not zero throughout.

    Only these take part in a backward pass: whatever stands in a query that no loss depends on
    (NaN in padding, say) then reaches no other gradient.
    """
    return (cotangent != 0).any(-1, keepdims=True)


class Cost(NamedTuple):
    """The forward pass of one head of one batch row.

    flops: a multiply-add counts as two; exponentials, masks and sorting are not counted.
    floats: numbers read from and written to memory, beyond what fits into caches.
    """

    flops: int
    floats: int


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
