"""Baselines to beat: linear classifiers of counted words or characters, by scikit-learn.

"tfidf", words and word pairs with logistic regression, is the yardstick of the criteria. The others
are often better and as cheap: "chars" where words are not what white space separates, "nb" and
"svm" for sentiment and topics (Wang and Manning 2012, "Baselines and Bigrams").
"""

import dataclasses
import io
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxattn.errors import InputError
from jaxattn.files import write_text

WORDS = {"ngram_range": (1, 2)}
"""Words and word pairs, as published.

Term counts as they are (scikit-learn's default), not 1 + log(count): the published 89.50 macro-F1
on the IMDB test split is met with counts, 20,000 features and C = 1 (89.56); logarithms reach 89.96
there (a tenth of the training split held out: 89.48 and 89.92).
"""

VECTORIZERS: dict[str, dict[str, Any]] = {
    "tfidf": WORDS,
    "svm": WORDS,
    # Within words: a sequence across a gap tells little that the words do not.
    "chars": {"ngram_range": (1, 4), "analyzer": "char_wb", "sublinear_tf": True},
    # Whether a word is there says more of an opinion than how often.
    "nb": WORDS | {"binary": True, "use_idf": False, "norm": None},
}
"""Kind of baseline -> how its features are counted, for scikit-learn's `TfidfVectorizer`."""

MAX_ITERATIONS = 1000
"""Enough for L-BFGS to converge (it takes about 25)."""


@dataclasses.dataclass(frozen=True)
class NgramModel:
    """A fitted baseline of `kind`.

    `terms` are the n-grams, `idf` float64 [terms] their weights, `weights` [classes, terms] and
    `biases` [classes] those of the classifier (of two classes: one row), `trained` the classes with
    training texts. `fit_seconds` is wall time of building the vocabulary, the features and the
    classifier; `words` how many words of a text are read, 0 for all. `scale` multiplies the
    logits: those of an SVM are no log-odds.
    """

    terms: tuple[str, ...]
    idf: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    trained: np.ndarray
    num_classes: int
    words: int
    fit_seconds: float
    kind: str = "tfidf"
    scale: float = 1.0

    @property
    def parameters(self) -> int:
        """Weights and biases of the classifier."""
        return self.weights.size + self.biases.size

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Class probabilities, float64 [len(texts), num_classes]; 0 for one never trained on."""
        result = np.zeros((len(texts), self.num_classes))
        if len(texts):
            result[:, self.trained] = self._normalised(self.scale * self._logits(texts))
        return result

    def scaled(self, texts: Sequence[str], labels: np.ndarray) -> "NgramModel":
        """With the `scale` under which these labels, of held-out texts, are likeliest."""
        from scipy.optimize import minimize_scalar

        place = np.searchsorted(self.trained, labels)
        known = np.isin(labels, self.trained)
        if not known.any():
            return self
        logits = self._logits(texts)[known]
        rows = np.arange(len(logits)), place[known]

        def loss(log_scale: float) -> float:
            found = self._normalised(np.exp(log_scale) * logits)[rows]
            return -float(np.log(np.maximum(found, 1e-300)).mean())

        best = minimize_scalar(loss, bounds=(-3.0, 5.0), method="bounded")
        return dataclasses.replace(self, scale=float(np.exp(best.x)))

    def _logits(self, texts: Sequence[str]) -> np.ndarray:
        """[len(texts), rows of `weights`]."""
        vectorizer = _vectorizer(self.kind, None)
        vocabulary = {term: place for place, term in enumerate(self.terms)}
        # Without them it says that it was never fitted; those of "nb" are ones.
        vectorizer.set_params(vocabulary=vocabulary, use_idf=True)
        vectorizer.idf_ = self.idf
        table = vectorizer.transform(first_words(texts, self.words))
        logits: np.ndarray = table @ self.weights.T + self.biases
        return logits

    def _normalised(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities of the trained classes."""
        from scipy.special import expit, softmax

        if len(self.trained) == 2:
            return np.concatenate([expit(-logits), expit(logits)], axis=1)
        if self.kind == "nb":
            # Each class against all others, as scikit-learn's OneVsRestClassifier has it.
            each = np.maximum(expit(logits), 1e-300)
            return np.asarray(each / each.sum(1, keepdims=True))
        return np.asarray(softmax(logits, axis=1))

    def save(self, folder: Path) -> None:
        """Writes tfidf_terms.txt (a term a line), tfidf_model.npz and tfidf_model.json there."""
        buffer = io.BytesIO()
        np.savez(buffer, idf=self.idf, weights=self.weights, biases=self.biases)
        temporary = folder / ".tfidf_model.npz.tmp"
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(folder / "tfidf_model.npz")
        write_text(folder / "tfidf_terms.txt", "".join(f"{term}\n" for term in self.terms))
        small = {
            "trained": self.trained.tolist(),
            "num_classes": self.num_classes,
            "words": self.words,
            "fit_seconds": self.fit_seconds,
            "kind": self.kind,
            "scale": self.scale,
        }
        write_text(folder / "tfidf_model.json", json.dumps(small) + "\n")


def load(folder: Path) -> NgramModel:
    """The model that `save` wrote; nothing in its files is executed.

    Raises:
      InputError: a file is missing or is not what it should be.
    """
    try:
        terms = (folder / "tfidf_terms.txt").read_text(encoding="utf-8").split("\n")[:-1]
        with np.load(folder / "tfidf_model.npz", allow_pickle=False) as arrays:
            idf, weights, biases = (arrays[name] for name in ("idf", "weights", "biases"))
        small = json.loads((folder / "tfidf_model.json").read_text(encoding="utf-8"))
        trained = np.array(small.pop("trained"), np.int64)
        model = NgramModel(tuple(terms), idf, weights, biases, trained, **small)
        fits = model.kind in VECTORIZERS
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}: no readable TF-IDF model ({error})") from None
    rows = 1 if len(trained) == 2 else len(trained)
    fits &= idf.shape == (len(terms),) and weights.shape == (rows, len(terms))
    if not fits or biases.shape != (rows,):
        raise InputError(f"{folder}: the files of the TF-IDF model do not fit each other")
    return model


def first_words(texts: Sequence[str], words: int) -> list[str]:
    """The first `words` words of each text, as white space separates them; 0: all."""
    if not words:
        return list(texts)
    return [" ".join(text.split(maxsplit=words)[:words]) for text in texts]


def fit(
    texts: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    *,
    features: int,
    strength: float,
    seed: int,
    num_classes: int | None = None,
    words: int = 0,
    kind: str = "tfidf",
) -> NgramModel:
    """Fits one baseline; see `fits`."""
    given: dict[str, Any] = {"seed": seed, "num_classes": num_classes, "words": words, "kind": kind}
    return next(fits(texts, labels, features=features, strengths=(strength,), **given))


def fits(
    texts: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    *,
    features: int,
    strengths: Sequence[float],
    seed: int,
    num_classes: int | None = None,
    words: int = 0,
    kind: str = "tfidf",
) -> Iterator[NgramModel]:
    """Fits the baseline on `texts` with `labels`, integers from 0, once for each strength.

    `features` n-grams are kept at most; a strength is C, the inverse regularisation; `num_classes`
    is by default one more than the largest label. The solver of the logistic regressions (L-BFGS)
    draws nothing at random; that of the SVM draws the order of the texts from `seed`.

    Raises:
      InputError: no training texts, fewer than two classes in them, or no word in any.
      ValueError: texts and labels of different number, labels negative or beyond `num_classes`.
    """
    labels = np.asarray(labels)
    count = _class_count(texts, labels, num_classes)
    start = time.perf_counter()
    vectorizer = _vectorizer(kind, features)
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
    terms = tuple(vectorizer.get_feature_names_out().tolist())
    idf = vectorizer.idf_ if vectorizer.use_idf else np.ones(len(terms))
    counted = time.perf_counter() - start
    for strength in strengths:
        start = time.perf_counter()
        weights, biases = CLASSIFIERS[kind](table, labels, strength, seed)
        yield NgramModel(
            terms=terms,
            idf=idf,
            weights=weights,
            biases=biases,
            trained=np.unique(labels),
            num_classes=count,
            words=words,
            fit_seconds=counted + time.perf_counter() - start,
            kind=kind,
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


def _vectorizer(kind: str, features: int | None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(max_features=features, **VECTORIZERS[kind])


def _class_count(texts: Sequence[str], labels: np.ndarray, num_classes: int | None) -> int:
    """Number of classes of a checked training set."""
    if len(texts) == 0:
        raise InputError("found no training texts, expected at least one a class")
    if labels.shape != (len(texts),):
        raise ValueError(f"train_labels: shape {labels.shape}, expected ({len(texts)},)")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise ValueError("train_labels: expected integers from 0")
    found = int(labels.max()) + 1
    if num_classes is not None and found > num_classes:
        raise ValueError(f"train_labels: found {found - 1}, expected 0 to {num_classes - 1}")
    if np.unique(labels).size < 2:
        raise InputError(
            f"found only class {labels[0]} in the training labels, expected two or more"
        )
    return num_classes or found
