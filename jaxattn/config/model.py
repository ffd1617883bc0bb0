"""Options of the encoder and of its heads."""

import dataclasses

from jaxattn.config.checked import MAX_SEQ_LEN, Checked, Scope, option
from jaxattn.errors import InputError


@dataclasses.dataclass(frozen=True)
class ModelConfig(Checked, path="model."):
    """The encoder. Defaults: BERT_SMALL ("Well-Read Students Learn Better")."""

    num_layers: int = option(4, "encoder blocks", low=1, high=128)
    hidden_dim: int = option(512, "hidden width D", low=1)
    embedding_dim: int = option(
        0, "width of the embeddings where it is another: a linear layer to the hidden width "
        "follows them, as in ELECTRA; 0: model.hidden_dim",
        low=0,
    )  # fmt: skip
    mlp_dim: int = option(2048, "width of the feed-forward layer", low=1)
    num_heads: int = option(8, "attention heads H", low=1)
    qkv_dim: int = option(512, "width of queries, keys and values over all heads", low=1)
    max_seq_len: int = option(
        512, "longest input, in tokens", low=1, high=MAX_SEQ_LEN, scope=Scope.TUNED
    )
    positions: str = option(
        "rope",
        "how positions enter",
        choices=("sinusoidal", "learned", "relative", "rope"),
    )
    extend_positions: str = option(
        "none", "TAPT and fine-tuning: how a learned table is made longer where model.max_seq_len "
        "is above that of the stage before: tile repeats it; for this stage only",
        choices=("none", "tile"), scope=Scope.STAGE,
    )  # fmt: skip
    token_types: int = option(
        0, "kinds of text with an embedding each (BERT: 2, the first and second of a pair); texts "
        "here are of the first kind; 0: none",
        low=0, high=1024,
    )  # fmt: skip
    rope_base: float = option(10000.0, "base of the rotary frequencies", low=1.0)
    local_rope_base: float = option(
        0.0, "the same in blocks with `local` attention; 0: model.rope_base", low=0.0
    )
    rope_scale: float = option(1.0, "rotary positions are divided by this", low=1e-6)
    relative_buckets: int = option(32, "buckets of the relative bias", low=4, high=1024)
    relative_max_distance: int = option(
        128, "relative distances beyond this share a bucket", low=8, high=MAX_SEQ_LEN
    )
    norm: str = option("pre", "layer norm before or after each residual", choices=("pre", "post"))
    norm_bias: bool = option(True, "biases in the layer norms")
    embedding_norm: bool = option(
        False, "with norm = pre: a layer norm of the embeddings in place of the one before the "
        "first attention, as in ModernBERT; with norm = post there is one in any case",
    )  # fmt: skip
    norm_eps: float = option(1e-6, "epsilon of the layer norms", low=1e-12, high=0.1)
    activation: str = option(
        "gelu", "activation of the feed-forward layer", choices=("gelu", "gelu_tanh", "relu")
    )
    mlp_gate: bool = option(
        False, "the activation is multiplied by a second projection of the same width (GeGLU with "
        "gelu, Shazeer 2020)",
    )  # fmt: skip
    mlp_bias: bool = option(True, "biases in the feed-forward layer")
    projection_bias: bool = option(True, "biases in the attention projections")
    transform_bias: bool = option(
        True, "biases in the dense layers of the MLM head and of the pooler gelu_norm"
    )
    embedding_dropout: float = option(0.1, "dropout on embeddings", low=0.0, high=0.99)
    mlp_dropout: float = option(0.1, "dropout on the feed-forward output", low=0.0, high=0.99)
    attention_output_dropout: float = option(
        0.1, "dropout on the attention layer's output", low=0.0, high=0.99
    )
    attention_dropout: float = option(
        0.0, "dropout on attention weights", low=0.0, high=0.99, scope=Scope.TUNED
    )

    @property
    def head_width(self) -> int:
        """Width K of one head."""
        return self.qkv_dim // self.num_heads

    @property
    def embedding_width(self) -> int:
        """Width of the tables of tokens, positions and types, and of what scores tokens."""
        return self.embedding_dim or self.hidden_dim

    def _rules(self) -> None:
        if self.embedding_dim == self.hidden_dim:
            raise InputError(
                f"model.embedding_dim: found {self.embedding_dim}, which is model.hidden_dim; "
                "allowed: another width, or 0 for that one"
            )
        if self.qkv_dim % self.num_heads:
            raise InputError(
                f"model.qkv_dim: found {self.qkv_dim}, which is no multiple of model.num_heads = "
                f"{self.num_heads}; allowed: multiples of the number of heads"
            )
        if self.embedding_norm and self.norm == "post":
            raise InputError(
                "model.embedding_norm: found True, allowed with norm = post, where the embeddings "
                "have a layer norm in any case: False"
            )
        if 0 < self.local_rope_base < 1:
            raise InputError(
                f"model.local_rope_base: found {self.local_rope_base}, allowed: at least 1, or 0 "
                "for model.rope_base"
            )
        if self.positions == "rope" and self.head_width % 2:
            raise InputError(
                f"model.qkv_dim: found {self.qkv_dim}, which makes heads of odd width "
                f"{self.head_width}; allowed with positions = rope: an even head width"
            )
        if self.positions == "sinusoidal" and self.embedding_width % 2:
            name = "embedding_dim" if self.embedding_dim else "hidden_dim"
            raise InputError(
                f"model.{name}: found {self.embedding_width}; allowed with positions = sinusoidal: "
                "an even width"
            )
        if self.relative_buckets % 4:
            raise InputError(
                f"model.relative_buckets: found {self.relative_buckets}, allowed: multiples of 4"
            )
        if self.relative_max_distance <= self.relative_buckets // 4:
            raise InputError(
                f"model.relative_max_distance: found {self.relative_max_distance}, allowed: more "
                f"than a quarter of model.relative_buckets = {self.relative_buckets}"
            )


@dataclasses.dataclass(frozen=True)
class HeadConfig(Checked, path="head."):
    """The classification head."""

    pooling: str = option(
        "mean", "how tokens become one vector",
        choices=("cls", "mean", "max"), scope=Scope.COST_FREE,
    )  # fmt: skip
    pooler: str = option(
        "none", "a dense layer after pooling, with tanh (bert, RoBERTa's is the same), relu "
        "(DistilBERT's), gelu (ELECTRA's), or gelu and a layer norm (gelu_norm, ModernBERT's)",
        choices=("bert", "relu", "gelu", "gelu_norm", "none"),
    )  # fmt: skip
    dropout: float = option(
        0.1, "dropout before the last linear layer",
        low=0.0, high=0.99, scope=Scope.TUNED | Scope.COST_FREE,
    )  # fmt: skip
