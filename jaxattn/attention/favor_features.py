"""Random features whose inner products estimate exp(x . y) without bias.

Choromanski et al. 2021, "Rethinking Attention with Performers", lemma 1 (positive and hyperbolic
features) and section 2.4 (orthogonal projections).
"""

import jax
import jax.numpy as jnp
from jax import Array


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
        return q_KK.T * norms_K1

    number = -(-count // width)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(number))
    return jax.vmap(block)(keys).reshape(number * width, width)[:count]


def log_features(x: Array, projections_mK: Array, features: str) -> Array:
    """log phi(x) for x [..., K]: [..., F], so that exp(.) . exp(.) estimates exp(x . y).

    "positive": F = m,    phi(x)  = m^-1/2    exp(-|x|^2 / 2) [exp(w_i x)]_i;
    "hyperbolic": F = 2m, phi*(x) = (2m)^-1/2 exp(-|x|^2 / 2) [exp(w_i x), exp(-w_i x)]_i.
    """
    projected = jnp.einsum("...K,mK->...m", x, projections_mK)
    if features == "hyperbolic":
        projected = jnp.concatenate([projected, -projected], axis=-1)
    half_square = 0.5 * jnp.square(x).sum(-1, keepdims=True)
    return projected - half_square - 0.5 * jnp.log(float(projected.shape[-1]))
