"""A finished classifier as Python code uses it, with scikit-learn's names."""

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from jaxattn.classifier.classifier import CHUNK, Classifier
from jaxattn.errors import InputError


class TextClassifier:
    """Labels and probabilities for texts.

    Attributes:
      classes_: names of the classes, str array [classes], in the order of the probabilities.
      config: the options it was trained with.
    """

    def __init__(self, classifier: Classifier) -> None:
        """Use `jaxattn.load`. Raises InputError where windows would not get on."""
        self._classifier, self.config = classifier, classifier.config
        self.classes_ = np.array(classifier.label_names)
        # Built now: a length and an overlap that do not fit are told before the first text.
        _ = classifier.reader
        # Two threads would compile the same program twice, or mix up what the tokenizer remembers.
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """Classes, attention and length."""
        return (
            f"<TextClassifier of {len(self.classes_)} classes, {self.config.attention.type}, "
            f"{self.config.data.max_length} tokens>"
        )

    def predict(self, texts: Iterable[str]) -> np.ndarray:
        """The most probable class of each text, str [n]."""
        labels: np.ndarray = self.classes_[self.predict_proba(texts).argmax(axis=1)]
        return labels

    def predict_proba(self, texts: Iterable[str]) -> np.ndarray:
        """Probabilities, float64 [n, classes], in the order of `classes_`.

        Args:
          texts: any iterable of strings; mark-up is taken out as it was in training.

        Raises:
          InputError: a single string, or something in `texts` that is no string.
        """
        parts = [self.classify(chunk)[0] for chunk in _chunks(texts)]
        return np.concatenate([np.zeros((0, len(self.classes_))), *parts])

    def predict_log_proba(self, texts: Iterable[str]) -> np.ndarray:
        """Logarithms of the probabilities, float64 [n, classes]; of 0 it is -inf."""
        with np.errstate(divide="ignore"):
            result: np.ndarray = np.log(self.predict_proba(texts))
            return result

    def predict_stream(self, texts: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """(label, probabilities float64 [classes]) of each text, in order.

        Reads 1,024 texts ahead and holds no more than these: `texts` may be a generator of any
        length.
        """
        for chunk in _chunks(texts):
            for row in self.classify(chunk)[0]:
                yield str(self.classes_[row.argmax()]), row

    def classify(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities float64 [n, classes]; bool [n], texts that were cut or read in windows."""
        with self._lock:
            return self._classifier.serve(self._classifier.cleaned(texts))


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
        raise InputError(
            f"texts: found one {type(texts).__name__}, expected a list of texts, as in "
            "predict([text])"
        )
    return _checked_chunks(texts)


def _checked_chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    source, start = iter(texts), 0
    while chunk := list(itertools.islice(source, CHUNK)):
        for index, text in enumerate(chunk, start):
            if not isinstance(text, str):
                raise InputError(
                    f"texts[{index}]: found {text!r} ({type(text).__name__}), expected a string"
                )
            if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
                raise InputError(f"texts[{index}]: holds half of a surrogate pair")
        # A NumPy array of strings holds a subclass that tokenizers do not take.
        yield [str(text) for text in chunk]
        start += len(chunk)
