"""float16: the loss is multiplied by a factor that follows what its gradients can bear.

Gradients below 6e-8 vanish in float16 and those above 65504 overflow. The loss, and so all
gradients, are multiplied by a scale as large as goes well (Micikevicius et al. 2018, 3.2). bfloat16
has the range of float32 and needs none. Parameters, norms, softmax, losses and optimizer are
float32 under every policy.
"""

import flax.struct
import jax
import jax.numpy as jnp

from jaxattn.config import TrainConfig

LARGEST = 2.0**24
"""The scale is doubled no further: where so little is lost to underflow, more helps nothing."""
SMALLEST = 1.0
"""A scale below this means that the gradients themselves do not fit into float16."""


@flax.struct.dataclass
class LossScale:
    """The scale, float32 scalar, and int32 the steps without overflow since it last changed."""

    scale: jax.Array
    steps: jax.Array


def first_scale(config: TrainConfig) -> LossScale | None:
    """The scale of step 0; None for a precision that needs none."""
    if config.precision != "float16":
        return None
    return LossScale(jnp.float32(config.loss_scale), jnp.zeros((), jnp.int32))


def next_scale(current: LossScale, finite: jax.Array, double_after: int) -> LossScale:
    """Halved after an overflow, doubled after `double_after` steps in a row without one."""
    steps = jnp.where(finite, current.steps + 1, 0)
    grown = jnp.minimum(current.scale * 2.0, LARGEST)
    due = steps >= double_after
    scale = jnp.where(finite, jnp.where(due, grown, current.scale), current.scale / 2.0)
    return LossScale(scale, jnp.where(due, 0, steps))
