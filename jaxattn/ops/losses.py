"""Losses as sums and counts, so that parts of a batch add up exactly."""

import jax
import jax.numpy as jnp


def cross_entropy_sums(
    logits: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    *,
    label_smoothing: float = 0.0,
    class_weights: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """Weighted sums of cross-entropy and of hits.

    Args:
      logits: [..., classes].
      targets: int [...], the true class.
      weights: float [...], 0 for places that do not count.
      label_smoothing: this share of the target is spread evenly over all classes (Szegedy et al.
        2016, 7).
      class_weights: float [classes]; the loss of a place is multiplied by that of its true class.
        They are no part of `count`: their mean over the training data should be 1.

    Returns:
      float32 scalars `loss` (nats), `correct` and `count`; divide the first two by `count`.
    """
    logits = logits.astype(jnp.float32)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if label_smoothing:
        picked = (1.0 - label_smoothing) * picked + label_smoothing * logits.mean(axis=-1)
    loss = jax.nn.logsumexp(logits, axis=-1) - picked
    if class_weights is not None:
        loss = loss * class_weights[targets]
    correct = (logits.argmax(axis=-1) == targets).astype(jnp.float32)
    return {
        "loss": (loss * weights).sum(),
        "correct": (correct * weights).sum(),
        "count": weights.sum(),
    }
