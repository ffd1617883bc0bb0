"""Multi-head self-attention around any attention of the registry."""

from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int

from jaxattn.attention import ATTENTIONS, AttentionOp
from jaxattn.model import positions as position_ops
from jaxattn.model.dense import Dense

projection_init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")


class Layout(NamedTuple):
    """What stands where in the rows of a batch.

    key_mask: True = real token; padding stands on the right.
    segment_ids: runs of equal ids are texts of their own; None: one text a row.
    positions: of each token in its text; None: 0, 1, ...
    """

    key_mask: Bool[jax.Array, "B N"]
    segment_ids: Int[jax.Array, "B N"] | None = None
    positions: Int[jax.Array, "B N"] | None = None

    @classmethod
    def of(
        cls, key_mask_BN: Bool[jax.Array, "B N"], segment_ids_BN: Int[jax.Array, "B N"] | None
    ) -> "Layout":
        """The layout of rows of one text, or of packed rows."""
        if segment_ids_BN is None:
            return cls(key_mask_BN)
        return cls(key_mask_BN, segment_ids_BN, position_ops.within_segments(segment_ids_BN))


class AttentionLayer(nn.Module):
    """Projections, rotary positions, one call into `ATTENTIONS[attention]`, output projection.

    The random attentions draw from the "attention" PRNG stream, unless what they would draw is
    given in the collection "draws" (see `model.draws`); weight dropout and output dropout draw from
    "dropout".
    """

    attention: str
    options: Any
    hidden_dim: int
    qkv_dim: int
    num_heads: int
    use_bias: bool
    rope: bool
    rope_base: float
    rope_scale: float
    attention_dropout: float
    output_dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x_BND: Float[jax.Array, "B N D"],
        layout: Layout,
        relative_bias_HP: Float[jax.Array, "H P"] | None,
        deterministic: bool,
        first_only: bool = False,
    ) -> Float[jax.Array, "B _ D"]:
        """Hidden states and the layout of their rows -> [B, N, D]; P = 2 * distance + 1.

        `first_only`: only what the first token gets is computed, as far as the attention allows,
        and returned, [B, 1, D]; rows are of one text then.
        """
        op = ATTENTIONS[self.attention]
        one_query = op.one_query if first_only and relative_bias_HP is None else None

        def project(name: str, x_BND: jax.Array = x_BND) -> jax.Array:
            dense = Dense(
                self.qkv_dim,
                use_bias=self.use_bias,
                kernel_init=projection_init,
                dtype=self.dtype,
                name=name,
            )
            return dense(x_BND).reshape(*x_BND.shape[:2], self.num_heads, -1)

        def rotate(x_BNHK: jax.Array) -> jax.Array:
            if not self.rope:
                return x_BNHK
            positions = layout.positions
            if positions is None:
                positions = jnp.arange(x_BNHK.shape[1])
            return position_ops.rope(x_BNHK, positions, self.rope_base, self.rope_scale)

        with jax.named_scope("qkv"):
            q_BNHK = rotate(project("query", x_BND if one_query is None else x_BND[:, :1]))
            shares_qk = op.shares_qk and self.options.shared_qk
            k_BNHK = None if shares_qk else rotate(project("key"))
            v_BNHK = project("value")
        extra: dict[str, Any] = {}
        if op.draws is not None:
            extra["drawn"] = self._drawn(op, q_BNHK.shape[-1])
        elif op.needs_key:
            extra["key"] = self.make_rng("attention")
        if op.takes_padding and one_query is None:
            extra["right_padded"] = True
        if op.drops_weights and self.attention_dropout and not deterministic:
            extra["dropout_rate"] = self.attention_dropout
            extra["dropout_key"] = self.make_rng("dropout")
        if not self.is_initializing():
            # Kept only where the caller makes this collection mutable.
            self.sow("attention_inputs", "arguments", (q_BNHK, k_BNHK, v_BNHK, relative_bias_HP))
        with jax.named_scope(self.attention):
            out_BNHK = op.apply(
                q_BNHK,
                k_BNHK,
                v_BNHK,
                key_mask=layout.key_mask,
                segment_ids=layout.segment_ids,
                relative_bias=relative_bias_HP,
                options=self.options,
                **extra,
                **(one_query or {}),
            )
        if first_only:
            out_BNHK = out_BNHK[:, :1]
        out_BND: jax.Array = Dense(
            self.hidden_dim,
            use_bias=self.use_bias,
            kernel_init=projection_init,
            dtype=self.dtype,
            name="out",
        )(out_BNHK.reshape(*out_BNHK.shape[:2], self.qkv_dim))
        out_BND = nn.Dropout(self.output_dropout)(out_BND, deterministic=deterministic)
        return out_BND

    def _drawn(self, op: AttentionOp[Any], head_width: int) -> jax.Array:
        if self.has_variable("draws", "drawn"):
            return cast(jax.Array, self.get_variable("draws", "drawn"))
        drawn = op.draw(self.make_rng("attention"), head_width, self.options)
        # Kept only where the caller makes this collection mutable.
        self.sow("draws", "drawn", drawn, init_fn=lambda: None, reduce_fn=lambda _, new: new)
        return drawn
