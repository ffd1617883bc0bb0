"""The two linear sums of FAVOR+ over all keys, chunk by chunk, with their own gradient.

out_i = phi(q_i) . S / phi(q_i) . z with S = sum_j phi(k_j) v_j and z = sum_j phi(k_j). Features are
made where they are used and again in the backward pass, so that memory does not grow with the
number of features; S and z, whose size has nothing to do with the length, are all that is kept.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxattn.attention.favor_features import log_features
from jaxattn.attention.inputs import sum_dtype
from jaxattn.attention.rows import even_blocks, numbers_at_a_time
from jaxattn.attention.sdpa_dense import live_rows

# A feature whose sum over the keys is below this does not raise a query's stabiliser further.
SMALLEST_SUM = math.exp(-60.0)


@dataclasses.dataclass(frozen=True)
class FeatureMap:
    """Which features are made of how many projections."""

    features: str
    projections: int

    @property
    def count(self) -> int:
        """Number F of features."""
        return 2 * self.projections if self.features == "hyperbolic" else self.projections


class Draw(NamedTuple):
    """What has no gradient: projections [m, K], and the tilt of "optimal" [B, H] or None."""

    projections_mK: Array
    tilt_BH: Array | None


def _finite(x: Array) -> Array:
    """0 for the -inf of rows without keys: -inf - -inf is NaN."""
    return jnp.where(x == -jnp.inf, 0.0, x)


def _chunks(length: int, feature_map: FeatureMap, rows: int) -> tuple[int, int]:
    return even_blocks(length, max(1, numbers_at_a_time() // (feature_map.count * rows)))


def _chunk(x_BNHX: Array, number: Array, size: int) -> Array:
    """Chunk `number` as [B, H, L, X]."""
    return jnp.swapaxes(jax.lax.dynamic_slice_in_dim(x_BNHX, number * size, size, 1), 1, 2)


def _placed(x_BNHX: Array, chunk_BHLX: Array, number: Array) -> Array:
    chunk = jnp.swapaxes(chunk_BHLX, 1, 2).astype(x_BNHX.dtype)
    return jax.lax.dynamic_update_slice_in_dim(x_BNHX, chunk, number * chunk.shape[1], 1)


def _filled(x_BNHX: Array, length: int, value: float = 0.0) -> Array:
    more = length - x_BNHX.shape[1]
    if not more:
        return x_BNHX
    return jnp.pad(x_BNHX, ((0, 0), (0, more), (0, 0), (0, 0)), constant_values=value)


def linear_attention(
    feature_map: FeatureMap, q: Array, k: Array, v: Array, log_weight: Array | None, draw: Draw
) -> Array:
    """Attention of q [B, N, H, K] over k [B, M, H, K], v [B, M, H, V]: [B, N, H, V] in q's type.

    log_weight: added to the logits of each key, [B, M, H], -inf hides it; None: all zero.
    """
    rows = q.shape[0] * q.shape[2]
    number_q, chunk_q = _chunks(q.shape[1], feature_map, rows)
    number_k, chunk_k = _chunks(k.shape[1], feature_map, rows)
    length_q, length_k = number_q * chunk_q, number_k * chunk_k
    if length_k > k.shape[1] and log_weight is None:
        log_weight = jnp.zeros(k.shape[:3], sum_dtype(q))
    if log_weight is not None:
        log_weight = _filled(log_weight[..., None], length_k, -jnp.inf)
    out = _attend(
        feature_map,
        _filled(q, length_q),
        _filled(k, length_k),
        _filled(v, length_k),
        log_weight,
        draw,
    )
    return out[:, : q.shape[1]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
    feature_map: FeatureMap, q: Array, k: Array, v: Array, log_weight: Array | None, draw: Draw
) -> Array:
    """`linear_attention` for lengths that are multiples of the chunks'."""
    return _forward(feature_map, q, k, v, log_weight, draw)[0]


class _Sums(NamedTuple):
    """top: stabiliser of the keys' features [B, H], one for all keys and features (one per key
    would change the kernel). state: S [B, H, F, V]. total: z [B, H, F], both without exp(top)."""

    top_BH: Array
    state_BHFV: Array
    total_BHF: Array


def _query_features(
    feature_map: FeatureMap, q_BHLK: Array, draw: Draw, log_total_BHF: Array
) -> Array:
    """Features of queries, [B, H, L, F], each query's scaled by a factor that cancels."""
    tilt = None if draw.tilt_BH is None else draw.tilt_BH[..., None, None]
    log_BHLF = log_features(
        q_BHLK,
        draw.projections_mK,
        feature_map.features,
        tilt,
        scale=q_BHLK.shape[-1] ** -0.25,
        of_query=True,
    )
    # Weighing the features by their sums puts the largest term of the denominator at 1.
    weighed_BHLF = log_BHLF + log_total_BHF[:, :, None]
    return jnp.exp(log_BHLF - jax.lax.stop_gradient(weighed_BHLF.max(-1, keepdims=True)))


def _log_key_features(
    feature_map: FeatureMap, k_BHLK: Array, log_weight_BHL1: Array | None, draw: Draw
) -> Array:
    tilt = None if draw.tilt_BH is None else draw.tilt_BH[..., None, None]
    log_BHLF = log_features(
        k_BHLK, draw.projections_mK, feature_map.features, tilt, scale=k_BHLK.shape[-1] ** -0.25
    )
    return log_BHLF if log_weight_BHL1 is None else log_BHLF + log_weight_BHL1


def _keys(k: Array, v: Array, log_weight: Array | None, number: Array, size: int) -> Any:
    """Chunk of keys, values and log weights; hidden ones are zero, whatever stood there."""
    k_BHLK, v_BHLV = _chunk(k, number, size), _chunk(v, number, size)
    if log_weight is None:
        return k_BHLK, v_BHLV, None
    log_weight_BHL1 = _chunk(log_weight, number, size)
    seen = log_weight_BHL1 > -jnp.inf
    return jnp.where(seen, k_BHLK, 0), jnp.where(seen, v_BHLV, 0), log_weight_BHL1


def _operand(x: Array, like: Array) -> Array:
    """Features in bfloat16 beside bfloat16 inputs (sums stay float32), otherwise as they are."""
    return x.astype(jnp.bfloat16) if like.dtype == jnp.bfloat16 else x


def _forward(feature_map, q, k, v, log_weight, draw):  # type: ignore[no-untyped-def]
    dtype = sum_dtype(q)
    batch, length, heads, _ = q.shape
    width = v.shape[-1]
    number_q, chunk_q = _chunks(length, feature_map, batch * heads)
    number_k, chunk_k = _chunks(k.shape[1], feature_map, batch * heads)
    einsum = functools.partial(jnp.einsum, preferred_element_type=dtype)

    def add_keys(i: Array, sums: _Sums) -> _Sums:
        k_BHLK, v_BHLV, log_weight_BHL1 = _keys(k, v, log_weight, i, chunk_k)
        log_BHLF = _log_key_features(feature_map, k_BHLK, log_weight_BHL1, draw)
        top_BH = jnp.maximum(sums.top_BH, log_BHLF.max((2, 3)))
        kept_BH = jnp.exp(sums.top_BH - _finite(top_BH))
        k_BHLF = jnp.exp(log_BHLF - _finite(top_BH)[..., None, None])
        v_BHLV = v_BHLV if v.dtype == jnp.bfloat16 else v_BHLV.astype(dtype)
        state_BHFV = einsum("BHLF,BHLV->BHFV", _operand(k_BHLF, v), v_BHLV)
        return _Sums(
            top_BH,
            sums.state_BHFV * kept_BH[..., None, None] + state_BHFV,
            sums.total_BHF * kept_BH[..., None] + k_BHLF.sum(2),
        )

    none = _Sums(
        jnp.full((batch, heads), -jnp.inf, dtype),
        jnp.zeros((batch, heads, feature_map.count, width), dtype),
        jnp.zeros((batch, heads, feature_map.count), dtype),
    )
    with jax.named_scope("keys"):
        sums = jax.lax.fori_loop(0, number_k, add_keys, none)
    log_total_BHF = jnp.log(jnp.maximum(sums.total_BHF, SMALLEST_SUM))

    def answer(i: Array, out: Array) -> Array:
        q_BHLF = _query_features(feature_map, _chunk(q, i, chunk_q), draw, log_total_BHF)
        out_BHLV = einsum("BHLF,BHFV->BHLV", _operand(q_BHLF, q), _operand(sums.state_BHFV, q))
        total_BHL = einsum("BHLF,BHF->BHL", q_BHLF, sums.total_BHF)
        # Zero only where no key is visible.
        safe_BHL = jnp.where(total_BHL == 0, 1.0, total_BHL)
        return _placed(out, out_BHLV / safe_BHL[..., None], i)

    with jax.named_scope("queries"):
        out = jnp.zeros((batch, length, heads, width), q.dtype)
        out = jax.lax.fori_loop(0, number_q, answer, out)
    return out, (q, k, v, log_weight, draw, sums, log_total_BHF)


def _backward(feature_map, residuals, cotangent):  # type: ignore[no-untyped-def]
    q, k, v, log_weight, draw, sums, log_total_BHF = residuals
    dtype = sum_dtype(q)
    rows = q.shape[0] * q.shape[2]
    number_q, chunk_q = _chunks(q.shape[1], feature_map, rows)
    number_k, chunk_k = _chunks(k.shape[1], feature_map, rows)
    einsum = functools.partial(jnp.einsum, preferred_element_type=dtype)
    state_BHFV, total_BHF = _operand(sums.state_BHFV, q), sums.total_BHF

    def one_query_chunk(i: Array, carry: Any) -> Any:
        dstate_BHFV, dtotal_BHF, dq = carry
        do_BHLV = _chunk(cotangent, i, chunk_q).astype(dtype)
        q_BHLK = jnp.where(live_rows(do_BHLV), _chunk(q, i, chunk_q), 0)

        def features(q_BHLK: Array) -> Array:
            return _query_features(feature_map, q_BHLK, draw, log_total_BHF)

        q_BHLF, pull = jax.vjp(features, q_BHLK)
        total_BHL1 = einsum("BHLF,BHF->BHL", q_BHLF, total_BHF)[..., None]
        do_BHLV = jnp.where(total_BHL1 == 0, 0, do_BHLV / jnp.where(total_BHL1 == 0, 1, total_BHL1))
        toward_BHLF = einsum("BHLV,BHFV->BHLF", _operand(do_BHLV, q), state_BHFV)
        # d total: -(d out . out), with out = phi . S / total.
        safe_BHL1 = jnp.where(total_BHL1 == 0, 1, total_BHL1)
        dtotal_BHL1 = -(q_BHLF * toward_BHLF).sum(-1, keepdims=True) / safe_BHL1
        (dq_BHLK,) = pull(toward_BHLF + dtotal_BHL1 * total_BHF[:, :, None])
        return (
            dstate_BHFV + einsum("BHLF,BHLV->BHFV", _operand(q_BHLF, q), _operand(do_BHLV, q)),
            dtotal_BHF + einsum("BHLF,BHL->BHF", q_BHLF, dtotal_BHL1[..., 0]),
            _placed(dq, dq_BHLK, i),
        )

    begin = jnp.zeros_like(sums.state_BHFV), jnp.zeros_like(total_BHF), jnp.zeros_like(q)
    with jax.named_scope("queries_backward"):
        sums_and_dq = jax.lax.fori_loop(0, number_q, one_query_chunk, begin)
    dstate_BHFV, dtotal_BHF, dq = sums_and_dq
    dstate_BHFV = _operand(dstate_BHFV, v)

    def one_key_chunk(i: Array, carry: Any) -> Any:
        dk, dv, dlog_weight = carry
        k_BHLK, v_BHLV, log_weight_BHL1 = _keys(k, v, log_weight, i, chunk_k)

        def features(k_BHLK: Array) -> Array:
            log_BHLF = _log_key_features(feature_map, k_BHLK, log_weight_BHL1, draw)
            return jnp.exp(log_BHLF - _finite(sums.top_BH)[..., None, None])

        k_BHLF, pull = jax.vjp(features, k_BHLK)
        v_BHLV = v_BHLV if v.dtype == jnp.bfloat16 else v_BHLV.astype(dtype)
        dk_BHLF = einsum("BHLV,BHFV->BHLF", v_BHLV, dstate_BHFV) + dtotal_BHF[:, :, None]
        dv_BHLV = einsum("BHLF,BHFV->BHLV", _operand(k_BHLF, v), dstate_BHFV)
        if dlog_weight is not None:
            change_BHL1 = (k_BHLF * dk_BHLF).sum(-1, keepdims=True)
            dlog_weight = _placed(dlog_weight, change_BHL1, i)
        return _placed(dk, pull(dk_BHLF)[0], i), _placed(dv, dv_BHLV, i), dlog_weight

    dlog_weight = None if log_weight is None else jnp.zeros_like(log_weight)
    zeros = jnp.zeros_like(k), jnp.zeros_like(v), dlog_weight
    with jax.named_scope("keys_backward"):
        dk, dv, dlog_weight = jax.lax.fori_loop(0, number_k, one_key_chunk, zeros)
    return dq, dk, dv, dlog_weight, None


_attend.defvjp(_forward, _backward)
