"""What really goes into the attentions of a trained encoder."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp

from jaxattn.model.encoder import Encoder


@dataclasses.dataclass(frozen=True)
class LayerInputs:
    """Arguments of one attention layer, float32.

    Attributes:
      q, v: [B, N, H, K], rotary positions applied.
      k: the same; None where the queries are the keys.
      relative_bias: [H, 2 D + 1], or None.
      key_mask: bool [B, N], True = real token.
    """

    q: jax.Array
    k: jax.Array | None
    v: jax.Array
    relative_bias: jax.Array | None
    key_mask: jax.Array


def layer_inputs(
    encoder: Encoder, params: Any, ids: jax.Array, key_mask: jax.Array, key: jax.Array
) -> list[LayerInputs]:
    """The inputs of every attention layer, first to last, of one evaluation of the encoder.

    Args:
      encoder: as it was trained.
      params: of the encoder.
      ids: int32 [B, N].
      key_mask: bool [B, N].
      key: draws hashes and random features.
    """

    def evaluate(params: Any) -> Any:
        _, found = encoder.apply(
            {"params": params},
            ids,
            key_mask,
            deterministic=True,
            rngs={"attention": key},
            mutable=["attention_inputs"],
        )
        return found["attention_inputs"]

    blocks = jax.jit(evaluate)(params)
    layers = []
    for block in sorted(blocks, key=_number):
        # `sow` keeps a tuple of all that was written under one name.
        (arguments,) = blocks[block]["attention"]["arguments"]
        q, k, v, bias = arguments
        layers.append(LayerInputs(_f32(q), _maybe(k), _f32(v), _maybe(bias), key_mask))
    return layers


def _f32(x: jax.Array) -> jax.Array:
    return jnp.asarray(x, jnp.float32)


def _maybe(x: jax.Array | None) -> jax.Array | None:
    return None if x is None else _f32(x)


def _number(block: str) -> int:
    """blocks_12 -> 12."""
    return int(re.sub(r"\D", "", block))
