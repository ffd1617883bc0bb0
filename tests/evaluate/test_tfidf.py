"""The baseline on a corpus small enough to check."""

import numpy as np
import pytest

from jaxattn.errors import InputError
from jaxattn.evaluate.tfidf import fit_predict

TEXTS = ["good fine film", "good great film", "bad poor film", "bad awful film"] * 3
LABELS = [1, 1, 0, 0] * 3


def test_a_separable_corpus_is_separated():
    """Unseen combinations of the same words are told apart."""
    found = fit_predict(TEXTS, LABELS, {"test": ["great good", "awful bad"], "none": []}, seed=0)
    assert found.probabilities["test"].argmax(axis=1).tolist() == [1, 0]
    np.testing.assert_allclose(found.probabilities["test"].sum(axis=1), 1)
    assert found.probabilities["none"].shape == (0, 2)
    # 7 words, and 8 pairs: good fine, fine film, good great, great film, and as many for bad.
    assert (found.features, found.parameters) == (15, 16)
    assert 0 < found.fit_seconds < 30


def test_three_classes_and_one_that_was_never_trained_on():
    """Columns are classes; the missing class 1 has probability 0."""
    found = fit_predict(TEXTS, [2 * x for x in LABELS], {"t": ["good"]}, 0, num_classes=4)
    row = found.probabilities["t"][0]
    assert row.shape == (4,) and row[1] == row[3] == 0 and row[2] > row[0] > 0


def test_the_same_input_gives_the_same_result():
    """Bit for bit, whatever the seed: the solver draws nothing."""
    one, two = (fit_predict(TEXTS, LABELS, {"t": TEXTS}, seed).probabilities for seed in (0, 1))
    np.testing.assert_array_equal(one["t"], two["t"])


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ([], [], "no training texts"),
        (["a b", "good"], [1, 1], "only class 1"),
        (["!", "?"], [0, 1], "no word"),
    ],
)
def test_a_corpus_that_teaches_nothing_is_refused(texts, labels, message):
    """In one sentence for the user."""
    with pytest.raises(InputError, match=message):
        fit_predict(texts, labels, {}, seed=0)


@pytest.mark.parametrize("labels", [[0], [0, -1], [0, 1.5], [0, 3]])
def test_labels_that_do_not_fit_are_refused(labels):
    """Programming errors, not the user's."""
    with pytest.raises(ValueError, match="train_labels"):
        fit_predict(["good", "bad"], labels, {}, seed=0, num_classes=2)
