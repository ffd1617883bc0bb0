"""The learning rate as a function of the step."""

import jax.numpy as jnp
import optax

from jaxattn.config import TrainConfig


def learning_rate_schedule(config: TrainConfig, total_steps: int) -> optax.Schedule:
    """Step (from 0) -> learning rate.

    Rises linearly over `warmup_ratio * total_steps` steps to the peak. Then it stays ("constant"),
    or falls to `min_lr_ratio` of it, reached at the last step, along a cosine or a line. The first
    step has a rate above zero.
    """
    warmup_steps = round(config.warmup_ratio * total_steps)
    falling = _falling(config, max(1, total_steps - warmup_steps))

    def schedule(step: jnp.ndarray | int) -> jnp.ndarray:
        ordinal = step + 1
        rising = config.learning_rate * ordinal / max(1, warmup_steps)
        return jnp.where(ordinal <= warmup_steps, rising, falling(ordinal - warmup_steps))

    return schedule


def _falling(config: TrainConfig, steps: int) -> optax.Schedule:
    """Steps since the peak -> learning rate."""
    peak, share = config.learning_rate, config.min_lr_ratio
    if config.schedule == "cosine":
        return optax.cosine_decay_schedule(peak, steps, alpha=share)
    if config.schedule == "linear":
        return optax.linear_schedule(peak, peak * share, steps)
    return optax.constant_schedule(peak)
