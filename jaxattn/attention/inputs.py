"""What every attention is given, checked and in one form, and what they all do with it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Key, Shaped

from jaxattn.errors import InputError


class Visibility(NamedTuple):
    """What hides keys from queries, and what drops weights; none of it has a gradient.

    key_mask: True = real token. attn_mask: True = may attend, axes of size 1 broadcast.
    documents: attention stays within equal ones.
    """

    key_mask: Bool[Array, "B M"] | None = None
    attn_mask: Bool[Array, "#B #H #N #M"] | None = None
    documents: Int[Array, "B N"] | None = None
    dropout_key: Key[Array, ""] | None = None


class Inputs(NamedTuple):
    """What an attention is given beside q, k and v; None: nothing.

    seen: masks. bias: added to the logits, axes of size 1 broadcast. relative_bias: (i, j) gets
    relative_bias[h, clip(j - i, -D, D) + D], T = 2 D + 1. key: draws what the attention draws, in
    place of which `drawn` may hold it. dropout_rate: share of the weights that is set to zero.
    right_padded: the promise that in every row of the key mask what is True comes first, of one
    sequence; what padding gets as a query is not defined then.
    """

    seen: Visibility
    bias: Float[Array, "#B #H #N #M"] | None = None
    relative_bias: Float[Array, "H T"] | None = None
    key: Key[Array, ""] | None = None
    drawn: Float[Array, "..."] | None = None
    dropout_rate: float = 0.0
    right_padded: bool = False

    @property
    def plain(self) -> bool:
        """No mask but a key mask, no bias, no documents."""
        others = self.seen.attn_mask, self.seen.documents, self.bias, self.relative_bias
        return all(x is None for x in others)


class Arguments(NamedTuple):
    """What exact attention is computed of, or its gradients; as in `Inputs`."""

    q: Float[Array, "B N H K"]
    k: Float[Array, "B M H K"]
    v: Float[Array, "B M H V"]
    bias: Float[Array, "#B #H #N #M"] | None
    relative_bias: Float[Array, "H T"] | None
    seen: Visibility = Visibility()


def checked(q: Array, k: Array | None, v: Array, given: Inputs) -> Inputs:
    """What `AttentionOp.apply` was given in one form; InputError unless it fits together.

    `given.seen.documents` are ids: a run of equal ones is a document.
    """
    key_mask, attn_mask, segment_ids, dropout_key = given.seen
    relative_bias, dropout_rate = given.relative_bias, given.dropout_rate
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x is not None and (x.ndim != 4 or 0 in x.shape):
            raise InputError(f"{name} has shape {x.shape}, expected four axes, none of them empty")
        if x is not None and not jnp.issubdtype(x.dtype, jnp.floating):
            raise InputError(f"{name} has type {x.dtype}, expected a floating type")
    (batch, queries, heads, width), length = q.shape, v.shape[1]
    if k is not None and k.shape != (batch, length, heads, width):
        raise InputError(
            f"k has shape {k.shape}, expected {(batch, length, heads, width)} "
            f"with q of shape {q.shape} and v of shape {v.shape}"
        )
    if (v.shape[0], v.shape[2]) != (batch, heads):
        raise InputError(f"v has shape {v.shape}, expected batch {batch} and {heads} heads as in q")
    for name, x, kind in (("key_mask", key_mask, "bool"), ("segment_ids", segment_ids, "integer")):
        if x is None:
            continue
        right = x.dtype == bool if kind == "bool" else jnp.issubdtype(x.dtype, jnp.integer)
        if x.shape != (batch, length) or not right:
            raise InputError(
                f"{name} has shape {x.shape} and type {x.dtype}, expected {(batch, length)} and "
                + ("bool" if kind == "bool" else "an integer type")
            )
    if relative_bias is not None:
        shape = relative_bias.shape
        if len(shape) != 2 or shape[0] != heads or shape[1] % 2 == 0:
            raise InputError(
                f"relative_bias has shape {shape}, expected ({heads}, 2 D + 1) for {heads} heads"
            )
    for name, x in (("relative_bias", relative_bias), ("segment_ids", segment_ids)):
        if x is not None and queries != length:
            raise InputError(
                f"{name} needs queries and keys of one sequence, "
                f"found {queries} queries and {length} keys"
            )
    if not 0.0 <= dropout_rate < 1.0:
        raise InputError(f"dropout_rate: found {dropout_rate}, allowed: 0 <= rate < 1")
    if dropout_rate and dropout_key is None:
        raise InputError("dropout_rate is above 0: pass dropout_key=jax.random.key(...)")
    attn_mask, bias = _four_axes("attn_mask", attn_mask, q, v), _four_axes("bias", given.bias, q, v)
    seen = Visibility(key_mask, attn_mask, documents(segment_ids), dropout_key)
    return given._replace(seen=seen, bias=bias, relative_bias=relative_bias)


def _four_axes(name: str, x: Array | None, q: Array, v: Array) -> Array | None:
    """`x` with axes of size 1 put in front so that it has four; they broadcast to [B, H, N, M]."""
    if x is None:
        return None
    kind = jnp.bool_ if name == "attn_mask" else jnp.floating
    if not jnp.issubdtype(x.dtype, kind):
        raise InputError(f"{name} has type {x.dtype}, expected {kind.__name__}")
    full = (q.shape[0], q.shape[2], q.shape[1], v.shape[1])
    shape = (1,) * (4 - x.ndim) + x.shape
    if len(shape) != 4 or any(n not in (1, m) for n, m in zip(shape, full, strict=True)):
        raise InputError(f"{name} has shape {x.shape}, expected one that broadcasts to {full}")
    return x.reshape(shape)


def documents(segment_ids: Int[Array, "B N"] | None) -> Int[Array, "B N"] | None:
    """Running number of the document of each token, int32, from 0: a run of equal ids.

    An id that comes again later is another document, in every attention alike.
    """
    if segment_ids is None:
        return None
    changes = segment_ids[:, 1:] != segment_ids[:, :-1]
    return jnp.pad(jnp.cumsum(changes, axis=1, dtype=jnp.int32), ((0, 0), (1, 0)))


def hide(x: Shaped[Array, "B M H X"], key_mask: Bool[Array, "B M"] | None) -> Array:
    """`x` with zeros in masked positions: a product with weight 0 would let NaN and inf through."""
    return x if key_mask is None else jnp.where(key_mask[:, :, None, None], x, 0)


def sum_dtype(x: Array) -> DTypeLike:
    """Type of scores, normalisers and sums: float32, or float64 for float64 inputs."""
    return jnp.promote_types(x.dtype, jnp.float32)


def finite(x: Array) -> Array:
    """0 for the -inf of a row that sees no key: -inf - -inf is NaN."""
    return jnp.where(x == -jnp.inf, 0.0, x)


def dropped(weights: Array, rate: float, key: Array | None) -> Array:
    """`weights` after dropout; a backward pass that asks with the same key drops the same ones."""
    if rate == 0.0 or key is None:
        return weights
    keep = jax.random.bernoulli(key, 1.0 - rate, weights.shape)
    return jnp.where(keep, weights / (1.0 - rate), 0.0)


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


def pairs_at(x: Array, query_cL: Array, key_cW: Array) -> Array:
    """x[..., query, key] for every pair of a query and a key of one of c windows: [..., c, W, L].

    The last two axes of `x` belong to queries and keys, or have size 1. Positions outside take what
    stands at the end.
    """
    row_c1L = jnp.clip(query_cL, 0, x.shape[-2] - 1)[:, None, :]
    column_cW1 = jnp.clip(key_cW, 0, x.shape[-1] - 1)[:, :, None]
    return x[..., row_c1L, column_cW1]
