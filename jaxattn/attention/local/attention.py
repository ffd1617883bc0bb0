"""Exact softmax attention within a sliding window, linear in length (Beltagy et al. 2020, 3.1).

Query i sees key j where |i - j| <= w / 2: w tokens beside itself, half of them to either side, as
in the local layers of ModernBERT (Warner et al. 2024, section 2.1.2). Nothing else is left out or
estimated: within the window it is `sdpa`, with the same masks, biases, documents and dropout.
"""

import jax
from jax import Array
from jaxtyping import Float

from jaxattn.attention.inputs import Arguments, Cost, Inputs
from jaxattn.attention.local.windows import cut, windowed
from jaxattn.attention.sdpa.blockwise import blockwise
from jaxattn.config import LocalOptions


def local(
    q: Float[Array, "B N H K"],
    k: Float[Array, "B N H K"],
    v: Float[Array, "B N H V"],
    inputs: Inputs,
    options: LocalOptions,
) -> Float[Array, "B N H V"]:
    """See `AttentionOp.apply`. Position i of q, k and v is the same token.

    Where a window holds the whole input it is `sdpa`, and computed as that is.
    """
    arguments = Arguments(q, k, v, inputs.bias, inputs.relative_bias, inputs.seen)
    with jax.named_scope("windows"):
        if q.shape[1] <= exact_up_to(options):
            return blockwise(inputs.dropout_rate, arguments)
        return windowed(inputs.dropout_rate, options.window // 2, arguments)


def exact_up_to(options: LocalOptions) -> int:
    """The longest text of which every query sees every key."""
    return options.window // 2 + 1


def cost(options: LocalOptions, length: int, head_width: int) -> Cost:
    """Of one head of one row, forward; every chunk of queries copies its window of keys and
    values, and meets all of it."""
    chunk, beside = cut(length, options.window // 2)
    window = (1 + 2 * beside) * chunk
    padded = -(-length // chunk) * chunk
    flops = 4 * padded * window * head_width
    ends = 4 * length * head_width
    return Cost(flops, ends + 2 * 2 * beside * length * head_width)
