"""LSH attention of Reformer (Kitaev, Kaiser and Levskaya 2020, section 2), linear in memory.

Each hash round sorts the tokens by bucket, cuts the sorted sequence into chunks and lets a query
see the keys of its own chunk and of both neighbours. Where the paper leaves a choice:

- Buckets and chunks come from the number n of real tokens of each row, never from the padded
  length, so padding changes no result. The rotations differ by head and are shared by the rows.
- A key met in several rounds counts once: its logit is lowered by the log of that number of
  rounds. Rounds combined by logsumexp are then exact softmax attention over the union of the
  visible pairs.
- The first and the last chunk are no neighbours.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jaxattn.attention.inputs import check_inputs, check_key, four_axes, hide, sum_dtype
from jaxattn.attention.lsh_hashing import Round, hash_rounds, rotations
from jaxattn.attention.windows import take, window
from jaxattn.config import LshOptions
from jaxattn.errors import InputError


def reformer_lsh(
    q: Array,
    k: Array | None,
    v: Array,
    *,
    key_mask: Array | None = None,
    attn_mask: Array | None = None,
    bias: Array | None = None,
    relative_bias: Array | None = None,
    key: Array | None = None,
    chunk_size: int = LshOptions.chunk_size,
    num_hashes: int = LshOptions.num_hashes,
    mask_within_chunks: bool = LshOptions.mask_within_chunks,
    combine: str = LshOptions.combine,
) -> Array:
    """Self-attention of q [B, N, H, K] over k [B, N, H, K], v [B, N, H, V]; [B, N, H, V].

    Position i of q, k and v is the same token: padding is hidden as key and gives zeros as query.

    Args:
        q: queries, any floating type; the result has their type. Logits and sums are float32.
        k: keys; None shares queries and keys (section 2): keys are the queries with their length
            normalised to K^1/2, as in the paper's own code, so that logits q_i . q_j / |q_j| have
            the scale of exact attention's; and a token attends to itself only when it sees nothing
            else (in any round with `logsumexp`, in that round with `mean`).
        v: values.
        key_mask: bool [B, N], True = real token.
        attn_mask: bool, broadcastable to [B, H, N, N], True = may attend.
        bias: added to the logits, broadcastable to [B, H, N, N].
        relative_bias: float [H, 2 D + 1]; (i, j) gets relative_bias[h, clip(j - i, -D, D) + D].
        key: typed PRNG key of the rotations.
        chunk_size: positions of a chunk. Rows of at most this many tokens get exact attention.
        num_hashes: rounds R.
        mask_within_chunks: a query sees only the keys of its own bucket inside its window.
        combine: "logsumexp" (the paper) or "mean": the plain average over the rounds in which the
            query sees something.

    Raises:
        InputError: arguments that do not fit together, options out of range, no key.
    """
    check_inputs(q, k, v, key_mask=key_mask, relative_bias=relative_bias)
    key = check_key(key, "reformer_lsh")
    LshOptions(
        chunk_size=chunk_size,
        num_hashes=num_hashes,
        mask_within_chunks=mask_within_chunks,
        combine=combine,
    )
    batch, length, heads, width = q.shape
    if v.shape[1] != length:
        raise InputError(
            f"reformer_lsh is self-attention, found {length} queries and {v.shape[1]} keys"
        )
    mask_BHNM = four_axes("attn_mask", attn_mask, q, v)
    bias_BHNM = four_axes("bias", bias, q, v)

    positions = min(chunk_size, length)
    padding = -length % positions
    # With a single chunk every round sees the same pairs.
    rounds = num_hashes if length + padding > positions else 1

    def rows(x: Array | None) -> Array | None:
        if x is None:
            return None
        x_BHNX = jnp.moveaxis(hide(x, key_mask), 2, 1)
        return jnp.pad(x_BHNX, ((0, 0), (0, 0), (0, padding), (0, 0)))

    real_BN = jnp.ones((batch, length), bool) if key_mask is None else key_mask
    real_B1N = jnp.pad(real_BN, ((0, 0), (0, padding)))[:, None]
    with jax.named_scope("rotations"):
        columns = -(-length // (2 * chunk_size))
        rotations_HRKJ = rotations(key, heads, rounds, width, columns)
    attend = functools.partial(
        _attend_row,
        positions=positions,
        chunk_size=chunk_size,
        mask_within_chunks=mask_within_chunks,
        mean=combine == "mean",
    )
    out_BHNV = _over_leading(_over_leading(attend))(
        rows(q),
        rows(k),
        rows(v),
        real_B1N,
        mask_BHNM,
        bias_BHNM,
        None if relative_bias is None else jnp.asarray(relative_bias)[None],
        rotations_HRKJ[None],
    )
    return jnp.moveaxis(out_BHNV[:, :, :length], 1, 2).astype(q.dtype)


def _over_leading(function: Callable[..., Array]) -> Callable[..., Array]:
    """vmap over the leading axis that shares arguments of size 1 there, and None."""

    def mapped(*args: Array | None) -> Array:
        shared = [x is None or x.shape[0] == 1 for x in args]
        args = tuple(
            x[0] if one and x is not None else x for x, one in zip(args, shared, strict=True)
        )
        if all(shared):
            return function(*args)[None]
        return jax.vmap(function, [None if one else 0 for one in shared])(*args)

    return mapped


def _attend_row(
    q_NK: Array,
    k_NK: Array | None,
    v_NV: Array,
    real_N: Array,
    mask_NM: Array | None,
    bias_NM: Array | None,
    relative_T: Array | None,
    rotations_RKJ: Array,
    *,
    positions: int,
    chunk_size: int,
    mask_within_chunks: bool,
    mean: bool,
) -> Array:
    """One head of one row whose length is a multiple of `positions`, the length of a chunk."""
    dtype = sum_dtype(q_NK)
    shared = k_NK is None
    rounds_q = hash_rounds(q_NK, real_N, rotations_RKJ, chunk_size, positions)
    if k_NK is None:
        keys_NK, rounds_k = _normalized(q_NK.astype(dtype)).astype(q_NK.dtype), rounds_q
    else:
        keys_NK = k_NK
        rounds_k = hash_rounds(k_NK, real_N, rotations_RKJ, chunk_size, positions)

    def met(own_q: Round, own_k: Round, query: Array, key: Array) -> Array:
        """True where the pair is in one window (and bucket); indices [C, L], [C, W]."""
        gap = own_q.chunk[..., query][..., :, None] - own_k.chunk[..., key][..., None, :]
        near = jnp.abs(gap) <= 1
        if mask_within_chunks:
            bucket_q = own_q.bucket[..., query][..., :, None]
            near &= bucket_q == own_k.bucket[..., key][..., None, :]
        return near

    @jax.checkpoint
    def attend_round(own: tuple[Round, Round]) -> tuple[Array, Array]:
        """Output [N, V] and log of the softmax's normaliser [N] of one round."""
        own_q, own_k = own
        query_CL = own_q.order.reshape(-1, positions)
        key_CW = window(own_k.order.reshape(-1, positions), fill=-1)
        outside_CW, key_CW = key_CW < 0, jnp.maximum(key_CW, 0)
        q_CLK = take(q_NK, own_q.order).reshape(*query_CL.shape, -1)
        k_CWK = window(take(keys_NK, own_k.order).reshape(*query_CL.shape, -1))
        v_CWV = window(take(v_NV, own_k.order).reshape(*query_CL.shape, -1))

        with jax.named_scope("visible"):
            visible_CLW = met(own_q, own_k, query_CL, key_CW)
            visible_CLW &= real_N[query_CL][:, :, None]
            visible_CLW &= (real_N[key_CW] & ~outside_CW)[:, None, :]
            if shared:
                visible_CLW &= query_CL[:, :, None] != key_CW[:, None, :]
            if mask_NM is not None:
                visible_CLW &= _lookup(mask_NM, query_CL, key_CW)
        with jax.named_scope("scores"):
            scores_CLW = jnp.einsum("CLK,CWK->CLW", q_CLK, k_CWK, preferred_element_type=dtype)
            scores_CLW *= q_NK.shape[-1] ** -0.5
            if bias_NM is not None:
                scores_CLW += _lookup(bias_NM, query_CL, key_CW)
            if relative_T is not None:
                far = relative_T.shape[0] // 2
                distance_CLW = key_CW[:, None, :] - query_CL[:, :, None]
                scores_CLW += relative_T[jnp.clip(distance_CLW, -far, far) + far]
            if not mean:
                times_CLW = met(rounds_q, rounds_k, query_CL, key_CW).sum(0)
                scores_CLW -= jnp.log(jnp.maximum(times_CLW, 1).astype(dtype))
            scores_CLW = jnp.where(visible_CLW, scores_CLW, -jnp.inf)
        with jax.named_scope("attend"):
            top_CL1 = jax.lax.stop_gradient(scores_CLW.max(-1, keepdims=True))
            top_CL1 = jnp.where(jnp.isfinite(top_CL1), top_CL1, 0.0)
            weights_CLW = jnp.exp(scores_CLW - top_CL1)
            total_CL1 = weights_CLW.sum(-1, keepdims=True)
            safe_CL1 = jnp.where(total_CL1 > 0, total_CL1, 1.0)
            out_CLV = jnp.einsum(
                "CLW,CWV->CLV", weights_CLW.astype(v_NV.dtype), v_CWV, preferred_element_type=dtype
            )
            out_CLV /= safe_CL1
            log_total_CL1 = jnp.where(total_CL1 > 0, jnp.log(safe_CL1) + top_CL1, -jnp.inf)
        out_NV = take(out_CLV.reshape(-1, v_NV.shape[-1]), own_q.rank)
        return out_NV, take(log_total_CL1.reshape(-1), own_q.rank)

    out_RNV, log_total_RN = jax.lax.map(attend_round, (rounds_q, rounds_k))
    with jax.named_scope("combine"):
        itself_N = jnp.zeros_like(real_N)
        if shared:
            itself_N = real_N
            if mask_NM is not None:
                own_N = jnp.arange(real_N.shape[0])
                itself_N &= _lookup(mask_NM, own_N[:, None], own_N[:, None])[:, 0, 0]
        return (_mean if mean else _logsumexp)(out_RNV, log_total_RN, v_NV.astype(dtype), itself_N)


def _mean(out_RNV: Array, log_total_RN: Array, v_NV: Array, itself_N: Array) -> Array:
    """Average over the rounds that see something; the token itself where a round sees nothing."""
    blind_RN = log_total_RN == -jnp.inf
    out_RNV = jnp.where((blind_RN & itself_N)[..., None], v_NV, out_RNV)
    seeing_N = (~blind_RN | itself_N).sum(0)
    return out_RNV.sum(0) / jnp.maximum(seeing_N, 1)[:, None].astype(out_RNV.dtype)


def _logsumexp(out_RNV: Array, log_total_RN: Array, v_NV: Array, itself_N: Array) -> Array:
    """Rounds weighted by exp(lse_r - lse_all); the token itself where no round sees anything."""
    top_N = jax.lax.stop_gradient(log_total_RN.max(0))
    share_RN = jnp.exp(log_total_RN - jnp.where(jnp.isfinite(top_N), top_N, 0.0))
    total_N = share_RN.sum(0)
    share_RN /= jnp.where(total_N > 0, total_N, 1.0)
    out_NV = (share_RN[..., None] * out_RNV).sum(0)
    return jnp.where(((total_N == 0) & itself_N)[:, None], v_NV, out_NV)


def _normalized(x_NK: Array) -> Array:
    """x K^1/2 / |x|; the epsilon keeps the gradient of a zero vector finite."""
    return x_NK * jax.lax.rsqrt(jnp.square(x_NK).mean(-1, keepdims=True) + 1e-9)


def _lookup(x_NM: Array, query_CL: Array, key_CW: Array) -> Array:
    """x[query, key] for every pair of a window, [C, L, W]; axes of size 1 are broadcast."""
    row_CL = jnp.minimum(query_CL, x_NM.shape[0] - 1)
    column_CW = jnp.minimum(key_CW, x_NM.shape[1] - 1)
    return x_NM[row_CL[:, :, None], column_CW[:, None, :]]


def cost(
    length: int,
    head_width: int,
    *,
    chunk_size: int = LshOptions.chunk_size,
    num_hashes: int = LshOptions.num_hashes,
    mask_within_chunks: bool = LshOptions.mask_within_chunks,
    combine: str = LshOptions.combine,
) -> int:
    """FLOPs of one head of one row, forward, with shared queries and keys; sorting not counted."""
    del mask_within_chunks, combine
    positions = min(chunk_size, length)
    padded = -(-length // positions) * positions
    rounds = num_hashes if padded > positions else 1
    columns = -(-length // (2 * chunk_size))
    hashing = 2 * length * head_width * columns
    attending = 4 * padded * min(3 * positions, padded) * head_width
    return rounds * (hashing + attending)
