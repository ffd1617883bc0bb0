"""FAVOR+ attention of Performer (Choromanski et al. 2021, sections 2.2 to 2.4), linear in length.

With positive random features exp(q . k) ~ phi(q) . phi(k), so that
out_i = phi(q_i) . sum_j phi(k_j) v_j / phi(q_i) . sum_j phi(k_j): the sums over the keys are taken
once. The projections are shared by the batch rows and the heads. The sums are computed by XLA
(`favor_sums`, `favor_local`), or by fused kernels with the same result (`favor_fused`).
"""

import logging
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jaxattn.attention.favor.dense import dense_attention
from jaxattn.attention.favor.features import draw_projections, log_features, optimal_tilt
from jaxattn.attention.favor.fused import fused_attention, why_not_fused
from jaxattn.attention.favor.local import local_attention
from jaxattn.attention.favor.sums import Draw, FeatureMap, linear_attention
from jaxattn.attention.inputs import (
    Cost,
    Visibility,
    check_inputs,
    check_key,
    documents,
    four_axes,
    hide,
    sum_dtype,
)
from jaxattn.config import FavorOptions
from jaxattn.errors import InputError

_logged: set[tuple[str, str]] = set()


def performer_favor(
    q: Array,
    k: Array,
    v: Array,
    *,
    key_mask: Array | None = None,
    attn_mask: Array | None = None,
    bias: Array | None = None,
    relative_bias: Array | None = None,
    segment_ids: Array | None = None,
    key: Array | None = None,
    drawn: Array | None = None,
    nb_features: int | None = None,
    features: str = FavorOptions.features,
    orthogonal: bool = FavorOptions.orthogonal,
    dense_masks: bool = FavorOptions.dense_masks,
    implementation: str = FavorOptions.implementation,
) -> Array:
    """Attention of q [B, N, H, K] over k [B, M, H, K], v [B, M, H, V]; returns [B, N, H, V].

    Args:
        q: queries, any floating type; the result has their type. Features and sums are float32,
            their products bfloat16 for bfloat16 inputs.
        k: keys.
        v: values.
        key_mask: bool [B, M], True = real token.
        attn_mask: bool [., ., 1, M], True = may attend; with `dense_masks` [., ., N, M].
        bias: float [., ., 1, M], added to the logits; with `dense_masks` [., ., N, M].
        relative_bias: float [H, 2 D + 1], (i, j) gets relative_bias[h, clip(j - i, -D, D) + D]:
            exact at linear cost, see `favor_local`.
        segment_ids: int [B, N]; attention stays within runs of equal ids (packed documents).
        key: typed PRNG key of the projections; not needed with `drawn`.
        drawn: float32 [m, K], projections that `draw` made before.
        nb_features: number m of projections; None: `FavorOptions().count(K)`. "hyperbolic" makes
            2 m features of them, the others m.
        features: "positive" (phi), "hyperbolic" (phi*, with +w and -w) or "optimal" (FAVOR++, with
            the variance-minimising parameter of each head, row and document).
        orthogonal: projections orthogonal in blocks of K, or independent ones.
        dense_masks: honour masks and biases that depend on the query, in O(N M) time.
        implementation: "xla", "fused", or "auto": see `choose`.

    Raises:
        InputError: arguments that do not fit together, options out of range, neither key nor
            projections, a mask or bias that depends on the query without `dense_masks`, or what
            "fused" cannot honour here.
    """
    check_inputs(q, k, v, key_mask=key_mask, relative_bias=relative_bias, segment_ids=segment_ids)
    width = q.shape[-1]
    if nb_features is None:
        nb_features = FavorOptions().count(width)
    FavorOptions(
        nb_features=nb_features,
        features=features,
        orthogonal=orthogonal,
        dense_masks=dense_masks,
        implementation=implementation,
    )
    if drawn is None:
        projections_mK = draw(
            check_key(key, "performer_favor"), width, nb_features=nb_features, orthogonal=orthogonal
        )
    else:
        projections_mK = _check_drawn(drawn, (nb_features, width))
    mask, bias = four_axes("attn_mask", attn_mask, q, v), four_axes("bias", bias, q, v)
    number = documents(segment_ids)
    feature_map = FeatureMap(features, nb_features)
    dense = {
        name: x.shape
        for name, x in (("attn_mask", mask), ("bias", bias))
        if x is not None and x.shape[2] > 1
    }
    for name, shape in dense.items():
        if not dense_masks:
            raise InputError(
                f"{name} has shape {shape} and depends on the query, which linear attention "
                "(performer_favor) cannot represent; allowed: size 1 on the query axis, "
                "dense_masks=True (exact, at quadratic cost), or another attention"
            )
    chosen, reason = choose(
        implementation,
        feature_map,
        dtype=jnp.result_type(q, k, v),
        widths=(width, v.shape[-1]),
        plain=relative_bias is None and number is None and not dense,
    )
    if implementation == "auto" and (chosen, reason) not in _logged:
        _logged.add((chosen, reason))
        logging.getLogger(__name__).info("performer_favor: %s (%s)", chosen, reason)
    if chosen == "fused":
        with jax.named_scope("fused"):
            weight = _weight(key_mask, mask, bias, sum_dtype(q))
            return fused_attention(q, k, v, weight, projections_mK)
    tilt = None
    if features == "optimal":
        tilt = _tilt(q, k, key_mask, number)
    if dense:
        k, v = hide(k, key_mask), hide(v, key_mask)
        log_q, log_k = (
            log_features(x, projections_mK, features, tilt, scale=width**-0.25, of_query=of_query)
            for x, of_query in ((q, True), (k, False))
        )
        return dense_attention(
            log_q, log_k, v, bias, relative_bias, Visibility(key_mask, mask, number, None)
        ).astype(q.dtype)

    log_weight = _weight(key_mask, mask, bias, sum_dtype(q))
    if log_weight is not None:
        if bias is None:
            log_weight = jnp.where(log_weight, 0.0, -jnp.inf).astype(sum_dtype(q))
        log_weight = jnp.broadcast_to(log_weight, k.shape[:3])
    if relative_bias is None and number is None:
        given = Draw(projections_mK, None if tilt is None else tilt[:, 0, :, 0])
        return linear_attention(feature_map, q, k, v, log_weight, given)
    if log_weight is not None:
        # A product with a zero feature would let NaN and inf through; of one sequence, a hidden
        # key is a padding query too.
        seen = (log_weight > -jnp.inf)[..., None]
        k, v = jnp.where(seen, k, 0), jnp.where(seen, v, 0)
    if key_mask is not None:
        q = jnp.where(key_mask[..., None, None], q, 0)
    return local_attention(
        feature_map,
        q,
        k,
        v,
        log_weight,
        Draw(projections_mK, None if tilt is None else tilt[..., 0]),
        relative_bias,
        number,
    )


def choose(
    implementation: str,
    feature_map: FeatureMap,
    *,
    dtype: DTypeLike,
    widths: tuple[int, int],
    plain: bool = True,
) -> tuple[str, str]:
    """The implementation that is used on the default device, and the reason.

    Args:
        implementation: what was asked for; anything but "auto" is taken or refused.
        feature_map: see `favor_sums`.
        dtype: of queries, keys and values.
        widths: of queries and of values.
        plain: no relative bias, no segments, nothing that depends on the query.

    Raises:
        InputError: "fused" was asked for and cannot serve.
    """
    if implementation == "xla":
        return "xla", "as asked"
    obstacle = why_not_fused(feature_map.features, dtype, widths, feature_map.count, plain)
    if obstacle is None:
        return "fused", "as asked" if implementation == "fused" else "its probe succeeded"
    if implementation == "fused":
        raise InputError(f"performer_favor implementation: found 'fused', but {obstacle}")
    return "xla", f"not fused: {obstacle}"


def draw(
    key: Array,
    head_width: int,
    *,
    nb_features: int | None = None,
    orthogonal: bool = FavorOptions.orthogonal,
    **others: Any,
) -> Array:
    """The projections that `performer_favor` draws from `key`: float32 [m, K], its `drawn`.

    Where several calls have one key, drawing once saves the QR factorisations of the others.

    Args:
        key: typed PRNG key.
        head_width: K.
        nb_features: number m; None: `FavorOptions().count(K)`.
        orthogonal: see `performer_favor`.
        others: further options of `performer_favor`; the projections do not depend on them.
    """
    del others
    count = FavorOptions().count(head_width) if nb_features is None else nb_features
    with jax.named_scope("projections"):
        # The barrier: fused with what uses them, the compiler may round them differently.
        return jax.lax.optimization_barrier(draw_projections(key, count, head_width, orthogonal))


def _check_drawn(drawn: Array, shape: tuple[int, int]) -> Array:
    if drawn.shape != shape or drawn.dtype != jnp.float32:
        raise InputError(
            f"drawn: found shape {drawn.shape} and type {drawn.dtype}, expected {shape} "
            "(nb_features, head width) and float32"
        )
    return drawn


def _weight(
    key_mask: Array | None, mask: Array | None, bias: Array | None, dtype: DTypeLike
) -> Array | None:
    """What masks and bias do to each key, [B or 1, M, H or 1]: True where it is visible, or with
    a bias what is added to its logits, -inf where it is hidden; None: nothing."""
    seen = None if key_mask is None else key_mask[:, :, None]
    if mask is not None:
        mask = jnp.swapaxes(mask[:, :, 0], 1, 2)
        seen = mask if seen is None else seen & mask
    if bias is None:
        return seen
    bias = jnp.swapaxes(bias[:, :, 0], 1, 2).astype(dtype)
    return bias if seen is None else jnp.where(seen, bias, -jnp.inf)


def _tilt(q: Array, k: Array, key_mask: Array | None, number: Array | None) -> Array:
    """A of the "optimal" features from the mean |q + k|^2: [B, 1 or N, H, 1], no gradient.

    Over the real tokens of each head of each row, or of each document. In attention over one
    sequence padding is left out of the queries as well.
    """
    dtype = sum_dtype(q)
    own = key_mask if q.shape[1] == k.shape[1] else None

    def moments(x: Array, real: Array | None) -> tuple[Array, Array]:
        """Means of |x|^2 [B, N', H, 1] and of x [B, N', H, K]."""
        x = jax.lax.stop_gradient(x).astype(dtype) * q.shape[-1] ** -0.25
        real_BN = jnp.ones(x.shape[:2], bool) if real is None else real
        x = jnp.where(real_BN[..., None, None], x, 0)
        values = jnp.concatenate([x, jnp.square(x).sum(-1, keepdims=True)], axis=-1)
        count = real_BN.astype(dtype)[..., None, None]
        if number is None:
            values, count = (y.sum(1, keepdims=True) for y in (values, count))
        else:
            values, count = (_document_sum(y, number) for y in (values, count))
        mean = values / jnp.maximum(count, 1)
        return mean[..., -1:], mean[..., :-1]

    (square_q, mean_q), (square_k, mean_k) = moments(q, own), moments(k, key_mask)
    # The mean over all pairs of |q + k|^2.
    mean_square = square_q + square_k + 2 * (mean_q * mean_k).sum(-1, keepdims=True)
    return optimal_tilt(mean_square, q.shape[-1])


def _document_sum(x_BNHX: Array, number_BN: Array) -> Array:
    """Sum of x over each token's document, in x's shape."""

    def one_row(x_NHX: Array, number_N: Array) -> Array:
        return jnp.zeros_like(x_NHX).at[number_N].add(x_NHX)[number_N]

    return jax.vmap(one_row)(x_BNHX, number_BN)


def cost(
    length: int,
    head_width: int,
    *,
    nb_features: int | None = None,
    features: str = FavorOptions.features,
    orthogonal: bool = FavorOptions.orthogonal,
    dense_masks: bool = FavorOptions.dense_masks,
    implementation: str = FavorOptions.implementation,
) -> Cost:
    """Of one head of one row, forward, without relative biases, segments and dense masks.

    Features are made and used chunk by chunk: only queries, keys, values and the output move.
    """
    del orthogonal, dense_masks, implementation
    projections = FavorOptions().count(head_width) if nb_features is None else nb_features
    count = FeatureMap(features, projections).count
    projecting = 4 * length * head_width * projections
    summing = 4 * length * count * (head_width + 1)
    return Cost(projecting + summing, 4 * length * head_width)
