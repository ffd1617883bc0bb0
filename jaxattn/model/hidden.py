"""The hidden states that the blocks of an encoder pass on, and how far two encoders' are apart."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, PyTree

from jaxattn.model.encoder import EncoderBlock
from jaxattn.model.heads import Batch, MlmModel, Rngs, variables_and_streams


def hidden_states(model: MlmModel, params: PyTree, batch: Batch, rngs: Rngs) -> list[jax.Array]:
    """[B, N, D] after every block, of a batch `ids, mask`; nothing is dropped.

    Args:
      model: of `params`.
      params: the MLM's; its head is not used.
      batch: the texts.
      rngs: streams "attention", and `draws` where they are made.
    """
    variables, streams = variables_and_streams(params, rngs)

    def encoded(mlm: MlmModel, ids_BN: jax.Array, mask_BN: jax.Array) -> jax.Array:
        x_BND: jax.Array = mlm.encoder(ids_BN, mask_BN, deterministic=True)
        return x_BND

    def of_block(module: nn.Module, method: str) -> bool:
        return isinstance(module, EncoderBlock) and method == "__call__"

    _, captured = model.apply(
        variables,
        batch["ids"],
        batch["mask"],
        method=encoded,
        capture_intermediates=of_block,
        mutable=["intermediates"],
        rngs=streams,
    )
    blocks = captured["intermediates"]["encoder"]
    return [blocks[f"blocks_{n}"]["__call__"][0] for n in range(model.config.model.num_layers)]


def relative_distance(
    found: list[Float[jax.Array, "B N D"]],
    wanted: list[Float[jax.Array, "B N D"]],
    mask_BN: Bool[jax.Array, "B N"],
) -> Float[jax.Array, "B N"]:
    """|found - wanted|² / |wanted|² of every token, float32, the mean over the blocks.

    0 at padding. The hidden states of a block are of one size, those of different blocks are not:
    so every block counts alike.
    """
    total_BN = jnp.zeros(mask_BN.shape, jnp.float32)
    for a_BND, b_BND in zip(found, wanted, strict=True):
        b_BND = b_BND.astype(jnp.float32)
        error_BN = jnp.square(a_BND.astype(jnp.float32) - b_BND).sum(axis=-1)
        size_BN = jnp.square(b_BND).sum(axis=-1)
        total_BN += jnp.where(mask_BN, error_BN / jnp.where(mask_BN, size_BN + 1e-12, 1.0), 0.0)
    return total_BN / len(found)
