"""FAVOR+ attention of Performer (Choromanski et al. 2021, sections 2.2 to 2.4), linear in length.

With positive random features exp(q . k) ~ phi(q) . phi(k), so that
out_i = phi(q_i) . sum_j phi(k_j) v_j / phi(q_i) . sum_j phi(k_j): the sums over the keys are taken
once. The projections are shared by the batch rows and the heads.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

from jaxattn.attention.favor_features import draw_projections, log_features
from jaxattn.attention.inputs import check_inputs, check_key, four_axes, sum_dtype
from jaxattn.attention.windows import window
from jaxattn.config import FavorOptions
from jaxattn.errors import InputError

# Shortest chunk for relative biases: one feature-by-value state is kept per chunk.
_SHORTEST_CHUNK = 64
# A feature whose sum over the keys is below this does not raise a query's stabiliser further.
_SMALLEST_SUM = math.exp(-60.0)


def performer_favor(
    q: Array,
    k: Array,
    v: Array,
    *,
    key_mask: Array | None = None,
    attn_mask: Array | None = None,
    bias: Array | None = None,
    relative_bias: Array | None = None,
    key: Array | None = None,
    nb_features: int | None = None,
    features: str = FavorOptions.features,
    orthogonal: bool = FavorOptions.orthogonal,
) -> Array:
    """Attention of q [B, N, H, K] over k [B, M, H, K], v [B, M, H, V]; returns [B, N, H, V].

    Args:
        q: queries, any floating type; the result has their type. Features and sums are float32.
        k: keys.
        v: values.
        key_mask: bool [B, M], True = real token.
        attn_mask: bool [., ., 1, M], True = may attend: it must not depend on the query.
        bias: float [., ., 1, M], added to the logits: it must not depend on the query.
        relative_bias: float [H, 2 D + 1], needs N = M: see `_relative_sums`.
        key: typed PRNG key of the projections.
        nb_features: number m of projections; None: `FavorOptions().count(K)`. "positive" makes m
            features of them, "hyperbolic" 2 m.
        features: "positive" (phi) or "hyperbolic" (phi*, with +w and -w).
        orthogonal: projections orthogonal in blocks of K, or independent ones.

    Raises:
        InputError: arguments that do not fit together, options out of range, no key, a mask or
            bias that depends on the query.
    """
    check_inputs(q, k, v, key_mask=key_mask, relative_bias=relative_bias)
    key = check_key(key, "performer_favor")
    width = q.shape[-1]
    if nb_features is None:
        nb_features = FavorOptions().count(width)
    FavorOptions(nb_features=nb_features, features=features, orthogonal=orthogonal)
    visible_BMH = _per_key("attn_mask", attn_mask, q, v)
    if key_mask is not None:
        real_BM1 = key_mask[:, :, None]
        visible_BMH = real_BM1 if visible_BMH is None else visible_BMH & real_BM1
    bias_BMH = _per_key("bias", bias, q, v)

    dtype = sum_dtype(q)
    if visible_BMH is not None:
        # A product with a zero feature would let NaN and inf through.
        k = jnp.where(visible_BMH[..., None], k, 0)
        v = jnp.where(visible_BMH[..., None], v, 0)
    v_BMHV = v.astype(dtype)
    with jax.named_scope("projections"):
        projections_mK = draw_projections(key, nb_features, width, orthogonal).astype(dtype)
    with jax.named_scope("features"):
        log_q_BNHF = log_features(q.astype(dtype) * width**-0.25, projections_mK, features)
        log_k_BMHF = log_features(k.astype(dtype) * width**-0.25, projections_mK, features)
        if bias_BMH is not None:
            log_k_BMHF += bias_BMH[..., None]
        if visible_BMH is not None:
            log_k_BMHF = jnp.where(visible_BMH[..., None], log_k_BMHF, -jnp.inf)
        # Factors per query, and one per head for the keys, cancel between numerator and
        # denominator; one per key would not.
        top_B1H1 = jax.lax.stop_gradient(log_k_BMHF.max((1, 3), keepdims=True))
        k_BMHF = jnp.exp(log_k_BMHF - jnp.where(jnp.isfinite(top_B1H1), top_B1H1, 0.0))
        sum_BHF = k_BMHF.sum(1)
        # Weighing the features by their sums puts the largest term of the denominator at 1.
        weighed_BNHF = log_q_BNHF + jnp.log(jnp.maximum(sum_BHF, _SMALLEST_SUM))[:, None]
        q_BNHF = jnp.exp(log_q_BNHF - jax.lax.stop_gradient(weighed_BNHF.max(-1, keepdims=True)))
    with jax.named_scope("attend"):
        if relative_bias is None:
            state_BHFV = jnp.einsum("BMHF,BMHV->BHFV", k_BMHF, v_BMHV)
            out_BNHV = jnp.einsum("BNHF,BHFV->BNHV", q_BNHF, state_BHFV)
            total_BNH1 = jnp.einsum("BNHF,BHF->BNH", q_BNHF, sum_BHF)[..., None]
        else:
            out_BNHV, total_BNH1 = _relative_sums(
                q_BNHF, k_BMHF, v_BMHV, jnp.asarray(relative_bias, dtype)
            )
        # Zero only where no key is visible.
        safe_BNH1 = jnp.where(total_BNH1 > 0, total_BNH1, 1.0)
        out_BNHV = jnp.where(total_BNH1 > 0, out_BNHV / safe_BNH1, 0.0)
    return out_BNHV.astype(q.dtype)


def _per_key(name: str, x: Array | None, q: Array, v: Array) -> Array | None:
    """`x` as [B, M, H], axes of size 1 kept; InputError if it depends on the query."""
    x_BHNM = four_axes(name, x, q, v)
    if x_BHNM is None:
        return None
    if x_BHNM.shape[2] != 1:
        raise InputError(
            f"{name} has shape {x_BHNM.shape} and depends on the query, which linear attention "
            "(performer_favor) cannot represent; allowed: size 1 on the query axis, or sdpa or "
            "reformer_lsh"
        )
    return jnp.swapaxes(x_BHNM[:, :, 0], 1, 2)


def _relative_sums(
    q_BNHF: Array, k_BNHF: Array, v_BNHV: Array, relative_HT: Array
) -> tuple[Array, Array]:
    """Numerator [B, N, H, V] and denominator [B, N, H, 1] with an exact clipped relative bias.

    The weight of (i, j) is exp(b[clip(j - i, -D, D)]) phi(q_i) . phi(k_j): kernelised attention
    with relative positions (Luo et al. 2021, arXiv 2106.12566) and T5's clipped distances (Raffel
    et al. 2020). In chunks of at least D positions, the keys of the own chunk and its neighbours
    are met one by one; all those further off have the bias of one of the two ends, so that
    running sums of chunk states serve them. Time and memory are linear in N for a given D.
    """
    length = q_BNHF.shape[1]
    positions = min(max(relative_HT.shape[1] // 2, _SHORTEST_CHUNK), length)

    def chunked(x_BNHX: Array) -> Array:
        x_BNHX = jnp.pad(x_BNHX, ((0, 0), (0, -length % positions), (0, 0), (0, 0)))
        return x_BNHX.reshape(x_BNHX.shape[0], -1, positions, *x_BNHX.shape[2:])

    # The column of ones turns the denominator into one more value.
    ones_BNH1 = jnp.ones_like(v_BNHV[..., :1])
    v_BCLHV = chunked(jnp.concatenate([v_BNHV, ones_BNH1], axis=-1))
    q_BCLHF, k_BCLHF = chunked(q_BNHF), chunked(k_BNHF)
    # A factor per head cancels.
    top_H1 = jax.lax.stop_gradient(relative_HT.max(-1, keepdims=True))
    factor_HT = jnp.exp(relative_HT - top_H1)

    with jax.named_scope("near"):
        near_BCLHV = jax.checkpoint(_near_sums)(q_BCLHF, k_BCLHF, v_BCLHV, factor_HT)
    with jax.named_scope("far"):
        state_BCHFV = jnp.einsum("BCLHF,BCLHV->BCHFV", k_BCLHF, v_BCLHV)
        until_BCHFV = jnp.cumsum(state_BCHFV, axis=1)
        from_BCHFV = jnp.flip(jnp.cumsum(jnp.flip(state_BCHFV, 1), axis=1), 1)
        chunks = state_BCHFV.shape[1]
        rest = [(0, 0)] * 3
        before_BCHFV = jnp.pad(until_BCHFV, [(0, 0), (2, 0), *rest])[:, :chunks]
        after_BCHFV = jnp.pad(from_BCHFV, [(0, 0), (0, 2), *rest])[:, 2:]
        far_BCHFV = (
            factor_HT[:, 0, None, None] * before_BCHFV + factor_HT[:, -1, None, None] * after_BCHFV
        )
        far_BCLHV = jnp.einsum("BCLHF,BCHFV->BCLHV", q_BCLHF, far_BCHFV)
    sums_BCLHV = near_BCLHV + far_BCLHV
    sums_BNHV = sums_BCLHV.reshape(sums_BCLHV.shape[0], -1, *sums_BCLHV.shape[3:])[:, :length]
    return sums_BNHV[..., :-1], sums_BNHV[..., -1:]


def _near_sums(q_BCLHF: Array, k_BCLHF: Array, v_BCLHV: Array, factor_HT: Array) -> Array:
    """Weighted sums over the keys of the own chunk and its neighbours, [B, C, L, H, V]."""
    k_BCWHF, v_BCWHV = window(k_BCLHF, axis=1), window(v_BCLHV, axis=1)
    positions, width = q_BCLHF.shape[2], k_BCWHF.shape[2]
    first = 0 if width == positions else -positions
    distance_LW = first + jnp.arange(width)[None, :] - jnp.arange(positions)[:, None]
    far = factor_HT.shape[1] // 2
    factor_HLW = factor_HT[:, jnp.clip(distance_LW, -far, far) + far]
    weights_BCHLW = jnp.einsum("BCLHF,BCWHF->BCHLW", q_BCLHF, k_BCWHF) * factor_HLW
    return jnp.einsum("BCHLW,BCWHV->BCLHV", weights_BCHLW, v_BCWHV)


def cost(
    length: int,
    head_width: int,
    *,
    nb_features: int | None = None,
    features: str = FavorOptions.features,
    orthogonal: bool = FavorOptions.orthogonal,
) -> int:
    """FLOPs of one head of one row, forward, without a relative bias or the draw of projections."""
    del orthogonal
    projections = FavorOptions().count(head_width) if nb_features is None else nb_features
    count = 2 * projections if features == "hyperbolic" else projections
    projecting = 4 * length * head_width * projections
    summing = 4 * length * count * (head_width + 1)
    return projecting + summing
