"""Exact scaled dot-product attention (Vaswani et al. 2017, section 3.2.1).

softmax(q k^T K^-1/2 + bias) v: the reference that the approximations are held to. It can be
computed in three ways with one result: by plain XLA products (`sdpa.dense`, O(N M) memory), in
blocks (`sdpa.blockwise`, linear memory), or by cuDNN's fused kernels (`sdpa.cudnn`).
"""

import jax
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxattn.attention.inputs import Arguments, Cost, Inputs, hide
from jaxattn.attention.probes import say_once
from jaxattn.attention.sdpa.blockwise import blockwise
from jaxattn.attention.sdpa.cudnn import cudnn, why_not_cudnn
from jaxattn.attention.sdpa.dense import dense
from jaxattn.config import SdpaOptions
from jaxattn.errors import InputError

# Below this many queries times keys, plain XLA is faster than blocks on a CPU (measured).
_SMALLEST_BLOCKWISE = 128 * 128


def sdpa(
    q: Float[Array, "B N H K"],
    k: Float[Array, "B M H K"],
    v: Float[Array, "B M H V"],
    inputs: Inputs,
    options: SdpaOptions,
) -> Float[Array, "B N H V"]:
    """See `AttentionOp.apply`; computed as `choose` says.

    Raises:
        InputError: "cudnn" was asked for and cannot honour the inputs here.
    """
    chosen, reason = choose(
        options.implementation,
        dtype=q.dtype,
        widths=(q.shape[-1], v.shape[-1]),
        lengths=(q.shape[1], v.shape[1]),
        plain=inputs.plain and not inputs.dropout_rate,
    )
    if options.implementation == "auto":
        say_once(f"sdpa: {chosen} ({reason})")
    seen, rate = inputs.seen, inputs.dropout_rate
    if chosen == "cudnn":
        return cudnn(q, k, v, seen.key_mask, inputs.right_padded)
    with jax.named_scope(f"sdpa_{chosen}"):
        arguments = Arguments(q, k, v, inputs.bias, inputs.relative_bias, seen)
        if chosen == "blockwise":
            return blockwise(rate, arguments)
        k, v = hide(k, seen.key_mask), hide(v, seen.key_mask)
        return dense(rate, arguments._replace(k=k, v=v))


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


def cost(options: SdpaOptions, length: int, head_width: int) -> Cost:
    """Of one head of one row, forward.

    "blockwise" and "cudnn" read keys and values once for every 512 queries and hold no scores;
    "xla" ("auto" is counted as it) writes the scores, reads them twice, and writes and reads the
    weights.
    """
    flops = 4 * length * length * head_width
    ends = 4 * length * head_width
    if options.implementation in ("blockwise", "cudnn"):
        return Cost(flops, ends + 2 * length * head_width * (-(-length // 512) - 1))
    return Cost(flops, ends + 5 * length * length)
