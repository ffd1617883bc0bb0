"""Random features whose inner products estimate exp(x . y) without bias.

Choromanski et al. 2021, "Rethinking Attention with Performers", lemma 1 (positive and hyperbolic
features) and section 2.4 (orthogonal projections); Likhosherstov et al. 2022, "Chefs' Random
Tables" (arXiv 2205.15317), theorem 3 (optimal positive features, FAVOR++).
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike


def draw_projections(key: Array, count: int, width: int, orthogonal: bool) -> Array:
    """`count` projections w_i ~ N(0, I) of vectors of `width`: float32 [m, K].

    orthogonal: rows in blocks of K that are orthogonal within a block. Each row alone is still
    N(0, I): a Haar direction times an independent chi(K) norm, so the estimate stays unbiased.
    """
    if not orthogonal:
        return jax.random.normal(key, (count, width), jnp.float32)

    def block(key: Array) -> Array:
        directions_KK, lengths_KK = jax.random.normal(key, (2, width, width), jnp.float32)
        q_KK, r_KK = jnp.linalg.qr(directions_KK)
        # The signs that QR picks are not uniform; those of R's diagonal make Q Haar distributed.
        q_KK = q_KK * jnp.where(jnp.diagonal(r_KK) < 0, -1.0, 1.0)
        norms_K1 = jnp.linalg.norm(lengths_KK, axis=1, keepdims=True)
        return jnp.multiply(q_KK.T, norms_K1)

    number = -(-count // width)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(number))
    return jax.vmap(block)(keys).reshape(number * width, width)[:count]


def _scaled(x: Array, projections_mK: Array, scale: float) -> tuple[Array, DTypeLike]:
    """The projections times `scale`, in the type of products with x, and the type of their sums."""
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    operand = jnp.bfloat16 if x.dtype == jnp.bfloat16 else dtype
    return (projections_mK.astype(dtype) * scale).astype(operand), dtype


def log_features(
    x: Array,
    projections_mK: Array,
    features: str,
    tilt: Array | None = None,
    *,
    scale: float = 1.0,
    of_query: bool = False,
) -> Array:
    """log phi(x scale) for x [..., K]: [..., F], so that exp(.) . exp(.) estimates exp(x . y).

    "positive":   F = m,  phi(x)  = m^-1/2    exp(-|x|^2 / 2) [exp(w_i x)]_i;
    "hyperbolic": F = 2m, phi*(x) = (2m)^-1/2 exp(-|x|^2 / 2) [exp(w_i x), exp(-w_i x)]_i;
    "optimal":    F = m,  phi with A = tilt, [..., 1]:
        m^-1/2 (1 - 4 A)^(K/4) exp(-|x|^2 / 2) [exp(A |w_i|^2 + (1 - 4 A)^1/2 w_i x)]_i.

    Args:
        x: vectors, any floating type; the product is taken in that type, and summed in float32.
        projections_mK: of `draw_projections`.
        features: the feature map.
        tilt: A of "optimal", at most 0 (0 gives "positive"); None for the others.
        scale: of x, moved into the projections.
        of_query: leave out the factors that all features of x share: they cancel in a normalised
            sum over the keys.
    """
    scaled_mK, dtype = _scaled(x, projections_mK, scale)
    projected = jnp.einsum(
        "...K,mK->...m", x.astype(scaled_mK.dtype), scaled_mK, preferred_element_type=dtype
    )
    if tilt is not None:
        norms_m = jnp.square(projections_mK.astype(dtype)).sum(-1)
        projected = jnp.sqrt(1 - 4 * tilt) * projected + tilt * norms_m
    if features == "hyperbolic":
        projected = jnp.concatenate([projected, -projected], axis=-1)
    if of_query:
        return projected
    half_square = 0.5 * scale**2 * jnp.square(x.astype(dtype)).sum(-1, keepdims=True)
    log_features = projected - half_square - 0.5 * jnp.log(float(projected.shape[-1]))
    if tilt is not None:
        log_features += 0.25 * x.shape[-1] * jnp.log(1 - 4 * tilt)
    return log_features


def log_features_gradient(
    dlog: Array,
    x: Array,
    projections_mK: Array,
    features: str,
    tilt: Array | None = None,
    *,
    scale: float = 1.0,
    of_query: bool = False,
) -> Array:
    """Gradient of x [..., K] for the gradient `dlog` [..., F] of `log_features`, in its sums' type.

    Written out so that the product takes operands of x's type: differentiated by JAX, it would be
    one of float32 numbers, which a GPU multiplies many times more slowly.
    """
    scaled_mK, dtype = _scaled(x, projections_mK, scale)
    projected = dlog
    if features == "hyperbolic":
        plus, minus = jnp.split(dlog, 2, axis=-1)
        projected = plus - minus
    dx = jnp.einsum(
        "...m,mK->...K", projected.astype(scaled_mK.dtype), scaled_mK, preferred_element_type=dtype
    )
    if tilt is not None:
        dx = jnp.sqrt(1 - 4 * tilt) * dx
    if of_query:
        return dx
    return dx - scale**2 * dlog.sum(-1, keepdims=True) * x.astype(dtype)


def optimal_tilt(mean_square: Array, width: int) -> Array:
    """A of the "optimal" features that minimises the variance, for f = mean |q + k|^2.

    A = (K - 2 f - ((2 f + K)^2 + 8 K f)^1/2) / (16 K) <= 0: (1 - 1 / rho) / 8 with the paper's rho.
    """
    root = jnp.sqrt(jnp.square(2 * mean_square + width) + 8 * width * mean_square)
    return jnp.minimum((width - 2 * mean_square - root) / (16 * width), 0.0)
