"""The baseline on a corpus small enough to check."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from jaxattn.config import BaselineConfig, Config
from jaxattn.data.corpora.splits import Examples, LabelledCorpus
from jaxattn.errors import InputError
from jaxattn.stages.baseline import best_of_grid
from jaxattn.stages.ngram_fits import counted_texts
from jaxattn.stages.ngrams import COUNTED, WEIGHTED, NgramModel, first_words, load

TEXTS = ["good fine film", "good great film", "bad poor film", "bad awful film"] * 3
LABELS = [1, 1, 0, 0] * 3
SETTING = {"features": 20_000, "strength": 1.0, "seed": 0}


def fit(
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    features: int,
    strength: float,
    seed: int,
    num_classes: int | None = None,
    **given: int | str,
) -> NgramModel:
    """One baseline, by default of as many classes as there are labels."""
    num_classes = num_classes or max(labels, default=0) + 1
    counted = counted_texts(texts, labels, features=features, num_classes=num_classes, **given)
    return next(counted.fits(features, (strength,), seed))


def test_a_separable_corpus_is_separated() -> None:
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
def test_the_probabilities_are_those_of_scikit_learn(labels: list[int]) -> None:
    """Two classes and three, before and after a way through the files."""
    texts = ["great bad", "nothing known", "", "film film good"]
    reference = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), max_features=9), LogisticRegression(C=3.0)
    ).fit(TEXTS, labels)
    model = fit(TEXTS, labels, features=9, strength=3.0, seed=0)
    np.testing.assert_allclose(
        model.probabilities(texts), reference.predict_proba(texts), rtol=0, atol=1e-12
    )


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
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


def test_only_the_first_words_are_read() -> None:
    """What tells the classes apart is the third word; two words are not enough."""
    texts = ["one two good", "one two bad"] * 4
    labels = [1, 0] * 4
    assert first_words(["a  b\nc d", "a"], 2) == ["a b", "a"]
    whole = fit(texts, labels, **SETTING).probabilities(texts[:2])
    cut = fit(texts, labels, **SETTING, words=2).probabilities(texts[:2])
    assert whole[0, 1] > 0.6 and whole[1, 1] < 0.4
    np.testing.assert_allclose(cut, 0.5, atol=1e-6)


def test_three_classes_and_one_that_was_never_trained_on() -> None:
    """Columns are classes; the missing class 1 has probability 0."""
    row = fit(TEXTS, [2 * x for x in LABELS], num_classes=4, **SETTING).probabilities(["good"])[0]
    assert row.shape == (4,) and row[1] == row[3] == 0 and row[2] > row[0] > 0


def test_the_same_input_gives_the_same_result() -> None:
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
def test_a_corpus_that_teaches_nothing_is_refused(
    texts: list[str], labels: list[int], message: str
) -> None:
    """In one sentence for the user."""
    with pytest.raises(InputError, match=message):
        fit(texts, labels, **SETTING)


@pytest.mark.parametrize("labels", [[0], [0, -1], [0, 1.5], [0, 3]])
def test_labels_that_do_not_fit_are_refused(labels: list[float]) -> None:
    """Programming errors, not the user's."""
    with pytest.raises(ValueError, match="train_labels"):
        fit(["good", "bad"], labels, num_classes=2, **SETTING)


KINDS = tuple(COUNTED)

THREE = [0, 1, 2, 2] * 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [LABELS, THREE])
def test_every_kind_learns_and_is_the_same_from_its_files(
    kind: str, labels: list[int], tmp_path: Path
) -> None:
    """Probabilities that add up to one, two classes and three."""
    model = fit(TEXTS, labels, kind=kind, **SETTING)
    model = model.scaled(model.counts(TEXTS), np.array(labels))
    model.save(tmp_path)
    found = model.probabilities(TEXTS)
    np.testing.assert_array_equal(load(tmp_path).probabilities(TEXTS), found)
    np.testing.assert_allclose(found.sum(1), 1)
    if labels is LABELS:
        assert found.argmax(1).tolist() == labels


def test_characters_are_read_where_words_are_not() -> None:
    """As Chinese is written: no two texts share a word."""
    texts = [f"{a}{mark}{b}" for mark in "好坏" for a in "天地人" for b in "山水火"]
    labels = [0] * 9 + [1] * 9
    held_out = ["木好土", "木坏土"]
    assert fit(texts, labels, kind="chars", **SETTING).probabilities(held_out).argmax(
        1
    ).tolist() == [0, 1]
    words = fit(texts, labels, **SETTING).probabilities(held_out)
    np.testing.assert_allclose(words, 0.5, atol=1e-3)


def test_weights_by_naive_bayes_are_those_of_the_scaled_features() -> None:
    """Wang and Manning 2012, equation 2, with logistic regression."""
    counted = CountVectorizer(ngram_range=(1, 2), binary=True).fit(TEXTS)
    table, own = counted.transform(TEXTS).toarray(), np.array(LABELS) == 1
    inside, outside = 1 + table[own].sum(0), 1 + table[~own].sum(0)
    ratio = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
    reference = LogisticRegression(C=3.0, max_iter=1000).fit(table * ratio, own)
    model = fit(TEXTS, LABELS, features=100, strength=3.0, seed=0, kind="nb")
    texts = ["great bad", "nothing known", "", "film film good"]
    expected = reference.predict_proba(counted.transform(texts).toarray() * ratio)
    np.testing.assert_allclose(model.probabilities(texts), expected, atol=1e-6)


def test_the_scale_of_an_svm_is_that_of_the_likeliest_labels() -> None:
    """More doubt where held-out labels contradict it; the order of classes stays."""
    model = fit(TEXTS, THREE, kind="svm", **SETTING)
    counts = model.counts(TEXTS)
    sure = model.scaled(counts, np.array(THREE))
    unsure = model.scaled(counts, np.array([1, 2, 0, 1] * 3))
    assert sure.scale > unsure.scale
    np.testing.assert_array_equal(
        sure.probabilities(TEXTS).argmax(1), unsure.probabilities(TEXTS).argmax(1)
    )
    assert model.scaled(model.counts([]), np.array([], int)) is model


def test_held_out_texts_of_a_class_never_trained_on_do_not_change_the_scale() -> None:
    """The model gives that class probability 0 whatever the scale."""
    model = fit(TEXTS, LABELS, kind="svm", **SETTING, num_classes=4)
    labels = np.array([1, 0, 0, 1] * 3)
    known = model.scaled(model.counts(TEXTS), labels)
    more = model.scaled(model.counts([*TEXTS, "good film"]), np.append(labels, 3))
    assert more.scale == known.scale != 1.0
    assert model.scaled(model.counts(TEXTS), np.full(12, 3)) is model


@pytest.mark.parametrize("kind", KINDS)
def test_each_number_of_features_is_what_scikit_learn_keeps(kind: str) -> None:
    """Of one count for all, bit for bit: with many n-grams that are equally frequent."""
    rng = np.random.default_rng(5)
    words = [f"w{number}" for number in range(40)]
    texts = [" ".join(rng.choice(words, 8)) for _ in range(60)]
    labels, others = rng.integers(3, size=60), [*texts[:5], "w1 nothing w1", ""]
    counted = counted_texts(texts, labels, features=200, num_classes=3, kind=kind)
    held_out = counted.count(others)
    for features in (7, 200, 31, 10_000):
        # More than were counted are those that were counted.
        kept = min(features, 200)
        reference = TfidfVectorizer(max_features=kept, **COUNTED[kind], **WEIGHTED[kind])
        table = reference.fit_transform(texts)
        model = next(counted.fits(features, (1.0,), 0))
        assert list(model.terms) == reference.get_feature_names_out().tolist()
        if kind == "tfidf":
            weights = LogisticRegression(C=1.0, max_iter=1000, random_state=0).fit(table, labels)
            np.testing.assert_array_equal(model.weights, weights.coef_)
        np.testing.assert_array_equal(
            model.of_counts(held_out[:, counted.columns(features)]), model.probabilities(others)
        )


def test_a_grid_counts_the_texts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and validation texts: not for every setting again."""
    read: list[int] = []
    for name in ("fit_transform", "transform"):
        whole = getattr(CountVectorizer, name)

        def counting(
            self: CountVectorizer,
            texts: Sequence[str],
            *more: Any,
            whole: Callable[..., Any] = whole,
        ) -> Any:
            read.append(len(texts))
            return whole(self, texts, *more)

        monkeypatch.setattr(CountVectorizer, name, counting)
    splits = [Examples(TEXTS[:n], np.array(LABELS[:n])) for n in (12, 8, 4)]
    corpus = LabelledCorpus(*splits, ("bad", "good"))
    options = BaselineConfig(features=(5, 9, 12), strengths=(1.0, 2.0))
    model, validation, rows = best_of_grid(Config(baseline=options), corpus)
    assert read == [12, 8]
    assert [(row["features"], row["strength"]) for row in rows] == [
        (n, c) for n in (5, 9, 12) for c in (1.0, 2.0)
    ]
    np.testing.assert_array_equal(
        model.of_counts(validation), model.probabilities(corpus.validation.texts)
    )
