"""Which type a device computes in; and float16's factor of the loss, which follows its gradients.

Gradients below 6e-8 vanish in float16 and those above 65504 overflow. The loss, and so all
gradients, are multiplied by a scale as large as goes well (Micikevicius et al. 2018, 3.2). bfloat16
has the range of float32 and needs none. Parameters, norms, softmax, losses and optimizer are
float32 under every policy.
"""

import re
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from jaxattn.config import TrainConfig

LARGEST = 2.0**24
"""The scale is doubled no further: where so little is lost to underflow, more helps nothing."""

SMALLEST = 1.0
"""A scale below this means that the gradients themselves do not fit into float16."""

_BFLOAT16_SINCE, _FLOAT16_SINCE = 8.0, 7.0
"""Compute capabilities from which NVIDIA's GPUs have matrix units for the type: A100, V100."""


def automatic_precision(device: Any) -> tuple[str, str]:
    """What "auto" means on a device of `jax.devices()`, and why.

    bfloat16 where there are matrix units for it, else float16 where there are some for that, else
    float32, as on a CPU.
    """
    name = f"{device.device_kind}"
    capability = compute_capability(device)
    if capability is None:
        return "float32", f"{name} is no NVIDIA GPU"
    what = f"{name} has compute capability {capability}"
    if capability >= _BFLOAT16_SINCE:
        return "bfloat16", f"{what}: matrix units for it"
    if capability >= _FLOAT16_SINCE:
        return "float16", f"{what}: matrix units for it, none for bfloat16"
    return "float32", f"{what}: no matrix units for half precision"


def has_bfloat16_units(device: Any) -> bool:
    """Whether an NVIDIA GPU has matrix units for bfloat16."""
    return (compute_capability(device) or 0.0) >= _BFLOAT16_SINCE


def compute_capability(device: Any) -> float | None:
    """That of an NVIDIA GPU, as 7.5; None for any other device."""
    # AMD's GPUs have one too, as "gfx90a".
    found = str(getattr(device, "compute_capability", ""))
    is_number = re.fullmatch(r"\d+\.\d+", found) is not None
    return float(found) if device.platform == "gpu" and is_number else None


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
