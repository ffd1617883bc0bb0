"""Fitting the baselines, by scikit-learn: texts are counted once for all settings of a grid."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxattn.errors import InputError
from jaxattn.stages.ngrams import NgramModel, count, counter, first_words, weighter

MAX_ITERATIONS = 1000
"""Enough for L-BFGS to converge (it takes about 25)."""


@dataclasses.dataclass(frozen=True, eq=False)
class CountedTexts:
    """Labelled training texts as counts of the n-grams of a `kind`.

    `terms` are the most frequent n-grams, in alphabetical order; `table` sparse float64 [texts,
    terms] how often each is in each text; `ranked` int [terms] the places of the terms, the most
    frequent first; `labels` int [texts]; `words` as in `NgramModel`; `seconds` wall time of
    counting.
    """

    kind: str
    words: int
    num_classes: int
    labels: np.ndarray
    terms: tuple[str, ...]
    ranked: np.ndarray
    table: Any
    seconds: float

    def columns(self, features: int) -> np.ndarray:
        """The places of the `features` most frequent terms, rising, int [at most features]."""
        return np.sort(self.ranked[:features])

    def count(self, texts: Sequence[str]) -> Any:
        """The same terms in other texts, sparse float64 [len(texts), terms]."""
        return count(self.kind, self.terms, first_words(texts, self.words))

    def fits(self, features: int, strengths: Sequence[float], seed: int) -> Iterator[NgramModel]:
        """Fits a classifier on the `features` most frequent terms, once for each strength.

        A strength is C, the inverse regularisation. The solver of the logistic regressions (L-BFGS)
        draws nothing at random; that of the SVM draws the order of the texts from `seed`.
        """
        start = time.perf_counter()
        columns = self.columns(features)
        terms = tuple(self.terms[place] for place in columns)
        weighting = weighter(self.kind)
        table = weighting.fit_transform(self.table[:, columns])
        idf = weighting.idf_ if weighting.use_idf else np.ones(len(terms))
        made = self.seconds + time.perf_counter() - start
        for strength in strengths:
            start = time.perf_counter()
            weights, biases = CLASSIFIERS[self.kind](table, self.labels, strength, seed)
            yield NgramModel(
                terms=terms,
                idf=idf,
                weights=weights,
                biases=biases,
                trained=np.unique(self.labels),
                num_classes=self.num_classes,
                words=self.words,
                fit_seconds=made + time.perf_counter() - start,
                kind=self.kind,
            )


def counted_texts(
    texts: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    *,
    features: int,
    num_classes: int,
    words: int = 0,
    kind: str = "tfidf",
) -> CountedTexts:
    """Counts the n-grams of training texts with `labels`, integers from 0.

    `features` n-grams are kept at most: those that `TfidfVectorizer(max_features=features)` keeps,
    and of them those that it keeps for each smaller number.

    Raises:
      InputError: no training texts, fewer than two classes in them, or no word in any.
      ValueError: texts and labels of different number, labels negative or beyond `num_classes`.
    """
    labels = np.asarray(labels)
    _check_labels(texts, labels, num_classes)
    start = time.perf_counter()
    vectorizer = counter(kind)
    try:
        table = vectorizer.fit_transform(first_words(texts, words))
    except ValueError as error:
        # scikit-learn's word for a corpus of nothing but spaces and punctuation
        if "empty vocabulary" not in str(error):
            raise
        raise InputError(
            f"the training texts hold no {'character' if kind == 'chars' else 'word'} to count "
            "(words have two letters or more); expected text"
        ) from None
    # Of equally frequent n-grams those are kept that scikit-learn's own sort keeps.
    ranked = (-np.asarray(table.sum(axis=0)).ravel()).argsort()[:features]
    kept = np.sort(ranked)
    names = vectorizer.get_feature_names_out()
    return CountedTexts(
        kind=kind,
        words=words,
        num_classes=num_classes,
        labels=labels,
        terms=tuple(names[kept].tolist()),
        ranked=np.searchsorted(kept, ranked),
        table=table[:, kept],
        seconds=time.perf_counter() - start,
    )


Fitted = tuple[np.ndarray, np.ndarray]


def _regression(table: Any, labels: np.ndarray, strength: float, seed: int) -> Fitted:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, random_state=seed)
    model.fit(table, labels)
    return model.coef_, model.intercept_


def _svm(table: Any, labels: np.ndarray, strength: float, seed: int) -> Fitted:
    from sklearn.svm import LinearSVC

    model = LinearSVC(C=strength, max_iter=10 * MAX_ITERATIONS, random_state=seed)
    model.fit(table, labels)
    return model.coef_, model.intercept_


def _weighted_by_naive_bayes(table: Any, labels: np.ndarray, strength: float, seed: int) -> Fitted:
    """Each class against all others, on features times their log ratio of frequencies.

    Wang and Manning 2012, equation 2 with alpha = 1, with logistic regression in place of the SVM
    (Mesnil et al. 2014); the ratios are multiplied into the weights, which leaves a linear model.
    """
    classes = np.unique(labels)
    weights, biases = [], []
    for positive in classes[1:] if len(classes) == 2 else classes:
        own = labels == positive
        inside = 1.0 + np.asarray(table[own].sum(0)).ravel()
        outside = 1.0 + np.asarray(table[~own].sum(0)).ravel()
        ratio = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
        found, bias = _regression(table.multiply(ratio).tocsr(), own.astype(int), strength, seed)
        weights.append(found[0] * ratio)
        biases.append(bias[0])
    return np.stack(weights), np.array(biases)


CLASSIFIERS = {
    "tfidf": _regression,
    "chars": _regression,
    "nb": _weighted_by_naive_bayes,
    "svm": _svm,
}
"""Kind of baseline -> what is fitted on its features."""


def _check_labels(texts: Sequence[str], labels: np.ndarray, num_classes: int) -> None:
    if len(texts) == 0:
        raise InputError("found no training texts, expected at least one a class")
    if labels.shape != (len(texts),):
        raise ValueError(f"train_labels: shape {labels.shape}, expected ({len(texts)},)")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise ValueError("train_labels: expected integers from 0")
    if (largest := int(labels.max())) >= num_classes:
        raise ValueError(f"train_labels: found {largest}, expected 0 to {num_classes - 1}")
    if np.unique(labels).size < 2:
        raise InputError(
            f"found only class {labels[0]} in the training labels, expected two or more"
        )
