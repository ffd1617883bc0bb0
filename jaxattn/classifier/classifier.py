"""A finished classifier, from a run or an exported folder, and the ways texts go through it."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxattn.classifier.serving import serving_predictor
from jaxattn.config import Config
from jaxattn.data.read.columns import CLEANERS
from jaxattn.data.tokens.arrays import special_ids
from jaxattn.data.tokens.encode import TextReader, encode
from jaxattn.errors import InputError
from jaxattn.evaluate.corpus import Read, cut_reader
from jaxattn.evaluate.predict import Predictor, Trained, make_predictor
from jaxattn.model.heads import ClassifierModel

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHUNK = 1024
"""Texts that are read, sorted by length and run together."""


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """The parts of a classifier; what is compiled for it is made when it is needed.

    Texts come from a corpus, which takes mark-up out of them when it is read, or from a user and
    through `cleaned`. Nothing else takes mark-up out.

    Attributes:
      config: the options it was trained with; `config.predict` says what becomes of long texts.
      label_names: the classes.
      tokenizer: its vocabulary.
      trained: its parameters, on the device.
    """

    config: Config
    label_names: tuple[str, ...]
    tokenizer: "Tokenizer"
    trained: Trained

    @functools.cached_property
    def reader(self) -> TextReader:
        """Texts to rows; InputError where windows would not get on."""
        return TextReader(self.tokenizer, self.config.data, self.config.predict)

    @functools.cached_property
    def _server(self) -> Predictor:
        pad, vocabulary = special_ids(self.tokenizer).pad, self.tokenizer.get_vocab_size()
        return serving_predictor(self.config, vocabulary, len(self.label_names), pad)

    @functools.cached_property
    def _evaluator(self) -> Predictor:
        vocabulary = self.tokenizer.get_vocab_size()
        model = ClassifierModel(self.config, vocabulary, len(self.label_names))
        return make_predictor(self.config, model, special_ids(self.tokenizer).pad)

    def cleaned(self, texts: Sequence[str]) -> list[str]:
        """Texts as they come with mark-up taken out, as it was for training."""
        return [CLEANERS[self.config.data.clean](text) for text in texts]

    def serve(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities float64 [n, classes]; bool [n], texts that were cut or read in windows.

        Few texts at a time, in batches that fit their number. Raises InputError where they are not
        finite, as `cut` does.
        """
        rows, text_r, long = self.reader.read(texts)
        probabilities_rC = _finite(self._server.probabilities(self.trained, rows))
        if len(rows) == len(texts):
            return probabilities_rC, long
        # A text without tokens has one row, of [CLS] and [SEP].
        weights = np.maximum(rows.lengths - 2.0, 1.0)
        total = np.zeros((len(texts), len(self.label_names)))
        np.add.at(total, text_r, probabilities_rC * weights[:, None])
        return total / total.sum(axis=1, keepdims=True), long

    def cut(self, texts: Sequence[str]) -> Read:
        """What the run itself made of a split: the same batches, long texts cut."""
        read = cut_reader(self.config, self._evaluator, self.trained, self.tokenizer)(texts)
        _finite(read.probabilities)
        return read

    def read(self, texts: Sequence[str]) -> Read:
        """What it makes of a split, long texts as `predict.long` says."""
        if self.config.predict.long == "truncate":
            return self.cut(texts)
        starts = range(0, len(texts), CHUNK)
        parts = [self.serve(list(texts[start : start + CHUNK])) for start in starts]
        probabilities, long = (np.concatenate(each) for each in zip(*parts, strict=True))
        return Read(probabilities, float(long.mean()))

    def batch_seconds(self, texts: Sequence[str], batch_size: int) -> tuple[list[float], list[int]]:
        """Wall seconds and number of texts of each batch, warm; tokenising is not counted."""
        data = self.config.data
        tokens, _ = encode(self.tokenizer, texts, data.max_length, truncate=data.truncate)
        return self._evaluator.batch_seconds(self.trained, tokens, batch_size)


def _finite(probabilities: np.ndarray) -> np.ndarray:
    """`probabilities`; raises InputError where they are no answer."""
    if not np.isfinite(probabilities).all():
        raise InputError(
            "the classifier gives probabilities that are not finite: its weights are too large, or "
            "not those that were trained; train or export it again"
        )
    return probabilities
