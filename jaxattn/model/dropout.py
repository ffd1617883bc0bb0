"""Dropout between the layers of the model."""

import flax.linen as nn
import jax
from jaxtyping import Float

from jaxattn.ops.dropout import dropped


class Dropout(nn.Module):
    """`flax.linen.Dropout`, drawn by `ops.dropout` from the stream "dropout"."""

    rate: float

    @nn.compact
    def __call__(
        self, x: Float[jax.Array, "*shape"], deterministic: bool
    ) -> Float[jax.Array, "*shape"]:
        """[...] -> [...]; with `deterministic` unchanged."""
        if deterministic or self.rate == 0.0:
            return x
        return dropped(x, self.rate, self.make_rng("dropout"))
