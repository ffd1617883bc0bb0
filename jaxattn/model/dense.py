"""The linear layer of the model."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxattn.ops.lookup import plus, times


class Dense(nn.Module):
    """x W + b on the last axis: [..., in] -> [..., features], computed in `dtype`.

    `flax.linen.Dense` with the same parameters, initial values and results. Only the gradients of
    kernel and bias differ: sums over all tokens of a batch, taken in float32, not in `dtype`.
    """

    features: int
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[jax.Array, "*rest in"]) -> Float[jax.Array, "*rest out"]:
        """[..., in] -> [..., features]."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
        dtype = jnp.promote_types(x.dtype, kernel.dtype) if self.dtype is None else self.dtype
        y = times(x.astype(dtype), kernel)
        return y if bias is None else plus(y, bias)
