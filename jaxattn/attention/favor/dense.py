"""FAVOR+ with masks and biases that depend on the query: all N x M weights written out."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxattn.attention.inputs import Arguments, Visibility
from jaxattn.attention.sdpa.blockwise import blockwise

# Pairs whose estimate over the stabilisers is below this are summed in the logarithmic domain.
_SMALLEST_PAIR = 1e-30


def dense_attention(
    log_q_BNHF: Array,
    log_k_BMHF: Array,
    v: Array,
    bias: Array | None,
    relative_bias: Array | None,
    seen: Visibility,
) -> Array:
    """Softmax attention of log(phi(q_i) . phi(k_j)) + biases, for features' logarithms.

    Args:
        log_q_BNHF: of the queries.
        log_k_BMHF: of the keys.
        v: values [B, M, H, V]; keys and values that the key mask hides must be finite.
        bias: float, four axes that broadcast to [B, H, N, M].
        relative_bias: float [H, 2 D + 1].
        seen: what hides keys.
    """
    # A query in padding may hold NaN: it stays NaN, but reaches no gradient that is not its own.
    finite_BNH1 = jnp.isfinite(log_q_BNHF).all(-1, keepdims=True)
    log_q_BNHF = jnp.where(finite_BNH1, log_q_BNHF, 0)
    logits = _log_pairs(log_q_BNHF, log_k_BMHF, seen)
    logits = logits if bias is None else logits + bias.astype(logits.dtype)
    # Exact attention of zeros: what remains are the logits given as a bias.
    zeros_q = jnp.zeros((*log_q_BNHF.shape[:3], 1), logits.dtype)
    zeros_k = jnp.zeros((*log_k_BMHF.shape[:3], 1), logits.dtype)
    out = blockwise(0.0, Arguments(zeros_q, zeros_k, v, logits, relative_bias, seen))
    return jnp.where(finite_BNH1, out, jnp.nan)


def _log_pairs(log_q_BNHF: Array, log_k_BMHF: Array, seen: Visibility) -> Array:
    """log sum_f phi_f(q_i) phi_f(k_j), [B, H, N, M], up to a number for each query, which cancels
    in the softmax: by one product, unless a visible pair then
    underflows; at such sizes one exponential is taken for each pair and feature."""
    top_k_B1HF = jax.lax.stop_gradient(log_k_BMHF.max(1, keepdims=True))
    log_q_BNHF, log_k_BMHF = log_q_BNHF + top_k_B1HF, log_k_BMHF - top_k_B1HF
    log_q_BNHF = log_q_BNHF - jax.lax.stop_gradient(log_q_BNHF.max(-1, keepdims=True))

    def product(log_q_BNHF: Array, log_k_BMHF: Array) -> Array:
        return jnp.einsum("BNHF,BMHF->BHNM", jnp.exp(log_q_BNHF), jnp.exp(log_k_BMHF))

    def by_product(log_q_BNHF: Array, log_k_BMHF: Array) -> Array:
        return jnp.log(jnp.maximum(product(log_q_BNHF, log_k_BMHF), _SMALLEST_PAIR))

    small = product(*jax.lax.stop_gradient((log_q_BNHF, log_k_BMHF))) < _SMALLEST_PAIR
    if seen.key_mask is not None:
        small &= seen.key_mask[:, None, None]
    if seen.attn_mask is not None:
        small &= seen.attn_mask
    if seen.documents is not None:
        small &= (seen.documents[:, :, None] == seen.documents[:, None])[:, None]
    logs: Array = jax.lax.cond(small.any(), _by_features, by_product, log_q_BNHF, log_k_BMHF)
    return logs


@jax.custom_vjp
def _by_features(log_q_BNHF: Array, log_k_BMHF: Array) -> Array:
    """Logarithms of sums over the features, one feature at a time: exact, and memory for pairs."""
    return _by_features_forward(log_q_BNHF, log_k_BMHF)[0]


def _feature(log_q_BNHF: Array, log_k_BMHF: Array, number: Array) -> Array:
    """log phi_f(q_i) phi_f(k_j) of feature `number`, [B, H, N, M]."""
    q_BNH, k_BMH = (
        jax.lax.dynamic_index_in_dim(x, number, 3, keepdims=False) for x in (log_q_BNHF, log_k_BMHF)
    )
    return jnp.swapaxes(q_BNH, 1, 2)[..., None] + jnp.swapaxes(k_BMH, 1, 2)[:, :, None]


def _by_features_forward(
    log_q_BNHF: Array, log_k_BMHF: Array
) -> tuple[Array, tuple[Array, Array, Array]]:
    def add(number: Array, sums: Array) -> Array:
        return jnp.logaddexp(sums, _feature(log_q_BNHF, log_k_BMHF, number))

    sums_BHNM = jax.lax.fori_loop(
        1, log_q_BNHF.shape[3], add, _feature(log_q_BNHF, log_k_BMHF, jnp.int32(0))
    )
    return sums_BHNM, (log_q_BNHF, log_k_BMHF, sums_BHNM)


def _by_features_backward(
    residuals: tuple[Array, Array, Array], cotangent_BHNM: Array
) -> tuple[Array, ...]:
    log_q_BNHF, log_k_BMHF, sums_BHNM = residuals

    def one(number: Array) -> tuple[Array, Array]:
        share_BHNM = jnp.exp(_feature(log_q_BNHF, log_k_BMHF, number) - sums_BHNM)
        change_BHNM = share_BHNM * cotangent_BHNM
        return change_BHNM.sum(3), change_BHNM.sum(2)

    dq_FBHN, dk_FBHM = jax.lax.map(one, jnp.arange(log_q_BNHF.shape[3]))
    return tuple(jnp.transpose(x, (1, 3, 2, 0)) for x in (dq_FBHN, dk_FBHM))


_by_features.defvjp(_by_features_forward, _by_features_backward)
