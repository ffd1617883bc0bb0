"""The attentions that are measured side by side, and the programs of each alone."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxattn.attention import ATTENTIONS
from jaxattn.config import AttentionConfig
from jaxattn.profile.timing import Program, compiled_in, wait

EXACT = "sdpa"
"""The attention that the others are held to."""

EXACT_IMPLEMENTATIONS = ("xla", "blockwise", "cudnn")
"""How it is computed: each is a baseline of its own."""

FORWARD, FORWARD_BACKWARD, STEP = "forward", "forward_backward", "step"
"""What is measured: the attention alone, with its gradients, and a whole training step."""

_PROBE_LENGTH = 64


def variant_name(attention: str, implementation: str) -> str:
    """As it is shown: "sdpa blockwise", "reformer_lsh"."""
    return f"{attention} {implementation}".rstrip()


@dataclasses.dataclass(frozen=True)
class Variant:
    """One attention with its options: a line of the pictures."""

    attention: str
    options: Any

    @property
    def implementation(self) -> str:
        """How exact attention is computed; "" for the others."""
        return self.options.implementation if self.exact else ""

    @property
    def name(self) -> str:
        """As it is shown."""
        return variant_name(self.attention, self.implementation)

    @property
    def exact(self) -> bool:
        """Whether this is a baseline."""
        return self.attention == EXACT

    @property
    def shares_qk(self) -> bool:
        """Whether the queries are the keys as well."""
        return ATTENTIONS[self.attention].shares_qk and self.options.shared_qk

    def cost(self, shape: "Shape") -> tuple[int, int]:
        """Analytic FLOPs and bytes read and written by the forward pass of one layer."""
        cost = ATTENTIONS[self.attention].cost(self.options, shape.length, shape.head_width)
        heads = shape.rows * shape.heads
        return heads * cost.flops, heads * cost.floats * jnp.dtype(shape.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of the queries [rows, length, heads, head_width] and their type.

    `relative_distance`: clipping distance of a relative bias; 0: there is none.
    """

    rows: int
    length: int
    heads: int
    head_width: int
    dtype: str
    relative_distance: int = 0


class Inputs(NamedTuple):
    """Arguments of an attention, and the cotangent of its output."""

    q: jax.Array
    k: jax.Array
    v: jax.Array
    cotangent: jax.Array
    key_mask: jax.Array
    relative_bias: jax.Array | None
    key: jax.Array


def variants(attentions: tuple[str, ...], config: AttentionConfig) -> list[Variant]:
    """The chosen attentions with their options; the exact one in every implementation."""
    found = []
    for attention in attentions:
        options = getattr(config, attention)
        if attention == EXACT:
            ways = (
                dataclasses.replace(options, implementation=way) for way in EXACT_IMPLEMENTATIONS
            )
            found += [Variant(attention, way) for way in ways]
        else:
            found.append(Variant(attention, options))
    return found


def random_inputs(shape: Shape, seed: int) -> Inputs:
    """Normal q, k, v and cotangent of standard deviation 1; no padding."""
    keys = jax.random.split(jax.random.key(seed), 6)
    full = (shape.rows, shape.length, shape.heads, shape.head_width)
    q, k, v, cotangent = (jax.random.normal(key, full, jnp.dtype(shape.dtype)) for key in keys[:4])
    bias = None
    if shape.relative_distance:
        bias = jax.random.normal(keys[4], (shape.heads, 2 * shape.relative_distance + 1))
    return Inputs(q, k, v, cotangent, jnp.ones(full[:2], bool), bias, keys[5])


def attention_program(variant: Variant, what: str, inputs: Inputs) -> Program:
    """The compiled attention alone: its output, or its output and gradients.

    The gradients are those of sum(output * cotangent) by q, k, v and the relative bias.
    """
    apply = functools.partial(ATTENTIONS[variant.attention].apply, options=variant.options)

    def attend(x: Inputs) -> tuple[Callable[..., jax.Array], tuple[Any, ...]]:
        def call(q: Any, k: Any, v: Any, bias: Any) -> jax.Array:
            masks = {"key_mask": x.key_mask, "relative_bias": bias}
            with jax.named_scope(variant.attention):
                return apply(q, k, v, key=x.key, **masks)

        return call, (x.q, None if variant.shares_qk else x.k, x.v, x.relative_bias)

    def output(x: Inputs) -> jax.Array:
        call, arguments = attend(x)
        return call(*arguments)

    def output_and_gradients(x: Inputs) -> tuple[jax.Array, PyTree]:
        call, arguments = attend(x)
        out, pull = jax.vjp(call, *arguments)
        return out, pull(x.cotangent)

    function = output if what == FORWARD else output_and_gradients
    compiled, seconds = compiled_in(lambda: jax.jit(function).lower(inputs))
    return Program(compiled, lambda: compiled(inputs), seconds)


def why_unavailable(variant: Variant, shape: Shape) -> str:
    """Why a variant does not work on this device with this type and head width; "" if it does."""
    if variant.implementation != "cudnn":
        return ""
    small = dataclasses.replace(shape, rows=1, length=_PROBE_LENGTH)
    try:
        program = attention_program(variant, FORWARD_BACKWARD, random_inputs(small, seed=0))
        wait(program.run())
    except (RuntimeError, ValueError, NotImplementedError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__
    return ""
