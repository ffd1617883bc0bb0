"""Metrics against values worked out by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from jaxattn.errors import InputError
from jaxattn.evaluate.intervals import macro_f1
from jaxattn.evaluate.metrics import classification_metrics, confusion, per_class
from jaxattn.runs.predictions import Predictions

BINARY = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]])
BINARY_LABELS = np.array([0, 0, 1, 1, 1])


def test_binary_values() -> None:
    """Predicted 0 1 1 1 0: F1 of class 0 is 2*1/(2+2), of class 1 2*2/(3+3)."""
    found = classification_metrics(BINARY, BINARY_LABELS)
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["macro_f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["weighted_f1"] == pytest.approx(2 / 5 * 1 / 2 + 3 / 5 * 2 / 3)
    # Of 6 pairs (class 1 above class 0) all but 0.4 < 0.6 are in order.
    assert found["auroc"] == pytest.approx(5 / 6)
    likelihoods = [0.9, 0.4, 0.7, 0.8, 0.4]
    assert found["loss"] == pytest.approx(-sum(map(math.log, likelihoods)) / 5)
    assert confusion(BINARY, BINARY_LABELS) == [[1, 1], [1, 2]]


def test_multi_class_values() -> None:
    """Classes 0 and 1 are perfectly separated one-versus-rest, class 2 has 1 of 2 pairs wrong."""
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.7, 0.15, 0.15]])
    labels = np.array([0, 1, 2])
    found = classification_metrics(probabilities, labels)
    assert found["accuracy"] == pytest.approx(2 / 3)
    # F1: class 0 2*1/(2+1), class 1 1, class 2 never predicted.
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    # One-versus-rest: 0.8 over 0.1 and 0.7; 0.7 over 0.1 and 0.15; 0.15 over 0.1, not over 0.2.
    assert found["auroc"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert confusion(probabilities, labels) == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_a_class_without_examples_has_no_auroc_and_is_not_in_macro_f1() -> None:
    """Two of three classes perfect, the third nowhere: macro-F1 1, as scikit-learn has it."""
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    found = classification_metrics(probabilities, np.array([0, 1]))
    assert found["auroc"] is None
    assert found["macro_f1"] == found["weighted_f1"] == 1.0
    assert classification_metrics(BINARY[:2], np.array([0, 0]))["auroc"] is None


@pytest.mark.parametrize("seed", range(20))
def test_macro_f1_is_scikit_learn_s_whatever_classes_occur(seed: int) -> None:
    """Over the sorted union of labels and predictions; equal in metrics and predictions."""
    rng = np.random.default_rng(seed)
    count, classes = int(rng.integers(1, 12)), int(rng.integers(2, 9))
    probabilities = rng.dirichlet(np.full(classes, 0.3), count)
    labels = rng.integers(classes, size=count)
    predicted = probabilities.argmax(axis=1)
    wanted = f1_score(labels, predicted, average="macro", zero_division=0)
    names = tuple(map(str, range(classes)))
    found = classification_metrics(probabilities, labels)["macro_f1"]
    assert found == pytest.approx(wanted, abs=1e-15)
    assert found == macro_f1(Predictions(names, labels, predicted, probabilities))


def test_low_precision_rows_are_normalised() -> None:
    """A softmax in half precision misses 1 by some 1e-3."""
    probabilities = np.array([[0.5005, 0.5005], [0.2, 0.8]], dtype=np.float16)
    found = classification_metrics(probabilities, np.array([0, 1]))
    assert found["loss"] == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2, abs=1e-4)


def test_certain_and_wrong_has_a_finite_loss() -> None:
    """A probability of exactly 0 is clipped, as scikit-learn does."""
    found = classification_metrics(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([1, 0]))
    assert math.isfinite(found["loss"])


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([[np.nan, 1.0]], [0], "finite"),
        ([[np.inf, 0.0]], [0], "finite"),
        ([[-0.5, 1.5]], [0], "sum to 1"),
        ([[0.5, 0.2]], [0], "sum to 1"),
        ([[0.5, 0.5]], [2], "expected 0 to 1"),
        ([[0.5, 0.5]], [-1], "expected 0 to 1"),
        ([[0.5, 0.5]], [0, 1], "one a row"),
        ([[0.5, 0.5]], [0.0], "integers"),
        ([[1.0]], [0], "c >= 2"),
    ],
)
def test_wrong_input_is_refused(
    probabilities: list[list[float]], labels: list[float], message: str
) -> None:
    """With what was found."""
    for function in (classification_metrics, confusion):
        with pytest.raises(ValueError, match=message):
            function(np.array(probabilities), np.array(labels))


def test_nothing_to_evaluate() -> None:
    """An empty split is the user's to mend."""
    with pytest.raises(InputError, match="no examples"):
        classification_metrics(np.zeros((0, 2)), np.zeros(0, dtype=int))


def test_the_table_of_classes_by_hand() -> None:
    """Class b: 1 hit, 2 predicted, 2 labelled; c occurs nowhere."""
    labels, predicted = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1])
    table = per_class(labels, predicted, ("a", "b", "c"))
    assert table[1] == {"class": "b", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert table[2] == {"class": "c", "precision": 0, "recall": 0, "f1": 0, "support": 0}
