"""Losses as sums and counts, so that parts of a batch add up exactly."""

import jax
import jax.numpy as jnp


def cross_entropy_sums(
    logits: jax.Array, targets: jax.Array, weights: jax.Array
) -> dict[str, jax.Array]:
    """Weighted sums of cross-entropy and of hits.

    Args:
      logits: [..., classes].
      targets: int [...], the true class.
      weights: float [...], 0 for places that do not count.

    Returns:
      float32 scalars `loss` (nats), `correct` and `count`; divide the first two by `count`.
    """
    logits = logits.astype(jnp.float32)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    loss = jax.nn.logsumexp(logits, axis=-1) - picked
    correct = (logits.argmax(axis=-1) == targets).astype(jnp.float32)
    return {
        "loss": (loss * weights).sum(),
        "correct": (correct * weights).sum(),
        "count": weights.sum(),
    }
