"""Classes that are never predicted or absent, from counts worked out by hand."""

from collections.abc import Callable

import numpy as np

from jaxattn.evaluate.class_notes import (
    class_notes,
    confusion_counts,
    unpredicted,
    unpredicted_in_runs,
)
from jaxattn.evaluate.metrics import confusion
from jaxattn.runs.predictions import Predictions

Guesses = Callable[..., Predictions]

NAMES = ("a", "b", "c")


def test_nothing_is_said_where_every_class_is_labelled_and_predicted() -> None:
    assert class_notes([[3, 0, 1], [0, 2, 0], [1, 0, 1]], NAMES, "test") == []


def test_one_class_only() -> None:
    found = class_notes([[30, 0, 0], [2, 0, 0], [1, 0, 0]], NAMES, "test")
    assert found == ["on test it predicts one class only, 'a'"]
    assert unpredicted([[1, 0], [0, 0]], ("a", "b")) == ""  # one text cannot be of two classes


def test_never_predicted_and_absent() -> None:
    found = class_notes([[5, 0, 1], [3, 0, 1], [0, 0, 0]], NAMES, "validation")
    assert found == [
        "on validation class 'b' is never predicted (4 of 10 texts)",
        "on validation class 'c' has no text but is predicted: macro-F1 counts that as 0",
    ]
    (found,) = class_notes([[5, 0, 0], [1, 3, 0], [0, 0, 0]], NAMES, "test")
    assert found == (
        "on test class 'c' has no text: macro-F1 is over 2 of the 3 classes, those with texts or "
        "predictions"
    )
    many = np.zeros((30, 30), int)
    many[:, :2] = 1
    assert unpredicted(many, [f"class {i}" for i in range(30)]) == (
        "28 classes are never predicted (56 of 60 texts): 'class 2', 'class 3', 'class 4', "
        "'class 5', 'class 6' and 23 more"
    )


def test_counts_of_predictions_are_the_confusion_matrix(guesses: Guesses) -> None:
    some = guesses(0.7)
    assert confusion_counts(some).tolist() == confusion(some.probabilities, some.labels)
    assert isinstance(some, Predictions)


def test_of_several_runs_it_is_said_in_how_many_which_classes_are_missing() -> None:
    """No sentence of one run is told of another: they fail in other classes and numbers."""
    labels = np.array([0, 0, 1, 1, 2])

    def run(*predicted: int) -> Predictions:
        return Predictions(("a", "b", "c"), labels, np.array(predicted), np.eye(3)[list(predicted)])

    whole, blind, no_b, no_c = (
        run(0, 0, 1, 1, 2), run(0, 0, 0, 0, 0), run(0, 0, 2, 2, 2), run(0, 1, 1, 1, 1),
    )  # fmt: skip
    share = "in {} of {} runs"
    assert unpredicted_in_runs([whole, whole], share) == ""
    assert unpredicted_in_runs([no_b], share) == "class 'b' is never predicted (2 of 5 texts)"
    assert (
        unpredicted_in_runs([no_b, whole, no_b], share)
        == "in 2 of 3 runs class 'b' is never predicted"
    )
    assert unpredicted_in_runs([blind, no_b, whole, no_c], share) == (
        "in 1 of 4 runs it predicts one class only, 'a'; "
        "in 2 of 4 runs some of the classes 'b' and 'c' are never predicted"
    )
