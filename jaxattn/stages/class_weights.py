"""What each class weighs in the loss of fine-tuning."""

from collections.abc import Sequence

import numpy as np

from jaxattn.config.class_weights import own_weights
from jaxattn.console import listed
from jaxattn.errors import InputError, did_you_mean

_NAMED = 20
"""Classes that a refusal names at most."""


def class_weights(
    how: str,
    labels: np.ndarray,
    num_classes: int,
    names: Sequence[str] = (),
    sampling: str = "natural",
) -> np.ndarray | None:
    """Weight of every class in the loss, float64 [num_classes]; None for equal weights.

    "balanced": n / (classes that occur * n of the class), so that every class weighs the same in
    total and the mean weight of an example is 1. A class that does not occur weighs 0: all that
    its weight would act on is its share of smoothed targets.

    "a=1,b=5": in these proportions; a class that is not named weighs 1 among them. They are scaled
    so that the mean weight of an example is 1 too, as the loss is divided by the examples.

    Args:
      how: the option finetune.class_weights.
      labels: of the training texts, int [n].
      num_classes: how many there are.
      names: of the classes, for weights by name.
      sampling: the option finetune.sampling; balanced: every class that occurs is met equally.

    Raises:
      InputError: a weight is of a class that does not exist.
    """
    if how == "none":
        return None
    counts = np.bincount(labels, minlength=num_classes)
    own = own_weights(how)
    if own is None:
        balanced = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        return np.where(counts > 0, balanced, 0.0)
    for name in own:
        if name not in names:
            raise InputError(
                f"finetune.class_weights: there is no class {listed([name])} (the classes are "
                f"{listed(names, _NAMED)}){did_you_mean(name, names)}"
            )
    given = np.array([own.get(name, 1.0) for name in names])
    met = counts > 0 if sampling == "balanced" else counts
    scaled: np.ndarray = given * met.sum() / (given * met).sum()
    return scaled
