"""Whole models: an encoder with the masked-language-model head or the classification head."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Bool, Float, Int, PyTree

from jaxattn.config import Config
from jaxattn.model.attention_layer import projection_init
from jaxattn.model.dense import Dense
from jaxattn.model.encoder import ACTIVATIONS, Encoder
from jaxattn.model.keys import init_key
from jaxattn.ops.lookup import rows_of

POOLERS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "bert": jnp.tanh,
    "relu": ACTIVATIONS["relu"],
    "gelu": ACTIVATIONS["gelu"],
    "gelu_norm": ACTIVATIONS["gelu"],
}
"""`head.pooler` -> its activation."""

COMPUTE_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


class MlmModel(nn.Module):
    """Encoder and BERT's MLM head with tied weights (Devlin et al. 2019, 3.1)."""

    config: Config
    vocab_size: int

    def setup(self) -> None:
        """Declares the encoder, the transform and the output bias."""
        model, dtype = self.config.model, COMPUTE_DTYPES[self.config.train.precision]
        self.encoder = Encoder(self.config, self.vocab_size, dtype)
        self.transform = Dense(
            model.embedding_width,
            use_bias=model.transform_bias,
            kernel_init=projection_init,
            dtype=dtype,
        )
        self.norm = nn.LayerNorm(epsilon=model.norm_eps, dtype=dtype, use_bias=model.norm_bias)
        self.output_bias = self.param("output_bias", nn.initializers.zeros, (self.vocab_size,))

    def __call__(
        self,
        ids_BN: Int[jax.Array, "B N"],
        key_mask_BN: Bool[jax.Array, "B N"],
        positions_BS: Int[jax.Array, "B S"],
        segment_ids_BN: Int[jax.Array, "B N"] | None = None,
        *,
        deterministic: bool,
    ) -> Float[jax.Array, "B S V"]:
        """Logits, float32, at the S positions given for each row, and nowhere else."""
        x_BND = self.encoder(ids_BN, key_mask_BN, segment_ids_BN, deterministic=deterministic)
        with jax.named_scope("mlm_head"):
            x_BSD = tokens_at(x_BND, positions_BS)
            x_BSE = self.norm(nn.gelu(self.transform(x_BSD), approximate=False))
            return self.encoder.attend(x_BSE) + self.output_bias


def tokens_at(
    x_BND: Float[jax.Array, "B N D"], positions_BS: Int[jax.Array, "B S"]
) -> Float[jax.Array, "B S D"]:
    """The tokens at some positions of each row."""
    batch, length, width = x_BND.shape
    place_BS = jnp.arange(batch)[:, None] * length + positions_BS
    return rows_of(x_BND.reshape(-1, width), place_BS, x_BND.dtype)


def pool(
    x_BND: Float[jax.Array, "B _ D"], key_mask_BN: Bool[jax.Array, "B N"], how: str
) -> Float[jax.Array, "B D"]:
    """One vector a row, float32: the first token, or mean or maximum over real tokens.

    A row without real tokens gives zeros for mean and max.
    """
    x_BND = x_BND.astype(jnp.float32)
    mask_BN1 = key_mask_BN[..., None]
    if how == "cls":
        return x_BND[:, 0]
    if how == "mean":
        count_B1 = jnp.maximum(mask_BN1.sum(axis=1), 1)
        return jnp.where(mask_BN1, x_BND, 0.0).sum(axis=1) / count_B1
    largest_BD = jnp.where(mask_BN1, x_BND, -jnp.inf).max(axis=1)
    return jnp.where(mask_BN1.any(axis=1), largest_BD, 0.0)


class ClassifierModel(nn.Module):
    """Encoder, pooling, optional pooler (dense + activation), dropout, linear layer.

    The encoder has the soft prompt or the adapters that `config.peft` says.
    """

    config: Config
    vocab_size: int
    num_classes: int

    def setup(self) -> None:
        """Declares the encoder and the head."""
        dtype, peft = COMPUTE_DTYPES[self.config.train.precision], self.config.peft
        self.encoder = Encoder(
            self.config, self.vocab_size, dtype, peft.prompt_tokens, FrozenDict(peft.adapter_widths)
        )
        model, normed = self.config.model, self.config.head.pooler == "gelu_norm"
        if self.config.head.pooler != "none":
            bias = model.transform_bias or not normed
            self.pooler = Dense(model.hidden_dim, use_bias=bias, kernel_init=projection_init)
        if normed:
            self.pooler_norm = nn.LayerNorm(epsilon=model.norm_eps, use_bias=model.norm_bias)
        self.drop = nn.Dropout(self.config.head.dropout)
        self.classifier = Dense(self.num_classes, kernel_init=nn.initializers.normal(stddev=0.02))

    def __call__(
        self,
        ids_BN: Int[jax.Array, "B N"],
        key_mask_BN: Bool[jax.Array, "B N"],
        *,
        deterministic: bool,
    ) -> Float[jax.Array, "B classes"]:
        """Logits, float32."""
        pooling = self.config.head.pooling
        x_BND = self.encoder(
            ids_BN, key_mask_BN, deterministic=deterministic, first_only=pooling == "cls"
        )
        with jax.named_scope("classifier_head"):
            x_BD = pool(x_BND, key_mask_BN, pooling)
            if self.config.head.pooler != "none":
                x_BD = POOLERS[self.config.head.pooler](self.pooler(x_BD))
            if self.config.head.pooler == "gelu_norm":
                x_BD = self.pooler_norm(x_BD)
            return self.classifier(self.drop(x_BD, deterministic=deterministic))


Batch = Mapping[str, jax.Array]

Rngs = Mapping[str, Any]
"""PRNG streams, and `draws`: what the attentions would draw from theirs, if it was made before."""


def variables_and_streams(
    params: PyTree, rngs: Rngs
) -> tuple[dict[str, PyTree], dict[str, jax.Array]]:
    """What `apply` of a model is given: its collections, `draws` where they are made, and keys."""
    draws = {} if rngs.get("draws") is None else {"draws": rngs["draws"]}
    return {"params": params, **draws}, {n: key for n, key in rngs.items() if n != "draws"}


def _logits(
    model: nn.Module, params: PyTree, inputs: tuple[Any, ...], rngs: Rngs, deterministic: bool
) -> jax.Array:
    variables, streams = variables_and_streams(params, rngs)
    logits = model.apply(variables, *inputs, deterministic=deterministic, rngs=streams)
    return cast(jax.Array, logits)


def mlm_logits(
    model: MlmModel, params: PyTree, batch: Batch, rngs: Rngs, *, deterministic: bool
) -> jax.Array:
    """Logits [B, S, V] at the `positions` of a batch `ids, mask, positions`, perhaps `segments`."""
    inputs = batch["ids"], batch["mask"], batch["positions"], batch.get("segments")
    return _logits(model, params, inputs, rngs, deterministic)


def class_logits(
    model: nn.Module, params: PyTree, batch: Batch, rngs: Rngs, *, deterministic: bool
) -> jax.Array:
    """Logits [B, num_classes] of a batch `ids, mask`."""
    return _logits(model, params, (batch["ids"], batch["mask"]), rngs, deterministic)


def init_classifier(model: ClassifierModel, seed: int) -> PyTree:
    """Parameters at step 0."""
    return _init(model, seed)


def init_mlm(model: MlmModel, seed: int) -> PyTree:
    """Parameters at step 0."""
    return _init(model, seed, jnp.zeros((1, 1), jnp.int32))


def _init(model: nn.Module, seed: int, *positions: jax.Array) -> PyTree:
    keys = {"params": init_key(seed), "attention": init_key(seed)}
    ids, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)

    def init() -> PyTree:
        return model.init(keys, ids, mask, *positions, deterministic=True)["params"]

    return jax.jit(init)()
