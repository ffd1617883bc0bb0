"""Losses as sums and counts, so that parts of a batch add up exactly."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Num, PyTree

_LEAST_MISSING = 1e-12
"""Of a probability to 1 in the focal loss; in float32 it is 0 or far more."""


@jax.custom_vjp
def scores(
    x_BSD: Float[jax.Array, "B S D"], table_VD: Float[jax.Array, "V D"]
) -> Float[jax.Array, "B S V"]:
    """x . row for every row of the table, in float32 for either type of both.

    The gradient is multiplied in the type of `x_BSD`, as it is everywhere else in the model; left
    to itself it would be float32, which no matrix unit of a GPU takes.
    """
    return jnp.einsum("bsd,vd->bsv", x_BSD, table_VD, preferred_element_type=jnp.float32)


def _scores_forward(x_BSD: jax.Array, table_VD: jax.Array) -> tuple[jax.Array, PyTree]:
    return scores(x_BSD, table_VD), (x_BSD, table_VD)


def _scores_backward(residuals: PyTree, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    x_BSD, table_VD = residuals
    change_BSV = cotangent.astype(x_BSD.dtype)
    dx_BSD = jnp.einsum("bsv,vd->bsd", change_BSV, table_VD)
    # This one is added to that of the look-up of embeddings, which is float32.
    dtable_VD = jnp.einsum("bsv,bsd->vd", change_BSV, x_BSD)
    return dx_BSD, dtable_VD


scores.defvjp(_scores_forward, _scores_backward)


def cross_entropy_sums(
    logits: Float[jax.Array, "*rows classes"],
    targets: Int[jax.Array, "*rows"],
    weights: Num[jax.Array, "*rows"],
    *,
    label_smoothing: float = 0.0,
    class_weights: Float[jax.Array, " classes"] | None = None,
    focal_gamma: float = 0.0,
) -> dict[str, Float[jax.Array, ""]]:
    """Weighted sums of cross-entropy and of hits.

    Args:
      logits: any type; computed with in float32.
      targets: the true class.
      weights: 0 for places that do not count.
      label_smoothing: this share of the target is spread evenly over all classes (Szegedy et al.
        2016, 7).
      class_weights: -log p of every class is multiplied by the class's weight
        times its share of the target, as in `torch.nn.CrossEntropyLoss`. They are no part of
        `count`, so their mean over the true classes of the training data should be 1; torch's
        "mean" divides by the sum of the weights of the batch's true classes instead.
      focal_gamma: -log p of the true class is multiplied by (1 - p)^gamma (Lin et al. 2017, eq. 5
        with the class's weight for its alpha); not together with smoothing.

    Returns:
      float32 scalars `loss` (nats), `correct` and `count`; divide the first two by `count`.
    """
    logits = logits.astype(jnp.float32)
    # Compared, not taken by index: the gradient of that would be a scatter into all the logits.
    true = jnp.arange(logits.shape[-1], dtype=targets.dtype) == targets[..., None]
    picked = jnp.where(true, logits, 0.0).sum(axis=-1)
    normaliser = jax.nn.logsumexp(logits, axis=-1)
    if focal_gamma:
        if label_smoothing:
            raise ValueError("focal_gamma and label_smoothing: expected one of them")
        nats = normaliser - picked
        # Above 0, where the power has no finite gradient for exponents below 1.
        missing = jnp.maximum(-jnp.expm1(-nats), _LEAST_MISSING)
        loss = missing**focal_gamma * nats
        if class_weights is not None:
            loss = loss * class_weights[targets]
    elif class_weights is None:
        if label_smoothing:
            picked = (1.0 - label_smoothing) * picked + label_smoothing * logits.mean(axis=-1)
        loss = normaliser - picked
    else:
        loss = (normaliser - picked) * class_weights[targets]
        if label_smoothing:
            even = ((normaliser[..., None] - logits) * class_weights).mean(axis=-1)
            loss = (1.0 - label_smoothing) * loss + label_smoothing * even
    correct = (logits.argmax(axis=-1) == targets).astype(jnp.float32)
    return {
        "loss": (loss * weights).sum(),
        "correct": (correct * weights).sum(),
        "count": weights.sum(),
    }
