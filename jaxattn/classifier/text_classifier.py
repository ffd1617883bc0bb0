"""A finished classifier as Python code uses it, with scikit-learn's names."""

import threading
from collections.abc import Iterable, Iterator

import numpy as np

from jaxattn.classifier.classifier import Classifier
from jaxattn.classifier.given_texts import chunks


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
            f"<TextClassifier of {len(self.classes_)} classes, {self.config.attention.label}, "
            f"{self.config.data.max_length} tokens>"
        )

    def predict(self, texts: Iterable[str]) -> np.ndarray:
        """The most probable class of each text, str [n]."""
        labels: np.ndarray = self.classes_[self.predict_proba(texts).argmax(axis=1)]
        return labels

    def predict_proba(self, texts: Iterable[str]) -> np.ndarray:
        """Probabilities, float64 [n, classes], in the order of `classes_`.

        Args:
          texts: any iterable of strings: a list, a generator, an array, a column of a table;
            mark-up is taken out as it was in training.

        Raises:
          InputError: a single string, a whole table (a DataFrame, a dict), or something in `texts`
            that is no string.
        """
        parts = [self.classify(chunk)[0] for chunk in self._chunks(texts)]
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
        for chunk in self._chunks(texts):
            for row in self.classify(chunk)[0]:
                yield str(self.classes_[row.argmax()]), row

    def _chunks(self, texts: Iterable[str]) -> Iterator[list[str]]:
        return chunks(texts, self.config.data.text_column)

    def classify(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities float64 [n, classes]; bool [n], texts that were cut or read in windows."""
        with self._lock:
            return self._classifier.serve(self._classifier.cleaned(texts))
