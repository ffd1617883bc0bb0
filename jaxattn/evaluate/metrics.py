"""What a classifier's probabilities are worth, by scikit-learn."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxattn.errors import InputError
from jaxattn.runs.predictions import SUM_TOLERANCE


def classification_metrics(
    probabilities: np.ndarray, labels: np.ndarray
) -> dict[str, float | None]:
    """Quality of `probabilities` [n, c] (float) against `labels` [n] (int, 0..c-1).

    Returns accuracy, macro_f1, weighted_f1, auroc (all shares of 1) and loss (mean negative log
    likelihood, nats). The predicted class is the first most probable one. macro_f1 is the mean
    over the classes that are in `labels` or predicted, as scikit-learn's `f1_score` has it. auroc
    is that of class 1 for two classes, else the mean over classes of one-versus-rest; it is None
    when a class does not occur in `labels`, for then it is not defined.

    Raises:
      InputError: no examples.
      ValueError: probabilities that are not finite, negative or do not sum to 1; labels out of
        range; shapes that do not fit.
    """
    from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

    probabilities, labels = _checked(probabilities, labels)
    classes = np.arange(probabilities.shape[1])
    predicted = probabilities.argmax(axis=1)

    def f1(average: str | None) -> Any:
        return f1_score(labels, predicted, labels=classes, average=average, zero_division=0)

    auroc = None
    if np.unique(labels).size == classes.size:
        if classes.size == 2:
            auroc = float(roc_auc_score(labels, probabilities[:, 1]))
        else:
            auroc = float(
                roc_auc_score(
                    labels, probabilities, labels=classes, multi_class="ovr", average="macro"
                )
            )
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        # Rounded once, so that whoever adds up in another order gets the same last digit.
        "macro_f1": math.fsum(f1(None)) / np.union1d(labels, predicted).size,
        "weighted_f1": float(f1("weighted")),
        "auroc": auroc,
        "loss": float(log_loss(labels, probabilities, labels=classes)),
    }


def confusion(probabilities: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    """Counts [c, c] of examples by true class (row) and predicted class (column).

    Raises:
      InputError, ValueError: as `classification_metrics`.
    """
    from sklearn.metrics import confusion_matrix

    probabilities, labels = _checked(probabilities, labels)
    classes = np.arange(probabilities.shape[1])
    result: list[list[int]] = confusion_matrix(
        labels, probabilities.argmax(axis=1), labels=classes
    ).tolist()
    return result


def per_class(
    labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]
) -> list[dict[str, str | float | int]]:
    """For each class its name, precision, recall, f1 (shares of 1; 0 where not defined), support.

    `labels` and `predicted` are int [n], 0..c-1; `support` is how many texts have the label.
    """
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(names)), zero_division=0
    )
    return [
        {"class": name, "precision": p, "recall": r, "f1": f1, "support": int(support)}
        for name, p, r, f1, support in zip(names, *(c.tolist() for c in columns), strict=True)
    ]


def _checked(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays, the probabilities in float64 with rows that sum to 1."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    labels = np.asarray(labels)
    if labels.size == 0:
        raise InputError("found no examples to evaluate, expected at least one")
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities: shape {probabilities.shape}, expected [n, c >= 2]")
    if labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"labels: shape {labels.shape}, expected [{len(probabilities)}], one a row"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels: {labels.dtype}, expected integers")
    count = probabilities.shape[1]
    if labels.min() < 0 or labels.max() >= count:
        raise ValueError(
            f"labels: found {labels.min()} to {labels.max()}, expected 0 to {count - 1}"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities: not all finite")
    sums = probabilities.sum(axis=1, keepdims=True)
    if (probabilities < 0).any() or (np.abs(sums - 1) > SUM_TOLERANCE).any():
        raise ValueError("probabilities: expected rows of values >= 0 that sum to 1")
    return probabilities / sums, labels
