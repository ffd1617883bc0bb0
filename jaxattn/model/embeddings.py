"""Token embeddings and the positions that are added to them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from jaxattn.errors import InputError
from jaxattn.model import positions as position_ops
from jaxattn.model.attention_layer import projection_init
from jaxattn.model.dense import Dense
from jaxattn.model.losses import scores
from jaxattn.ops.lookup import plus, rows_of

embedding_init = nn.initializers.normal(stddev=0.02)


class Embeddings(nn.Module):
    """Token ids [B, N] -> [B, N, D].

    `positions` sinusoidal or learned are added here; rope and relative act in the attention layer.
    With `prompt_tokens` the row begins with so many trained vectors, the soft prompt of Lester et
    al. (2021): they have the first positions, and the result is [B, prompt_tokens + N, D].
    With `token_types` > 0 the embedding of a token's type is added too, as in BERT.
    With `embedding_dim` > 0 all tables, the prompt and the norm have this width E instead of D, and
    a linear layer E -> D follows, as in ELECTRA (Clark et al. 2020).
    """

    vocab_size: int
    hidden_dim: int
    max_seq_len: int
    positions: str
    token_types: int
    normalize: bool
    norm_eps: float
    dropout: float
    dtype: DTypeLike
    norm_bias: bool = True
    prompt_tokens: int = 0
    embedding_dim: int = 0

    def setup(self) -> None:
        """Declares the tables."""
        width = self.embedding_dim or self.hidden_dim
        self.tokens = nn.Embed(
            self.vocab_size, width, embedding_init=embedding_init, dtype=self.dtype
        )
        if self.positions == "learned":
            self.position_table = self.param(
                "position_table", embedding_init, (self.max_seq_len, width)
            )
        if self.prompt_tokens:
            shape = (self.prompt_tokens, width)
            self.prompt = self.param("prompt", embedding_init, shape)
        if self.token_types:
            self.token_type_table = self.param(
                "token_type_table", embedding_init, (self.token_types, width)
            )
        if self.normalize:
            self.norm = nn.LayerNorm(
                epsilon=self.norm_eps, dtype=self.dtype, use_bias=self.norm_bias
            )
        self.drop = nn.Dropout(self.dropout)
        if self.embedding_dim:
            self.project = Dense(self.hidden_dim, kernel_init=projection_init, dtype=self.dtype)

    def __call__(
        self,
        ids_BN: Int[jax.Array, "B N"],
        positions_BN: Int[jax.Array, "B N"] | None,
        token_types_BN: Int[jax.Array, "B N"] | None = None,
        *,
        deterministic: bool,
    ) -> Float[jax.Array, "B _ D"]:
        """Embeds; `positions_BN` None: 0, 1, ...; `token_types_BN` None: all of type 0.

        Raises InputError for an input that is, with the prompt, longer than `max_seq_len`.
        """
        length = self.prompt_tokens + ids_BN.shape[1]
        if length > self.max_seq_len:
            raise InputError(
                f"an input of {length} tokens is longer than model.max_seq_len = {self.max_seq_len}"
            )
        x_BND = rows_of(self.tokens.embedding, ids_BN, self.dtype)
        if self.prompt_tokens:
            zeros_BPD = jnp.zeros((ids_BN.shape[0], *self.prompt.shape), self.dtype)
            x_BND = jnp.concatenate([plus(zeros_BPD, self.prompt), x_BND], axis=1)

        def at_positions(table_ND: jax.Array) -> jax.Array:
            if positions_BN is None:
                return table_ND
            return rows_of(table_ND, positions_BN, self.dtype)

        if self.positions == "sinusoidal":
            # Vaswani et al. 2017, 3.4: without the factor the sinusoids drown the embeddings.
            width = x_BND.shape[-1]
            table_ND = position_ops.sinusoidal(length, width)
            x_BND = plus(x_BND * float(np.sqrt(width)), at_positions(table_ND))
        elif self.positions == "learned":
            x_BND = plus(x_BND, at_positions(self.position_table[:length]))
        if self.token_types:
            # Not `segments`: those are texts packed into one row, which do not see each other.
            if token_types_BN is None:
                x_BND = plus(x_BND, self.token_type_table[0])
            else:
                types_BN = jnp.pad(token_types_BN, ((0, 0), (self.prompt_tokens, 0)))
                x_BND = plus(x_BND, rows_of(self.token_type_table, types_BN, self.dtype))
        if self.normalize:
            x_BND = self.norm(x_BND)
        x_BND = self.drop(x_BND, deterministic=deterministic)
        if self.embedding_dim:
            x_BND = self.project(x_BND)
        return x_BND

    def attend(self, x_BSE: Float[jax.Array, "B S E"]) -> Float[jax.Array, "B S V"]:
        """Scores against every token embedding (the tied output layer), float32."""
        return scores(x_BSE, self.tokens.embedding.astype(self.dtype))
