"""Baselines to beat: linear classifiers of counted words or characters.

"tfidf", words and word pairs with logistic regression, is the yardstick of the criteria. The others
are often better and as cheap: "chars" where words are not what white space separates, "nb" and
"svm" for sentiment and topics (Wang and Manning 2012, "Baselines and Bigrams").
"""

import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxattn.errors import InputError
from jaxattn.files import LARGEST_TABLE, read_object, read_text, unfit, whole, write_text

WORDS = {"ngram_range": (1, 2)}
"""Words and word pairs, as published.

Term counts as they are (scikit-learn's default), not 1 + log(count): the published 89.50 macro-F1
on the IMDB test split is met with counts, 20,000 features and C = 1 (89.56); logarithms reach 89.96
there (a tenth of the training split held out: 89.48 and 89.92).
"""

COUNTED: dict[str, dict[str, Any]] = {
    "tfidf": WORDS,
    "svm": WORDS,
    # Within words: a sequence across a gap tells little that the words do not.
    "chars": {"ngram_range": (1, 4), "analyzer": "char_wb"},
    # Whether a word is there says more of an opinion than how often.
    "nb": WORDS | {"binary": True},
}
"""Kind of baseline -> what is counted, for scikit-learn's `CountVectorizer`."""

WEIGHTED: dict[str, dict[str, Any]] = {
    "tfidf": {},
    "svm": {},
    "chars": {"sublinear_tf": True},
    "nb": {"use_idf": False, "norm": None},
}
"""Kind of baseline -> what its counts are multiplied by, for scikit-learn's `TfidfTransformer`."""


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
        return self.of_counts(self.counts(texts))

    def counts(self, texts: Sequence[str]) -> Any:
        """How often each of `terms` is in each text, sparse float64 [len(texts), terms]."""
        return count(self.kind, self.terms, first_words(texts, self.words))

    def of_counts(self, counts: Any) -> np.ndarray:
        """As `probabilities`, of texts that are counted; `counts` stay as they are."""
        result = np.zeros((counts.shape[0], self.num_classes))
        if len(result):
            result[:, self.trained] = self._normalised(self.scale * self._logits(counts))
        return result

    def scaled(self, counts: Any, labels: np.ndarray) -> "NgramModel":
        """With the `scale` under which these labels, of held-out texts, are likeliest.

        Texts of a class that was never trained on say nothing of it and are left out.
        """
        from scipy.optimize import minimize_scalar

        known = np.isin(labels, self.trained)
        if not known.any():
            return self
        place = np.searchsorted(self.trained, labels[known])
        logits = self._logits(counts[known])
        rows = np.arange(len(logits)), place

        def loss(log_scale: float) -> float:
            found = self._normalised(np.exp(log_scale) * logits)[rows]
            return -float(np.log(np.maximum(found, 1e-300)).mean())

        best = minimize_scalar(loss, bounds=(-3.0, 5.0), method="bounded")
        return dataclasses.replace(self, scale=float(np.exp(best.x)))

    def _logits(self, counts: Any) -> np.ndarray:
        """[texts, rows of `weights`]."""
        # `idf` of a kind without weights are ones.
        weighting = weighter(self.kind, use_idf=True)
        weighting.idf_ = self.idf
        logits: np.ndarray = weighting.transform(counts) @ self.weights.T + self.biases
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
        """Writes tfidf_terms.txt (a term a line), tfidf_model.npz and tfidf_model.json there.

        The files of every kind are called so, as those of earlier versions.
        """
        buffer = io.BytesIO()
        np.savez(buffer, idf=self.idf, weights=self.weights, biases=self.biases)
        with whole(folder / "tfidf_model.npz") as temporary:
            temporary.write_bytes(buffer.getvalue())
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
        terms = read_text(folder / "tfidf_terms.txt", LARGEST_TABLE).split("\n")[:-1]
        if why := unfit(folder / "tfidf_model.npz"):
            raise ValueError(f"tfidf_model.npz: {why}")
        with np.load(folder / "tfidf_model.npz", allow_pickle=False) as arrays:
            idf, weights, biases = (arrays[name] for name in ("idf", "weights", "biases"))
        small = read_object(folder / "tfidf_model.json")
        trained = np.array(small.pop("trained"), np.int64)
        model = NgramModel(tuple(terms), idf, weights, biases, trained, **small)
        fits = model.kind in COUNTED
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}: no readable baseline ({error})") from None
    rows = 1 if len(trained) == 2 else len(trained)
    fits &= idf.shape == (len(terms),) and weights.shape == (rows, len(terms))
    if not fits or biases.shape != (rows,):
        raise InputError(f"{folder}: the files of the baseline do not fit each other")
    return model


def first_words(texts: Sequence[str], words: int) -> list[str]:
    """The first `words` words of each text, as white space separates them; 0: all."""
    if not words:
        return list(texts)
    return [" ".join(text.split(maxsplit=words)[:words]) for text in texts]


def counter(kind: str, **options: Any) -> Any:
    """Scikit-learn's counter of what a kind counts."""
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(dtype=np.float64, **COUNTED[kind], **options)


def weighter(kind: str, **options: Any) -> Any:
    """Scikit-learn's weights of what a kind counts."""
    from sklearn.feature_extraction.text import TfidfTransformer

    return TfidfTransformer(**WEIGHTED[kind] | options)


def count(kind: str, terms: Sequence[str], texts: Sequence[str]) -> Any:
    """How often each of `terms` is in each text, sparse float64 [len(texts), len(terms)]."""
    vocabulary = {term: place for place, term in enumerate(terms)}
    return counter(kind, vocabulary=vocabulary).transform(texts)
