"""FAVOR+ attention of Performer (Choromanski et al. 2021, sections 2.2 to 2.4), linear in length.

With positive random features exp(q . k) ~ phi(q) . phi(k), so that
out_i = phi(q_i) . sum_j phi(k_j) v_j / phi(q_i) . sum_j phi(k_j): the sums over the keys are taken
once. The projections are shared by the batch rows and the heads. The sums are computed by XLA
(`favor.sums`, `favor.local`), or by fused kernels with the same result (`favor.fused`).
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Key

from jaxattn.attention.favor.dense import dense_attention
from jaxattn.attention.favor.features import draw_projections, log_features, optimal_tilt
from jaxattn.attention.favor.fused import fused_attention, why_not_fused
from jaxattn.attention.favor.local import local_attention
from jaxattn.attention.favor.sums import Draw, FeatureMap, linear_attention
from jaxattn.attention.inputs import Cost, Inputs, hide, sum_dtype
from jaxattn.attention.probes import say_once
from jaxattn.config import FavorOptions
from jaxattn.errors import InputError


def performer_favor(
    q: Float[Array, "B N H K"],
    k: Float[Array, "B M H K"],
    v: Float[Array, "B M H V"],
    inputs: Inputs,
    options: FavorOptions,
) -> Float[Array, "B N H V"]:
    """See `AttentionOp.apply`. Features and sums are float32, their products bfloat16 for bfloat16
    inputs. A relative bias is exact at linear cost, see `favor.local`; "optimal" features take the
    variance-minimising parameter of each head, row and document.

    Raises:
        InputError: projections that do not fit, a mask or bias that depends on the query without
            `dense_masks`, or what "fused" cannot honour here.
    """
    width, dtype, seen = q.shape[-1], sum_dtype(q), inputs.seen
    feature_map = FeatureMap(options.features, options.count(width))
    if inputs.drawn is not None:
        projections = _check_drawn(inputs.drawn, (feature_map.projections, width))
    else:
        assert inputs.key is not None
        projections = draw(options, inputs.key, width)
    dense = False
    for name, x in (("attn_mask", seen.attn_mask), ("bias", inputs.bias)):
        if x is None or x.shape[2] == 1:
            continue
        dense = True
        if not options.dense_masks:
            raise InputError(
                f"{name} has shape {x.shape} and depends on the query, which linear attention "
                "(performer_favor) cannot represent; allowed: size 1 on the query axis, "
                "dense_masks=True (exact, at quadratic cost), or another attention"
            )
    linear = inputs.relative_bias is None and seen.documents is None
    chosen, reason = choose(
        options.implementation,
        feature_map,
        dtype=jnp.result_type(q, k, v),
        widths=(width, v.shape[-1]),
        plain=linear and not dense,
    )
    if options.implementation == "auto":
        say_once(f"performer_favor: {chosen} ({reason})")
    if chosen == "fused":
        with jax.named_scope("fused"):
            return fused_attention(q, k, v, _weight(inputs, dtype), projections)
    tilt = None
    if options.features == "optimal":
        tilt = _tilt(q, k, seen.key_mask, seen.documents)
    if dense:
        k, v = hide(k, seen.key_mask), hide(v, seen.key_mask)
        log_q, log_k = (
            log_features(x, projections, options.features, tilt, scale=width**-0.25, of_query=one)
            for x, one in ((q, True), (k, False))
        )
        out = dense_attention(log_q, log_k, v, inputs.bias, inputs.relative_bias, seen)
        return out.astype(q.dtype)
    weight = _weight(inputs, dtype)
    if weight is not None:
        if inputs.bias is None:
            weight = jnp.where(weight, 0.0, -jnp.inf).astype(dtype)
        weight = jnp.broadcast_to(weight, k.shape[:3])
    if linear:
        drawn = Draw(projections, None if tilt is None else tilt[:, 0, :, 0])
        return linear_attention(feature_map, q, k, v, weight, drawn)
    if weight is not None:
        # A product with a zero feature would let NaN and inf through; of one sequence, a hidden
        # key is a padding query too.
        visible = (weight > -jnp.inf)[..., None]
        k, v = jnp.where(visible, k, 0), jnp.where(visible, v, 0)
    q = hide(q, seen.key_mask)
    drawn = Draw(projections, None if tilt is None else tilt[..., 0])
    return local_attention(
        feature_map, q, k, v, weight, drawn, inputs.relative_bias, seen.documents
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
        feature_map: see `favor.sums`.
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


def draw(options: FavorOptions, key: Key[Array, ""], width: int) -> Float[Array, "m K"]:
    """The m projections of heads of this width K, float32; they depend on two options alone."""
    with jax.named_scope("projections"):
        # The barrier: fused with what uses them, the compiler may round them differently.
        drawn = draw_projections(key, options.count(width), width, options.orthogonal)
        apart: Array = jax.lax.optimization_barrier(drawn)
        return apart


def _check_drawn(drawn: Array, shape: tuple[int, int]) -> Array:
    if drawn.shape != shape or drawn.dtype != jnp.float32:
        raise InputError(
            f"drawn: found shape {drawn.shape} and type {drawn.dtype}, expected {shape} "
            "(nb_features, head width) and float32"
        )
    return drawn


def _weight(inputs: Inputs, dtype: DTypeLike) -> Array | None:
    """What masks and bias do to each key, [B or 1, M, H or 1]: True where it is visible, or with
    a bias what is added to its logits, -inf where it is hidden; None: nothing."""
    key_mask, mask, bias = inputs.seen.key_mask, inputs.seen.attn_mask, inputs.bias
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


def cost(options: FavorOptions, length: int, head_width: int) -> Cost:
    """Of one head of one row, forward, without relative biases, segments and dense masks.

    Features are made and used chunk by chunk: only queries, keys, values and the output move.
    """
    projections = options.count(head_width)
    count = FeatureMap(options.features, projections).count
    projecting = 4 * length * head_width * projections
    summing = 4 * length * count * (head_width + 1)
    return Cost(projecting + summing, 4 * length * head_width)
