"""The encoder: embeddings, then blocks of attention and feed-forward layers with residuals."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxattn.config import Config
from jaxattn.model.attention_layer import AttentionLayer, Layout, projection_init
from jaxattn.model.embeddings import Embeddings
from jaxattn.ops import positions as position_ops

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: nn.gelu(x, approximate=True),
    "relu": nn.relu,
}


class Mlp(nn.Module):
    """The feed-forward layer: D -> mlp_dim -> D."""

    mlp_dim: int
    activation: str
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BND: jax.Array, deterministic: bool) -> jax.Array:
        """[B, N, D] -> [B, N, D]."""
        with jax.named_scope("mlp"):
            dense: dict[str, Any] = {"kernel_init": projection_init, "dtype": self.dtype}
            h = nn.Dense(self.mlp_dim, name="up", **dense)(x_BND)
            h = ACTIVATIONS[self.activation](h)
            h = nn.Dense(x_BND.shape[-1], name="down", **dense)(h)
        return nn.Dropout(self.dropout)(h, deterministic=deterministic)


class EncoderBlock(nn.Module):
    """Attention and feed-forward layer, each with a residual and a layer norm before or after."""

    attention: Mapping[str, Any]
    mlp: Mapping[str, Any]
    norm: str
    norm_eps: float
    dtype: jnp.dtype
    remat_attention: bool = False

    @nn.compact
    def __call__(
        self,
        x_BND: jax.Array,
        layout: Layout,
        relative_bias_HP: jax.Array | None,
        deterministic: bool,
    ) -> jax.Array:
        """[B, N, D] -> [B, N, D]."""
        layer = AttentionLayer
        if self.remat_attention:
            layer = nn.remat(AttentionLayer, static_argnums=(4,))
        attend = layer(dtype=self.dtype, name="attention", **self.attention)
        transform = Mlp(dtype=self.dtype, name="mlp", **self.mlp)
        norm_1 = nn.LayerNorm(epsilon=self.norm_eps, dtype=self.dtype, name="attention_norm")
        norm_2 = nn.LayerNorm(epsilon=self.norm_eps, dtype=self.dtype, name="mlp_norm")
        if self.norm == "pre":
            x_BND += attend(norm_1(x_BND), layout, relative_bias_HP, deterministic)
            return x_BND + transform(norm_2(x_BND), deterministic)
        x_BND = norm_1(x_BND + attend(x_BND, layout, relative_bias_HP, deterministic))
        return norm_2(x_BND + transform(x_BND, deterministic))


class Encoder(nn.Module):
    """Token ids -> hidden states, for every attention and position scheme.

    `config` ends here: the modules below take plain values.
    """

    config: Config
    vocab_size: int
    dtype: jnp.dtype

    def setup(self) -> None:
        """Declares embeddings, the shared relative table, blocks and the last norm."""
        model = self.config.model
        self.embeddings = Embeddings(
            vocab_size=self.vocab_size,
            hidden_dim=model.hidden_dim,
            max_seq_len=model.max_seq_len,
            positions=model.positions,
            token_types=model.token_types,
            normalize=model.norm == "post",
            norm_eps=model.norm_eps,
            dropout=model.embedding_dropout,
            dtype=self.dtype,
        )
        if model.positions == "relative":
            self.relative_table = self.param(
                "relative_table",
                nn.initializers.normal(stddev=0.02),
                (model.num_heads, model.relative_buckets),
            )
        attention = {
            "attention": self.config.attention.type,
            "options": self.config.attention.options.keywords(model.head_width),
            "hidden_dim": model.hidden_dim,
            "qkv_dim": model.qkv_dim,
            "num_heads": model.num_heads,
            "use_bias": model.projection_bias,
            "rope": model.positions == "rope",
            "rope_base": model.rope_base,
            "rope_scale": model.rope_scale,
            "attention_dropout": model.attention_dropout,
            "output_dropout": model.attention_output_dropout,
        }
        mlp = {
            "mlp_dim": model.mlp_dim,
            "activation": model.activation,
            "dropout": model.mlp_dropout,
        }
        remat = self.config.train.remat
        block = EncoderBlock
        if remat == "block":
            block = nn.remat(EncoderBlock, static_argnums=(4,))
        self.blocks = [
            block(attention, mlp, model.norm, model.norm_eps, self.dtype, remat == "attention")
            for _ in range(model.num_layers)
        ]
        if model.norm == "pre":
            self.final_norm = nn.LayerNorm(epsilon=model.norm_eps, dtype=self.dtype)

    def __call__(
        self,
        ids_BN: jax.Array,
        key_mask_BN: jax.Array,
        segment_ids_BN: jax.Array | None = None,
        token_types_BN: jax.Array | None = None,
        *,
        deterministic: bool,
    ) -> jax.Array:
        """int32 [B, N], bool [B, N] True = real token -> [B, N, D].

        `segment_ids_BN`: int32 [B, N]; each run of equal ids is a text of its own, which gets what
        it would get in a row by itself. `token_types_BN`: int32 [B, N], below `model.token_types`;
        None: all 0.

        Raises InputError when N is larger than `model.max_seq_len`.
        """
        model = self.config.model
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
        for block in self.blocks:
            x_BND = block(x_BND, layout, relative_bias_HP, deterministic)
        return self.final_norm(x_BND) if model.norm == "pre" else x_BND

    def attend(self, x_BSD: jax.Array) -> jax.Array:
        """Scores against the token embeddings, float32 [B, S, V]."""
        return self.embeddings.attend(x_BSD)
