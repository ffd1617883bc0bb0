"""The encoder: embeddings, then blocks of attention and feed-forward layers with residuals."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int

from jaxattn.config import Config
from jaxattn.model import positions as position_ops
from jaxattn.model.attention_layer import AttentionLayer, Layout, projection_init
from jaxattn.model.dense import Dense
from jaxattn.model.embeddings import Embeddings

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: nn.gelu(x, approximate=True),
    "relu": nn.relu,
}


class Mlp(nn.Module):
    """The feed-forward layer: D -> mlp_dim -> D; `gate`: times a second projection to mlp_dim."""

    mlp_dim: int
    activation: str
    dropout: float
    dtype: DTypeLike
    gate: bool = False
    use_bias: bool = True

    @nn.compact
    def __call__(
        self, x_BND: Float[jax.Array, "B N D"], deterministic: bool
    ) -> Float[jax.Array, "B N D"]:
        """Hidden states in, hidden states out."""
        with jax.named_scope("mlp"):
            dense: dict[str, Any] = {
                "use_bias": self.use_bias, "kernel_init": projection_init, "dtype": self.dtype
            }  # fmt: skip
            h = Dense(self.mlp_dim, name="up", **dense)(x_BND)
            h = ACTIVATIONS[self.activation](h)
            if self.gate:
                h *= Dense(self.mlp_dim, name="gate", **dense)(x_BND)
            x_BND = Dense(x_BND.shape[-1], name="down", **dense)(h)
            x_BND = nn.Dropout(self.dropout)(x_BND, deterministic=deterministic)
        return x_BND


class Adapter(nn.Module):
    """A bottleneck with a residual of its own: nearly the identity at first (Houlsby et al. 2019).

    Kernels start at 0.01 x normal noise, biases at zero.
    """

    width: int
    activation: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BND: Float[jax.Array, "B N D"]) -> Float[jax.Array, "B N D"]:
        """Hidden states in, hidden states out."""
        dense: dict[str, Any] = {"kernel_init": nn.initializers.normal(0.01), "dtype": self.dtype}
        h = ACTIVATIONS[self.activation](Dense(self.width, name="down", **dense)(x_BND))
        return x_BND + Dense(x_BND.shape[-1], name="up", **dense)(h)


class EncoderBlock(nn.Module):
    """Attention and feed-forward layer, each with a residual and a layer norm before or after.

    `adapters`: "attention" or "mlp" -> inner width of an adapter between that layer and the
    residual. `normed`: what comes in has a norm already, so that the attention needs none before.
    """

    attention: Mapping[str, Any]
    mlp: Mapping[str, Any]
    norm: str
    norm_eps: float
    norm_bias: bool
    dtype: DTypeLike
    normed: bool = False
    remat_attention: bool = False
    adapters: Mapping[str, int] = FrozenDict()

    @nn.compact
    def __call__(
        self,
        x_BND: Float[jax.Array, "B N D"],
        layout: Layout,
        relative_bias_HP: Float[jax.Array, "H P"] | None,
        deterministic: bool,
        first_only: bool = False,
    ) -> Float[jax.Array, "B _ D"]:
        """[B, N, D] -> [B, N, D]; with `first_only` the first token's alone, [B, 1, D]."""
        layer = AttentionLayer
        if self.remat_attention:
            layer = nn.remat(AttentionLayer, static_argnums=(4, 5))
        attend = layer(dtype=self.dtype, name="attention", **self.attention)
        transform = Mlp(dtype=self.dtype, name="mlp", **self.mlp)
        norms: dict[str, Any] = {
            "epsilon": self.norm_eps, "dtype": self.dtype, "use_bias": self.norm_bias
        }  # fmt: skip
        norm_1 = None if self.normed else nn.LayerNorm(name="attention_norm", **norms)
        norm_2 = nn.LayerNorm(name="mlp_norm", **norms)
        adapters = {
            name: Adapter(width, self.mlp["activation"], self.dtype, name=f"{name}_adapter")
            for name, width in self.adapters.items()
        }

        def attended(x_BND: jax.Array) -> jax.Array:
            x_BND = attend(x_BND, layout, relative_bias_HP, deterministic, first_only)
            return adapters["attention"](x_BND) if "attention" in adapters else x_BND

        def transformed(x_BND: jax.Array) -> jax.Array:
            x_BND = transform(x_BND, deterministic)
            return adapters["mlp"](x_BND) if "mlp" in adapters else x_BND

        kept_BND = x_BND[:, :1] if first_only else x_BND
        if self.norm == "pre":
            x_BND = kept_BND + attended(x_BND if norm_1 is None else norm_1(x_BND))
            return x_BND + transformed(norm_2(x_BND))
        assert norm_1 is not None, "what comes in has a norm where norms stand before the layers"
        x_BND = norm_1(kept_BND + attended(x_BND))
        x_BND = norm_2(x_BND + transformed(x_BND))
        return x_BND


class Encoder(nn.Module):
    """Token ids -> hidden states, for every attention and position scheme.

    `config` ends here: the modules below take plain values. `prompt_tokens` trained vectors stand
    before every text and `adapters` after layers of the blocks; see `Embeddings`, `EncoderBlock`.
    """

    config: Config
    vocab_size: int
    dtype: DTypeLike
    prompt_tokens: int = 0
    adapters: Mapping[str, int] = FrozenDict()

    def setup(self) -> None:
        """Declares embeddings, the shared relative table, blocks and the last norm."""
        model = self.config.model
        self.embeddings = Embeddings(
            vocab_size=self.vocab_size,
            hidden_dim=model.hidden_dim,
            embedding_dim=model.embedding_dim,
            max_seq_len=model.max_seq_len,
            positions=model.positions,
            token_types=model.token_types,
            normalize=model.norm == "post" or model.embedding_norm,
            norm_eps=model.norm_eps,
            norm_bias=model.norm_bias,
            dropout=model.embedding_dropout,
            dtype=self.dtype,
            prompt_tokens=self.prompt_tokens,
        )
        if model.positions == "relative":
            self.relative_table = self.param(
                "relative_table",
                nn.initializers.normal(stddev=0.02),
                (model.num_heads, model.relative_buckets),
            )
        attention = {
            "hidden_dim": model.hidden_dim,
            "qkv_dim": model.qkv_dim,
            "num_heads": model.num_heads,
            "use_bias": model.projection_bias,
            "rope": model.positions == "rope",
            "rope_scale": model.rope_scale,
            "attention_dropout": model.attention_dropout,
            "output_dropout": model.attention_output_dropout,
        }
        mlp = {
            "mlp_dim": model.mlp_dim,
            "activation": model.activation,
            "dropout": model.mlp_dropout,
            "gate": model.mlp_gate,
            "use_bias": model.mlp_bias,
        }

        def rope_base(name: str) -> float:
            return (model.local_rope_base if name == "local" else 0.0) or model.rope_base

        remat = self.config.train.remat
        block = EncoderBlock
        if remat == "block":
            block = nn.remat(EncoderBlock, static_argnums=(4, 5))
        self.blocks = [
            block(
                attention | {"attention": name, "options": options, "rope_base": rope_base(name)},
                mlp,
                model.norm,
                model.norm_eps,
                model.norm_bias,
                self.dtype,
                model.embedding_norm and number == 0,
                remat == "attention",
                self.adapters,
            )
            for number, (name, options) in enumerate(
                self.config.attention.of_layers(model.num_layers)
            )
        ]
        if model.norm == "pre":
            self.final_norm = nn.LayerNorm(
                epsilon=model.norm_eps, dtype=self.dtype, use_bias=model.norm_bias
            )

    def __call__(
        self,
        ids_BN: Int[jax.Array, "B N"],
        key_mask_BN: Bool[jax.Array, "B N"],
        segment_ids_BN: Int[jax.Array, "B N"] | None = None,
        token_types_BN: Int[jax.Array, "B N"] | None = None,
        *,
        deterministic: bool,
        first_only: bool = False,
    ) -> Float[jax.Array, "B _ D"]:
        """Ids and key mask (True = real token) of texts -> hidden states [B, N, D].

        `segment_ids_BN`: each run of equal ids is a text of its own, which gets what
        it would get in a row by itself. There is none where there is a prompt; what is returned are
        the hidden states of the text alone. `token_types_BN`: below
        `model.token_types`; None: all 0. `first_only`: the first token's hidden state alone,
        [B, 1, D]; the last block computes no other, which saves most of its work.

        Raises InputError when N and the prompt are longer than `model.max_seq_len`.
        """
        model, prompt = self.config.model, self.prompt_tokens
        if prompt:
            assert segment_ids_BN is None, "a row of several texts has no place for a prompt each"
            key_mask_BN = jnp.pad(key_mask_BN, ((0, 0), (prompt, 0)), constant_values=True)
        layout = Layout.of(key_mask_BN, segment_ids_BN)
        x_BND = self.embeddings(
            ids_BN, layout.positions, token_types_BN, deterministic=deterministic
        )
        relative_bias_HP = None
        if model.positions == "relative":
            buckets_P = position_ops.relative_bucket_table(
                model.relative_buckets, model.relative_max_distance
            )
            relative_bias_HP = self.relative_table[:, buckets_P]
        inputs = layout, relative_bias_HP, deterministic
        for block in self.blocks[:-1]:
            x_BND = block(x_BND, *inputs, False)
        # Before the first token of the text stands the prompt, if there is one.
        alone = first_only and not prompt and segment_ids_BN is None
        x_BND = self.blocks[-1](x_BND, *inputs, alone)[:, prompt:]
        x_BND = x_BND[:, :1] if first_only else x_BND
        return self.final_norm(x_BND) if model.norm == "pre" else x_BND

    def attend(self, x_BSE: Float[jax.Array, "B S E"]) -> Float[jax.Array, "B S V"]:
        """Scores against the token embeddings, float32; E is their width."""
        return self.embeddings.attend(x_BSE)
