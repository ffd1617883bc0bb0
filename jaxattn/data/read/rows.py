"""Texts and labels as they were read, each with the place it came from."""

import dataclasses
import logging
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxattn.data.texts import Indexed, Texts, TextsWriter
from jaxattn.errors import InputError

logger = logging.getLogger("jaxattn.data")

# How data sets mark a row without a label: null, an empty cell, or -1 (as on the hub).
_UNLABELLED = (None, "", -1, "-1")

Label = int | str | None


class Places(Indexed[tuple[str, int]]):
    """Pairs (what is counted, number), such as ("train.csv line", 7), in little memory."""

    def __init__(self, whats: Sequence[str], which: np.ndarray, numbers: np.ndarray) -> None:
        """Pair i is (whats[which[i]], numbers[i]); int [n] each."""
        self._whats, self._which, self._numbers = tuple(whats), which, numbers

    def take(self, indices: np.ndarray) -> "Places":
        """The pairs at int [m] indices."""
        return Places(self._whats, self._which[indices], self._numbers[indices])

    @classmethod
    def joined(cls, parts: Sequence["Places"]) -> "Places":
        """The pairs of all parts."""
        whats = [what for part in parts for what in part._whats]
        first = np.cumsum([0, *(len(part._whats) for part in parts)])
        which = [part._which + start for part, start in zip(parts, first, strict=False)]
        empty = np.zeros(0, np.int64)
        numbers = np.concatenate([empty, *(part._numbers for part in parts)])
        return cls(whats, np.concatenate([empty, *which]), numbers)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._which)

    def at(self, index: int) -> tuple[str, int]:
        """One pair."""
        return self._whats[self._which[index]], int(self._numbers[index])


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of one split, without empty texts.

    Attributes:
        texts: n texts.
        labels: n labels; None where a row has none.
        places: where each was read.
        label_columns: None if there is a label column, else the columns there are.
        class_names: names of the labels 0, 1, ... where the file or the hub knows them.
        groups: n values of `data.group_column`, None where a row has none; empty without it.
    """

    texts: Texts
    labels: list[Label]
    places: Places
    label_columns: tuple[str, ...] | None = None
    class_names: tuple[str, ...] = ()
    groups: Sequence[str | None] = ()

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.texts)

    def place(self, index: int) -> str:
        """Where row `index` was read."""
        what, number = self.places[index]
        return f"{what} {number}"

    def take(self, chosen: np.ndarray) -> "Rows":
        """The rows of a bool [n] or of int [m] indices, in that order."""
        indices = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        listed = indices.tolist()
        return dataclasses.replace(
            self,
            texts=self.texts.take(indices),
            labels=[self.labels[i] for i in listed],
            places=self.places.take(indices),
            groups=[self.groups[i] for i in listed] if self.groups else (),
        )


def checked_rows(
    cells: Iterable[tuple[Any, Any, tuple[str, int]]],
    *,
    text_column: str,
    label_column: str,
    label_columns: tuple[str, ...] | None = None,
    class_names: tuple[str, ...] = (),
) -> Rows:
    """Rows of (text, label, place) cells; empty texts are left out and counted in a warning.

    Raises:
        InputError: a text is no string, or a label neither an integer nor a string.
    """
    texts = TextsWriter()
    labels: list[Label] = []
    # Labels that are read again and again are kept once.
    known: dict[Label, Label] = {}
    whats: dict[str, int] = {}
    which, numbers = array("q"), array("q")
    empty = 0
    for text, label, place in cells:
        if text is None or (isinstance(text, str) and not text.strip()):
            empty += 1
            continue
        if not isinstance(text, str):
            raise InputError(
                f"{place[0]} {place[1]}: {text_column!r} is {text!r} ({type(text).__name__}), "
                "expected a text"
            )
        try:
            texts.append(text)
        except UnicodeEncodeError:
            # JSON can spell half of a surrogate pair; no tokenizer takes it.
            raise InputError(
                f"{place[0]} {place[1]}: {text_column!r} holds half of a surrogate pair, expected "
                "valid Unicode"
            ) from None
        label = _checked_label(label, label_column, place)
        labels.append(known.setdefault(label, label))
        which.append(whats.setdefault(place[0], len(whats)))
        numbers.append(place[1])
    if empty:
        logger.warning("%s: %d empty texts left out", place[0].rpartition(" ")[0], empty)
    places = Places(list(whats), np.array(which, np.int64), np.array(numbers, np.int64))
    return Rows(texts.finish(), labels, places, label_columns, class_names)


def _checked_label(label: Any, column: str, place: tuple[str, int]) -> Label:
    if isinstance(label, str):
        label = label.strip()
    if isinstance(label, bool):
        return str(label)
    # A column of integers with gaps is read as floats, its gaps as NaN.
    if isinstance(label, float):
        if label != label:
            return None
        if label.is_integer():
            label = int(label)
    if label is not None and not isinstance(label, int | str):
        raise InputError(
            f"{place[0]} {place[1]}: {column!r} is {label!r} ({type(label).__name__}), expected an "
            "integer or a string"
        )
    return None if label in _UNLABELLED else label


def joined(parts: list[Rows]) -> Rows:
    """The rows of several files of one split."""
    lacking = [part.label_columns for part in parts if part.label_columns is not None]
    return Rows(
        Texts.joined([part.texts for part in parts]),
        [label for part in parts for label in part.labels],
        Places.joined([part.places for part in parts]),
        lacking[0] if lacking else None,
        parts[0].class_names if parts else (),
        [group for part in parts for group in part.groups],
    )
