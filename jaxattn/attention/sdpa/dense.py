"""Exact attention with all scores at once: plain XLA products and a softmax, O(N M) memory."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxattn.attention.inputs import (
    Arguments,
    Visibility,
    dropped,
    live_rows,
    relative_block,
    sum_dtype,
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def dense(rate: float, x: Arguments) -> Float[Array, "B N H V"]:
    """Attention in q's type; `rate` is the share of the weights that is dropped."""
    return _forward(rate, x)[0]


def _forward(rate: float, x: Arguments) -> tuple[Array, tuple[Arguments, Array]]:
    """And the weights before dropout."""
    q, k, v, bias, relative_bias, seen = x
    dtype = sum_dtype(q)
    with jax.named_scope("scores"):
        scores_BHNM = jnp.einsum("BNHK,BMHK->BHNM", q, k, preferred_element_type=dtype)
        scores_BHNM *= q.shape[-1] ** -0.5
        if bias is not None or relative_bias is not None:
            scores_BHNM += _extra_logits(bias, relative_bias, q.shape[1], dtype)
        visible_BHNM = _visible(seen)
        if visible_BHNM is not None:
            scores_BHNM = jnp.where(visible_BHNM, scores_BHNM, -jnp.inf)
    with jax.named_scope("softmax"):
        top_BHN1 = scores_BHNM.max(-1, keepdims=True)
        # A row that sees nothing has the maximum -inf, and -inf - -inf is NaN.
        weights_BHNM = jnp.exp(scores_BHNM - jnp.where(top_BHN1 == -jnp.inf, 0.0, top_BHN1))
        total_BHN1 = weights_BHNM.sum(-1, keepdims=True)
        weights_BHNM /= jnp.where(total_BHN1 == 0, 1.0, total_BHN1)
    with jax.named_scope("values"):
        used_BHNM = dropped(weights_BHNM, rate, seen.dropout_key).astype(v.dtype)
        out_BNHV = jnp.einsum("BHNM,BMHV->BNHV", used_BHNM, v, preferred_element_type=dtype)
    return out_BNHV.astype(q.dtype), (x, weights_BHNM)


def _backward(
    rate: float, residuals: tuple[Arguments, Array], cotangent: Array
) -> tuple[Arguments]:
    (q, k, v, bias, relative_bias, seen), weights_BHNM = residuals
    dtype = weights_BHNM.dtype
    live_BNH1 = live_rows(cotangent)
    q = jnp.where(live_BNH1, q, 0)
    weights_BHNM = jnp.where(jnp.swapaxes(live_BNH1, 1, 2), weights_BHNM, 0)
    einsum = functools.partial(jnp.einsum, preferred_element_type=dtype)
    used_BHNM = dropped(weights_BHNM, rate, seen.dropout_key).astype(v.dtype)
    dv = einsum("BHNM,BNHV->BMHV", used_BHNM, cotangent)
    dw_BHNM = dropped(einsum("BNHV,BMHV->BHNM", cotangent, v), rate, seen.dropout_key)
    ds_BHNM = weights_BHNM * (dw_BHNM - (weights_BHNM * dw_BHNM).sum(-1, keepdims=True))
    dbias = drelative = None
    if bias is not None or relative_bias is not None:
        own = functools.partial(_extra_logits, length=q.shape[1], dtype=dtype)
        extra, pull = jax.vjp(own, bias, relative_bias)
        summed = tuple(axis for axis in range(4) if extra.shape[axis] < ds_BHNM.shape[axis])
        dbias, drelative = pull(ds_BHNM.sum(summed, keepdims=True))
    ds_BHNM = (ds_BHNM * q.shape[-1] ** -0.5).astype(q.dtype)
    dq = einsum("BHNM,BMHK->BNHK", ds_BHNM, k).astype(q.dtype)
    dk = einsum("BHNM,BNHK->BMHK", ds_BHNM, q).astype(k.dtype)
    return (Arguments(dq, dk, dv.astype(v.dtype), dbias, drelative),)


dense.defvjp(_forward, _backward)


def _extra_logits(
    bias: Array | None, relative_bias: Array | None, length: int, dtype: DTypeLike
) -> Array:
    """The sum of both biases, with four axes that broadcast to [B, H, N, M]."""
    extra = jnp.zeros((1, 1, 1, 1), dtype)
    if bias is not None:
        extra += bias.astype(dtype)
    if relative_bias is not None:
        extra += relative_block(relative_bias.astype(dtype), length, length, 0, 1)[None]
    return extra


def _visible(seen: Visibility) -> Array | None:
    """What may be attended, with four axes that broadcast to [B, H, N, M]; None: everything."""
    visible = seen.attn_mask
    parts = []
    if seen.key_mask is not None:
        parts.append(seen.key_mask[:, None, None, :])
    if seen.documents is not None:
        parts.append(seen.documents[:, None, :, None] == seen.documents[:, None, None, :])
    for part in parts:
        visible = part if visible is None else visible & part
    return visible
