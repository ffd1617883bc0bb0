"""A finished classifier as Python code uses it, with scikit-learn's names."""

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxattn.classifier.serving import Server, serving_lengths
from jaxattn.config import Config, replace
from jaxattn.data.tokens.encode import TextReader
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import Trained
from jaxattn.model.heads import ClassifierModel

CHUNK = 1024
"""Texts that are read, sorted by length and run together."""

_DENSE_TOKENS = 512
"""On a CPU, exact attention up to this length has all its scores at once: forward it is faster."""


class TextClassifier:
    """Labels and probabilities for texts.

    Attributes:
      classes_: names of the classes, str array [classes], in the order of the probabilities.
      config: the options it was trained with.
    """

    def __init__(
        self, config: Config, label_names: Iterable[str], tokenizer: Any, trained: Trained
    ) -> None:
        """Use `jaxattn.load`. `config.predict` says what is done with long texts."""
        self.config = config
        self.classes_ = np.array(list(label_names))
        self.tokenizer, self.trained = tokenizer, jax.device_put(trained)
        self._reader = TextReader(tokenizer, config.data, config.predict)
        vocabulary = tokenizer.get_vocab_size()
        self._server = Server(
            {
                length: ClassifierModel(served(config, length), vocabulary, len(self.classes_))
                for length in serving_lengths(config.data.max_length)
            },
            self.trained,
            classes=len(self.classes_),
            pad_id=self._reader.special.pad,
        )
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
        return self.classes_[self.predict_proba(texts).argmax(axis=1)]

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
            return np.log(self.predict_proba(texts))

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
            rows, text_r, long = self._reader.read(texts)
            found = self._server.probabilities(rows)
        if len(rows) == len(texts):
            return found, long
        # A text without tokens has one row, of [CLS] and [SEP].
        weights = np.maximum(rows.lengths - 2.0, 1.0)
        total = np.zeros((len(texts), found.shape[1]))
        np.add.at(total, text_r, found * weights[:, None])
        return total / total.sum(axis=1, keepdims=True), long


def served(config: Config, length: int) -> Config:
    """`config` as it is run at this padded length; it gives the same results.

    A classifier that was trained with cuDNN or with fused kernels runs on a CPU too.
    """
    if (
        jax.default_backend() == "cpu"
        and config.attention.performer_favor.implementation == "fused"
    ):
        return replace(config, {"attention.performer_favor.implementation": "xla"})
    chosen = config.attention.sdpa.implementation in ("auto", "cudnn")
    if config.attention.type != "sdpa" or not chosen or jax.default_backend() != "cpu":
        return config
    how = "xla" if length <= _DENSE_TOKENS else "blockwise"
    return replace(config, {"attention.sdpa.implementation": how})


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
        raise InputError(
            f"texts: found one {type(texts).__name__}, expected a list of texts, as in "
            "predict([text])"
        )
    return _checked_chunks(texts)


def _checked_chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    source, done = iter(texts), 0
    while chunk := list(itertools.islice(source, CHUNK)):
        for place, text in enumerate(chunk, done):
            if not isinstance(text, str):
                raise InputError(
                    f"texts[{place}]: found {text!r} ({type(text).__name__}), expected a string"
                )
            if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
                raise InputError(f"texts[{place}]: holds half of a surrogate pair")
        # A NumPy array of strings holds a subclass that tokenizers do not take.
        yield [str(text) for text in chunk]
        done += len(chunk)
