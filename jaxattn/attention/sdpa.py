"""Exact scaled dot-product attention, O(N M) time and memory (Vaswani et al. 2017, section 3.2.1).

softmax(q k^T K^-1/2 + bias) v, in plain XLA: the reference that the approximations are held to.
"""

import jax
import jax.numpy as jnp
from jax import Array

from jaxattn.attention.inputs import check_inputs, four_axes, hide, sum_dtype
from jaxattn.errors import InputError


def sdpa(
    q: Array,
    k: Array,
    v: Array,
    *,
    key_mask: Array | None = None,
    attn_mask: Array | None = None,
    bias: Array | None = None,
    relative_bias: Array | None = None,
    key: Array | None = None,
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
) -> Array:
    """Attention of q [B, N, H, K] over k [B, M, H, K], v [B, M, H, V]; returns [B, N, H, V].

    Args:
        q: queries, any floating type; the result has their type. Scores and softmax are float32.
        k: keys.
        v: values.
        key_mask: bool [B, M], True = real token.
        attn_mask: bool, broadcastable to [B, H, N, M], True = may attend.
        bias: added to the logits, broadcastable to [B, H, N, M].
        relative_bias: float [H, 2 D + 1]; (i, j) gets relative_bias[h, clip(j - i, -D, D) + D].
        key: not needed; nothing but dropout is random here.
        dropout_rate: share of the attention weights that is set to zero, 0 <= rate < 1.
        dropout_key: typed PRNG key, required when dropout_rate > 0.

    Raises:
        InputError: arguments that do not fit together.
    """
    del key
    check_inputs(q, k, v, key_mask=key_mask, relative_bias=relative_bias)
    if not 0.0 <= dropout_rate < 1.0:
        raise InputError(f"dropout_rate: found {dropout_rate}, allowed: 0 <= rate < 1")
    if dropout_rate and dropout_key is None:
        raise InputError("dropout_rate is above 0: pass dropout_key=jax.random.key(...)")
    mask_BHNM = four_axes("attn_mask", attn_mask, q, v)
    bias_BHNM = four_axes("bias", bias, q, v)
    k_BMHK, v_BMHV = hide(k, key_mask), hide(v, key_mask)
    if key_mask is not None:
        visible = key_mask[:, None, None, :]
        mask_BHNM = visible if mask_BHNM is None else mask_BHNM & visible

    with jax.named_scope("scores"):
        scores_BHNM = jnp.einsum(
            "BNHK,BMHK->BHNM", q, k_BMHK, preferred_element_type=sum_dtype(q)
        ) * (q.shape[-1] ** -0.5)
        if bias_BHNM is not None:
            scores_BHNM += bias_BHNM
        if relative_bias is not None:
            distance_NN = _clipped_distance(q.shape[1], relative_bias.shape[1])
            scores_BHNM += jnp.asarray(relative_bias)[:, distance_NN]
        if mask_BHNM is not None:
            scores_BHNM = jnp.where(mask_BHNM, scores_BHNM, -jnp.inf)
    with jax.named_scope("softmax"):
        top_BHN1 = jax.lax.stop_gradient(scores_BHNM.max(-1, keepdims=True))
        # A row that sees nothing has the maximum -inf, and -inf - -inf is NaN.
        weights_BHNM = jnp.exp(scores_BHNM - jnp.where(jnp.isfinite(top_BHN1), top_BHN1, 0.0))
        total_BHN1 = weights_BHNM.sum(-1, keepdims=True)
        weights_BHNM /= jnp.where(total_BHN1 > 0, total_BHN1, 1.0)
        if dropout_rate and dropout_key is not None:
            keep_BHNM = jax.random.bernoulli(dropout_key, 1.0 - dropout_rate, weights_BHNM.shape)
            weights_BHNM = jnp.where(keep_BHNM, weights_BHNM / (1.0 - dropout_rate), 0.0)
    with jax.named_scope("values"):
        out_BNHV = jnp.einsum(
            "BHNM,BMHV->BNHV",
            weights_BHNM.astype(v.dtype),
            v_BMHV,
            preferred_element_type=sum_dtype(q),
        )
    return out_BNHV.astype(q.dtype)


def _clipped_distance(length: int, table: int) -> Array:
    """Index into a table of 2 D + 1 clipped distances, for every (i, j): int32 [N, N]."""
    position_N = jnp.arange(length)
    far = table // 2
    return jnp.clip(position_N[None, :] - position_N[:, None], -far, far) + far


def cost(length: int, head_width: int) -> int:
    """FLOPs of one head of one row, forward; a multiply-add counts as two."""
    return 4 * length * length * head_width
