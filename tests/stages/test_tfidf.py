"""The baseline on a corpus small enough to check."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from jaxattn.errors import InputError
from jaxattn.stages.tfidf import first_words, fit, load

TEXTS = ["good fine film", "good great film", "bad poor film", "bad awful film"] * 3
LABELS = [1, 1, 0, 0] * 3
SETTING = {"features": 20_000, "strength": 1.0, "seed": 0}


def test_a_separable_corpus_is_separated():
    """Unseen combinations of the same words are told apart."""
    model = fit(TEXTS, LABELS, **SETTING)
    found = model.probabilities(["great good", "awful bad"])
    assert found.argmax(axis=1).tolist() == [1, 0]
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert model.probabilities([]).shape == (0, 2)
    # 7 words, and 8 pairs: good fine, fine film, good great, great film, and as many for bad.
    assert (len(model.terms), model.parameters) == (15, 16)
    assert 0 < model.fit_seconds < 30


@pytest.mark.parametrize("labels", [LABELS, [0, 1, 2, 2] * 3])
def test_the_probabilities_are_those_of_scikit_learn(labels):
    """Two classes and three, before and after a way through the files."""
    texts = ["great bad", "nothing known", "", "film film good"]
    reference = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), max_features=9), LogisticRegression(C=3.0)
    ).fit(TEXTS, labels)
    model = fit(TEXTS, labels, features=9, strength=3.0, seed=0)
    np.testing.assert_allclose(
        model.probabilities(texts), reference.predict_proba(texts), rtol=0, atol=1e-12
    )


def test_a_saved_model_predicts_the_same(tmp_path):
    """Bit for bit, and no file of it is a pickle; a torn one is refused."""
    model = fit(TEXTS, LABELS, **SETTING, words=2)
    model.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).probabilities(TEXTS), model.probabilities(TEXTS))
    terms = tmp_path / "tfidf_terms.txt"
    terms.write_text(terms.read_text().replace("bad\n", ""))
    with pytest.raises(InputError, match="do not fit"):
        load(tmp_path)
    (tmp_path / "tfidf_model.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="no readable"):
        load(tmp_path)


def test_only_the_first_words_are_read():
    """What tells the classes apart is the third word; two words are not enough."""
    texts = ["one two good", "one two bad"] * 4
    labels = [1, 0] * 4
    assert first_words(["a  b\nc d", "a"], 2) == ["a b", "a"]
    whole = fit(texts, labels, **SETTING).probabilities(texts[:2])
    cut = fit(texts, labels, **SETTING, words=2).probabilities(texts[:2])
    assert whole[0, 1] > 0.6 and whole[1, 1] < 0.4
    np.testing.assert_allclose(cut, 0.5, atol=1e-6)


def test_three_classes_and_one_that_was_never_trained_on():
    """Columns are classes; the missing class 1 has probability 0."""
    row = fit(TEXTS, [2 * x for x in LABELS], num_classes=4, **SETTING).probabilities(["good"])[0]
    assert row.shape == (4,) and row[1] == row[3] == 0 and row[2] > row[0] > 0


def test_the_same_input_gives_the_same_result():
    """Bit for bit, whatever the seed: the solver draws nothing."""
    one, two = (
        fit(TEXTS, LABELS, features=9, strength=1.0, seed=seed).probabilities(TEXTS)
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(one, two)


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
        fit(texts, labels, **SETTING)


@pytest.mark.parametrize("labels", [[0], [0, -1], [0, 1.5], [0, 3]])
def test_labels_that_do_not_fit_are_refused(labels):
    """Programming errors, not the user's."""
    with pytest.raises(ValueError, match="train_labels"):
        fit(["good", "bad"], labels, num_classes=2, **SETTING)
