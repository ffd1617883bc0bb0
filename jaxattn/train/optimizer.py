"""AdamW with linear warm-up, cosine decay and clipping."""

import jax.numpy as jnp
import optax

from jaxattn.config import TrainConfig
from jaxattn.ops import trees


def learning_rate_schedule(config: TrainConfig, total_steps: int) -> optax.Schedule:
    """Step (from 0) -> learning rate.

    Rises linearly over `warmup_ratio * total_steps` steps to the peak, then falls along a cosine
    to `min_lr_ratio` of it, reached at the last step. The first step has a rate above zero.
    """
    warmup_steps = round(config.warmup_ratio * total_steps)
    cosine = optax.cosine_decay_schedule(
        config.learning_rate, max(1, total_steps - warmup_steps), alpha=config.min_lr_ratio
    )

    def schedule(step: jnp.ndarray | int) -> jnp.ndarray:
        ordinal = step + 1
        rising = config.learning_rate * ordinal / max(1, warmup_steps)
        return jnp.where(ordinal <= warmup_steps, rising, cosine(ordinal - warmup_steps))

    return schedule


def make_optimizer(config: TrainConfig, total_steps: int) -> optax.GradientTransformation:
    """Clipping by global norm, then AdamW (Loshchilov & Hutter 2019); no decay on biases, norms."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate_schedule(config, total_steps),
            b1=config.beta1,
            b2=config.beta2,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            mask=trees.decay_mask,
        ),
    )
