"""Exact scaled dot-product attention (Vaswani et al. 2017, section 3.2.1).

softmax(q k^T K^-1/2 + bias) v: the reference that the approximations are held to. It can be
computed in three ways with one result: by plain XLA products (`sdpa_dense`, O(N M) memory), in
blocks (`sdpa_blockwise`, linear memory), or by cuDNN's fused kernels (`sdpa_cudnn`).
"""

import logging

import jax
from jax import Array
from jax.typing import DTypeLike

from jaxattn.attention.inputs import Cost, Visibility, check_inputs, documents, four_axes, hide
from jaxattn.attention.sdpa.blockwise import blockwise
from jaxattn.attention.sdpa.cudnn import cudnn, why_not_cudnn
from jaxattn.attention.sdpa.dense import dense
from jaxattn.config import SdpaOptions
from jaxattn.errors import InputError

# Below this many queries times keys, plain XLA is faster than blocks on a CPU (measured).
_SMALLEST_BLOCKWISE = 128 * 128

_logged: set[tuple[str, str]] = set()


def sdpa(
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
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
    right_padded: bool = False,
    implementation: str = SdpaOptions.implementation,
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
        segment_ids: int [B, N]; attention stays within runs of equal ids (packed documents).
        key: not needed; nothing but dropout is random here.
        dropout_rate: share of the attention weights that is set to zero, 0 <= rate < 1.
        dropout_key: typed PRNG key, required when dropout_rate > 0.
        right_padded: promises that q, k and v are of one sequence and that in every row of
            `key_mask` what is True comes first. What padding gets as a query is not defined then.
        implementation: "xla", "blockwise", "cudnn", or "auto": see `choose`.

    Raises:
        InputError: arguments that do not fit together, or that "cudnn" cannot honour here.
    """
    del key
    check_inputs(q, k, v, key_mask=key_mask, relative_bias=relative_bias, segment_ids=segment_ids)
    SdpaOptions(implementation=implementation)
    if not 0.0 <= dropout_rate < 1.0:
        raise InputError(f"dropout_rate: found {dropout_rate}, allowed: 0 <= rate < 1")
    if dropout_rate and dropout_key is None:
        raise InputError("dropout_rate is above 0: pass dropout_key=jax.random.key(...)")
    mask = four_axes("attn_mask", attn_mask, q, v)
    bias = four_axes("bias", bias, q, v)
    plain = mask is None and bias is None and relative_bias is None and segment_ids is None
    chosen, reason = choose(
        implementation,
        dtype=q.dtype,
        widths=(q.shape[-1], v.shape[-1]),
        lengths=(q.shape[1], v.shape[1]),
        plain=plain and not dropout_rate,
    )
    if implementation == "auto" and (chosen, reason) not in _logged:
        _logged.add((chosen, reason))
        logging.getLogger(__name__).info("sdpa: %s (%s)", chosen, reason)
    if chosen == "cudnn":
        return cudnn(q, k, v, key_mask, right_padded)
    seen = Visibility(key_mask, mask, documents(segment_ids), dropout_key)
    with jax.named_scope(f"sdpa_{chosen}"):
        if chosen == "blockwise":
            return blockwise(dropout_rate, q, k, v, bias, relative_bias, seen)
        k, v = hide(k, key_mask), hide(v, key_mask)
        return dense(dropout_rate, q, k, v, bias, relative_bias, seen)


def choose(
    implementation: str,
    *,
    dtype: DTypeLike,
    widths: tuple[int, int],
    lengths: tuple[int, int],
    plain: bool = True,
) -> tuple[str, str]:
    """The implementation that is used on the default device, and the reason.

    Args:
        implementation: what was asked for; anything but "auto" is taken or refused.
        dtype: of the queries.
        widths: of queries and of values.
        lengths: N and M.
        plain: no mask but a key mask, no bias, no segments, no dropout.

    Raises:
        InputError: "cudnn" was asked for and cannot serve.
    """
    if implementation in ("xla", "blockwise"):
        return implementation, "as asked"
    obstacle = why_not_cudnn(dtype, widths, plain)
    if obstacle is None:
        several = jax.process_count() > 1
        tried = "all GPUs are of a kind that has it" if several else "its probe succeeded"
        return "cudnn", "as asked" if implementation == "cudnn" else tried
    if implementation == "cudnn":
        raise InputError(f"sdpa implementation: found 'cudnn', but {obstacle}")
    if lengths[0] * lengths[1] < _SMALLEST_BLOCKWISE:
        return "xla", f"short inputs; no cuDNN: {obstacle}"
    return "blockwise", f"no cuDNN: {obstacle}"


def cost(length: int, head_width: int, *, implementation: str = "xla") -> Cost:
    """Of one head of one row, forward.

    "blockwise" and "cudnn" read keys and values once for every 512 queries and hold no scores;
    "xla" ("auto" is counted as it) writes the scores, reads them twice, and writes and reads the
    weights.
    """
    flops = 4 * length * length * head_width
    ends = 4 * length * head_width
    if implementation in ("blockwise", "cudnn"):
        return Cost(flops, ends + 2 * length * head_width * (-(-length // 512) - 1))
    return Cost(flops, ends + 5 * length * length)
