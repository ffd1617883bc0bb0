"""Token ids of many texts in flat arrays, and the ids that are no text."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""As BERT calls them, and every vocabulary that is made here."""

OTHER_NAMES = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
"""As RoBERTa and its relatives call the same five."""

ABSENT = -1
"""The id of a token that a vocabulary does without: bytes leave nothing unknown."""


class SpecialIds(NamedTuple):
    """Ids of the five tokens that stand for no text; `ABSENT` for an unknown one that is needless.

    The names are those of BERT, whatever the vocabulary calls them: a row is cls, text, sep.
    """

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int

    @property
    def distinct(self) -> list[int]:
        """The ids that the vocabulary has, rising, each once."""
        return sorted(set(self) - {ABSENT})


def special_names(vocab: Mapping[str, int]) -> tuple[str, ...]:
    """What a vocabulary calls the five, in the order of `SpecialIds`; "" for one it lacks.

    Where it has two names for one, it is the name in the style that most of the five have.
    """
    bert, other = (sum(name in vocab for name in names) for names in (SPECIAL_TOKENS, OTHER_NAMES))
    styles = (SPECIAL_TOKENS, OTHER_NAMES) if bert >= other else (OTHER_NAMES, SPECIAL_TOKENS)
    return tuple(
        next((name for name in names if name in vocab), "") for names in zip(*styles, strict=True)
    )


def special_ids(tokenizer: "Tokenizer") -> SpecialIds:
    """Ids of [PAD], [UNK], [CLS], [SEP] and [MASK], whatever they are called."""
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    return SpecialIds(*(vocab[name] if name else ABSENT for name in special_names(vocab)))


class TokenRows(Protocol):
    """Rows of token ids, random access: what batches are made of."""

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per row, int64 [n]."""

    def __len__(self) -> int:
        """Number of rows."""

    def __getitem__(self, index: int) -> np.ndarray:
        """One row, int32 [length]; negative indices are refused, they mean empty rows."""


@dataclasses.dataclass(frozen=True)
class TokenArray:
    """Token ids of n texts, one after the other.

    Attributes:
        ids: int32 or uint16 [total], perhaps memory-mapped.
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
        _require_row(index, len(self))
        row = self.ids[self.offsets[index] : self.offsets[index + 1]]
        return row.astype(np.int32, copy=False)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per text, int64 [n]."""
        return np.diff(self.offsets)


@dataclasses.dataclass(frozen=True)
class CutRows:
    """Rows [CLS] text [SEP], each with one or two stretches of a flat array; none is copied.

    Attributes:
        ids: int32 or uint16 [total], perhaps memory-mapped.
        starts, sizes: int64 [n, 2]; the text of row i is `ids[starts[i, 0]:][:sizes[i, 0]]`, then
            `ids[starts[i, 1]:][:sizes[i, 1]]`.
        cls, sep: ids at both ends.
    """

    ids: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    cls: int
    sep: int

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts)

    def __getitem__(self, index: int) -> np.ndarray:
        """One row, int32 [length]; negative indices are refused, they mean empty rows."""
        _require_row(index, len(self))
        # Python's integers: reading a row takes half as long with them.
        (first, second), (size, rest) = self.starts[index].tolist(), self.sizes[index].tolist()
        row = np.empty(size + rest + 2, np.int32)
        row[0], row[-1] = self.cls, self.sep
        row[1 : 1 + size] = self.ids[first : first + size]
        if rest:
            row[1 + size : -1] = self.ids[second : second + rest]
        return row

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per row, int64 [n]."""
        result: np.ndarray = np.sum(self.sizes, axis=1) + 2
        return result


def _require_row(index: int, count: int) -> None:
    if not 0 <= index < count:
        raise IndexError(f"text {index} of {count}")
