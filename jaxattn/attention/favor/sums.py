"""The two linear sums of FAVOR+ over all keys, chunk by chunk, with their own gradient.

out_i = phi(q_i) . S / phi(q_i) . z with S = sum_j phi(k_j) v_j and z = sum_j phi(k_j). With
mean_f = S_f / z_f and log z, this is a softmax over the features of a softmax over the keys,

    out_i = sum_f softmax_f(log phi_f(q_i) + log z_f) mean_f,
    mean_f = sum_j softmax_j(log phi_f(k_j)) v_j,

and every exponential is taken of a number that is at most 0: the stabiliser of the keys is one
number for each feature, which cancels against the query's feature, so no input is too large. (One
number for each key would change the kernel; one for all features lets whole sums underflow.)

Features are made where they are used and again in the backward pass, so that memory does not grow
with the number of features; mean and log z, whose size has nothing to do with the length, are all
that is kept.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from jaxattn.attention.blocks import even_blocks, numbers_at_a_time
from jaxattn.attention.favor.features import log_features, log_features_gradient
from jaxattn.attention.inputs import finite, live_rows, sum_dtype


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
    """Of the features of the keys so far: top, their largest logarithm [B, H, F]; total and state,
    their sums without and with the values, over exp(top), [B, H, F] and [B, H, F, V]."""

    top_BHF: Array
    total_BHF: Array
    state_BHFV: Array


class _Means(NamedTuple):
    """log_total: log z [B, H, F]. mean: S / z [B, H, F, V]. Both 0 in rows without visible keys."""

    log_total_BHF: Array
    mean_BHFV: Array


def _arguments(feature_map: FeatureMap, draw: Draw) -> tuple[Any, ...]:
    tilt = None if draw.tilt_BH is None else draw.tilt_BH[..., None, None]
    return draw.projections_mK, feature_map.features, tilt


def _query_features(
    feature_map: FeatureMap, q_BHLK: Array, draw: Draw, log_total_BHF: Array
) -> tuple[Array, Array]:
    """Features of queries times z, [B, H, L, F], up to a factor for each query that makes the
    largest one 1, and their sums [B, H, L, 1]."""
    log_BHLF = log_features(
        q_BHLK,
        *_arguments(feature_map, draw),
        scale=q_BHLK.shape[-1] ** -0.25,
        of_query=True,
    )
    log_BHLF += log_total_BHF[:, :, None]
    q_BHLF = jnp.exp(log_BHLF - log_BHLF.max(-1, keepdims=True))
    return q_BHLF, q_BHLF.sum(-1, keepdims=True)


def _log_key_features(
    feature_map: FeatureMap, k_BHLK: Array, log_weight_BHL1: Array | None, draw: Draw
) -> Array:
    log_BHLF = log_features(k_BHLK, *_arguments(feature_map, draw), scale=k_BHLK.shape[-1] ** -0.25)
    return log_BHLF if log_weight_BHL1 is None else log_BHLF + log_weight_BHL1


def _keys(k: Array, v: Array, log_weight: Array | None, number: Array, size: int) -> PyTree:
    """Chunk of keys, values and log weights; hidden ones are zero, whatever stood there."""
    k_BHLK, v_BHLV = _chunk(k, number, size), _operand(_chunk(v, number, size), v)
    if log_weight is None:
        return k_BHLK, v_BHLV, None
    log_weight_BHL1 = _chunk(log_weight, number, size)
    seen = log_weight_BHL1 > -jnp.inf
    return jnp.where(seen, k_BHLK, 0), jnp.where(seen, v_BHLV, 0), log_weight_BHL1


def _operand(x: Array, like: Array) -> Array:
    """`x` for a product: bfloat16 beside bfloat16 inputs (sums stay float32), else as sums are."""
    return x.astype(jnp.bfloat16 if like.dtype == jnp.bfloat16 else sum_dtype(like))


class _Residuals(NamedTuple):
    """Arguments of `linear_attention`, and what the backward pass needs of the keys."""

    q: Array
    k: Array
    v: Array
    log_weight: Array | None
    draw: Draw
    means: _Means


def _forward(
    feature_map: FeatureMap, q: Array, k: Array, v: Array, log_weight: Array | None, draw: Draw
) -> tuple[Array, _Residuals]:
    dtype = sum_dtype(q)
    batch, length, heads, _ = q.shape
    width = v.shape[-1]
    number_q, chunk_q = _chunks(length, feature_map, batch * heads)
    number_k, chunk_k = _chunks(k.shape[1], feature_map, batch * heads)
    einsum = functools.partial(jnp.einsum, preferred_element_type=dtype)

    def add_keys(i: Array, sums: _Sums) -> _Sums:
        k_BHLK, v_BHLV, log_weight_BHL1 = _keys(k, v, log_weight, i, chunk_k)
        log_BHLF = _log_key_features(feature_map, k_BHLK, log_weight_BHL1, draw)
        top_BHF = jnp.maximum(sums.top_BHF, log_BHLF.max(2))
        kept_BHF = jnp.exp(sums.top_BHF - finite(top_BHF))
        k_BHLF = jnp.exp(log_BHLF - finite(top_BHF)[:, :, None])
        return _Sums(
            top_BHF,
            sums.total_BHF * kept_BHF + k_BHLF.sum(2),
            sums.state_BHFV * kept_BHF[..., None]
            + einsum("BHLF,BHLV->BHFV", _operand(k_BHLF, q), v_BHLV),
        )

    none = _Sums(
        jnp.full((batch, heads, feature_map.count), -jnp.inf, dtype),
        jnp.zeros((batch, heads, feature_map.count), dtype),
        jnp.zeros((batch, heads, feature_map.count, width), dtype),
    )
    with jax.named_scope("keys"):
        sums = jax.lax.fori_loop(0, number_k, add_keys, none)
        # At least 1 where a key is visible.
        total_BHF = jnp.where(sums.total_BHF == 0, 1.0, sums.total_BHF)
        log_total_BHF = finite(sums.top_BHF) + jnp.log(total_BHF)
        mean_BHFV = _operand(sums.state_BHFV / total_BHF[..., None], q)

    def answer(i: Array, out: Array) -> Array:
        q_BHLF, total_BHL1 = _query_features(
            feature_map, _chunk(q, i, chunk_q), draw, log_total_BHF
        )
        out_BHLV = einsum("BHLF,BHFV->BHLV", _operand(q_BHLF, q), mean_BHFV)
        return _placed(out, out_BHLV / total_BHL1, i)

    with jax.named_scope("queries"):
        out = jnp.zeros((batch, length, heads, width), q.dtype)
        out = jax.lax.fori_loop(0, number_q, answer, out)
    return out, _Residuals(q, k, v, log_weight, draw, _Means(log_total_BHF, mean_BHFV))


def _backward(
    feature_map: FeatureMap, residuals: _Residuals, cotangent: Array
) -> tuple[Array | None, ...]:
    """A softmax's gradient twice: of the features' weights, and of the keys' in each mean."""
    q, k, v, log_weight, draw, (log_total_BHF, mean_BHFV) = residuals
    dtype = sum_dtype(q)
    rows = q.shape[0] * q.shape[2]
    number_q, chunk_q = _chunks(q.shape[1], feature_map, rows)
    number_k, chunk_k = _chunks(k.shape[1], feature_map, rows)
    einsum = functools.partial(jnp.einsum, preferred_element_type=dtype)
    gradient = functools.partial(log_features_gradient, scale=q.shape[-1] ** -0.25)

    def one_query_chunk(i: Array, carry: PyTree) -> PyTree:
        dmean_BHFV, dlog_total_BHF, dq = carry
        do_BHLV = _chunk(cotangent, i, chunk_q).astype(dtype)
        q_BHLK = jnp.where(live_rows(do_BHLV), _chunk(q, i, chunk_q), 0)
        q_BHLF, total_BHL1 = _query_features(feature_map, q_BHLK, draw, log_total_BHF)
        do_BHLV = _operand(do_BHLV / total_BHL1, q)
        toward_BHLF = einsum("BHLV,BHFV->BHLF", do_BHLV, mean_BHFV)
        average_BHL1 = (q_BHLF * toward_BHLF).sum(-1, keepdims=True) / total_BHL1
        dlog_BHLF = q_BHLF * (toward_BHLF - average_BHL1)
        dq_BHLK = gradient(dlog_BHLF, q_BHLK, *_arguments(feature_map, draw), of_query=True)
        return (
            dmean_BHFV + einsum("BHLF,BHLV->BHFV", _operand(q_BHLF, q), do_BHLV),
            dlog_total_BHF + dlog_BHLF.sum(2),
            _placed(dq, dq_BHLK, i),
        )

    begin = jnp.zeros(mean_BHFV.shape, dtype), jnp.zeros_like(log_total_BHF), jnp.zeros_like(q)
    with jax.named_scope("queries_backward"):
        sums_and_dq = jax.lax.fori_loop(0, number_q, one_query_chunk, begin)
    dmean_BHFV, dlog_total_BHF, dq = sums_and_dq
    dmean_BHFV = _operand(dmean_BHFV, q)
    # Of the weights of the keys in mean_f: their gradient's average, and what log z adds.
    average_BHF = (dmean_BHFV.astype(dtype) * mean_BHFV).sum(-1)
    of_all_BHF = dlog_total_BHF - average_BHF

    def one_key_chunk(i: Array, carry: PyTree) -> PyTree:
        dk, dv, dlog_weight = carry
        k_BHLK, v_BHLV, log_weight_BHL1 = _keys(k, v, log_weight, i, chunk_k)
        log_BHLF = _log_key_features(feature_map, k_BHLK, log_weight_BHL1, draw)
        weights_BHLF = jnp.exp(log_BHLF - log_total_BHF[:, :, None])
        toward_BHLF = einsum("BHLV,BHFV->BHLF", v_BHLV, dmean_BHFV)
        dlog_BHLF = weights_BHLF * (toward_BHLF + of_all_BHF[:, :, None])
        dk_BHLK = gradient(dlog_BHLF, k_BHLK, *_arguments(feature_map, draw))
        dv_BHLV = einsum("BHLF,BHFV->BHLV", _operand(weights_BHLF, q), dmean_BHFV)
        if dlog_weight is not None:
            dlog_weight = _placed(dlog_weight, dlog_BHLF.sum(-1, keepdims=True), i)
        return _placed(dk, dk_BHLK, i), _placed(dv, dv_BHLV, i), dlog_weight

    dlog_weight = None if log_weight is None else jnp.zeros_like(log_weight)
    zeros = jnp.zeros_like(k), jnp.zeros_like(v), dlog_weight
    with jax.named_scope("keys_backward"):
        dk, dv, dlog_weight = jax.lax.fori_loop(0, number_k, one_key_chunk, zeros)
    return dq, dk, dv, dlog_weight, None


_attend.defvjp(_forward, _backward)
