"""Texts to the rows of a classifier, call after call: the tokenizer is set up once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxattn.config import DataConfig, PredictConfig
from jaxattn.data.derived import CLEANERS
from jaxattn.data.encoding import cut_rows, window_rows
from jaxattn.data.text_encoder import TextEncoder
from jaxattn.data.tokens import CutRows, TokenArray, special_ids
from jaxattn.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Reading(NamedTuple):
    """What a classifier reads of n texts.

    rows: r rows, r >= n. text: int64 [r], the text of each row, rising. long: bool [n], texts that
    do not fit into one row.
    """

    rows: CutRows
    text: np.ndarray
    long: np.ndarray


class TextReader:
    """Reads texts as training did, or in windows."""

    def __init__(self, tokenizer: "Tokenizer", data: DataConfig, predict: PredictConfig) -> None:
        """Raises InputError where windows would not get on."""
        if predict.long == "window" and predict.overlap >= data.max_length - 2:
            raise InputError(
                f"predict.overlap: found {predict.overlap}, allowed: less than the "
                f"{data.max_length - 2} tokens of text that a window holds"
            )
        self._clean, self._data, self._predict = CLEANERS[data.clean], data, predict
        self.special = special_ids(tokenizer)
        self._encoder = TextEncoder(tokenizer.to_str(), np.dtype(np.int32).name)

    def read(self, texts: Sequence[str]) -> Reading:
        """The rows of these texts; they are held in memory."""
        found = self._encoder.encode([self._clean(text) for text in texts])
        flat = TokenArray.from_rows([np.frombuffer(raw, np.int32) for raw in found])
        length = self._data.max_length
        if self._predict.long == "window":
            return Reading(*window_rows(flat, self.special, length, self._predict.overlap))
        rows, long = cut_rows(flat, self.special, length, self._data.truncate)
        return Reading(rows, np.arange(len(rows)), long)
