"""Token ids of many texts in two flat arrays, and the ids that are no text."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class SpecialIds(NamedTuple):
    """Ids of the five tokens that stand for no text."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int


def special_ids(tokenizer: "Tokenizer") -> SpecialIds:
    """Ids of [PAD], [UNK], [CLS], [SEP] and [MASK]."""
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    return SpecialIds(*(vocab[token] for token in SPECIAL_TOKENS))


@dataclasses.dataclass(frozen=True)
class TokenArray:
    """Token ids of n texts, one after the other.

    Attributes:
        ids: int32 [total].
        offsets: int64 [n + 1]; text i is `ids[offsets[i]:offsets[i + 1]]`.
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_rows(cls, rows: Iterable[np.ndarray]) -> "TokenArray":
        """The array of these rows, each int32 [length]."""
        listed = list(rows)
        offsets = np.zeros(len(listed) + 1, np.int64)
        np.cumsum([len(row) for row in listed], out=offsets[1:])
        ids = np.concatenate(listed) if listed else np.zeros(0)
        return cls(ids.astype(np.int32, copy=False), offsets)

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        """Ids of one text, int32 [length]; negative indices are refused, they mean empty rows."""
        if not 0 <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per text, int64 [n]."""
        return np.diff(self.offsets)
