"""Texts and labels as they were read, each with the place it came from."""

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxattn.errors import InputError

logger = logging.getLogger("jaxattn.data")

# How data sets mark a row without a label: null, an empty cell, or -1 (as on the hub).
_UNLABELLED = (None, "", -1, "-1")

Label = int | str | None


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of one split, without empty texts.

    Attributes:
        texts: n texts.
        labels: n labels; None where a row has none.
        places: n pairs (what is counted, number), such as ("train.csv line", 7).
        label_columns: None if there is a label column, else the columns there are.
        class_names: names of the labels 0, 1, ... where the file or the hub knows them.
        groups: n values of `data.group_column`, None where a row has none; empty without it.
    """

    texts: Sequence[str]
    labels: list[Label]
    places: list[tuple[str, int]]
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
        indices = (np.flatnonzero(chosen) if chosen.dtype == bool else chosen).tolist()
        return dataclasses.replace(
            self,
            texts=[self.texts[i] for i in indices],
            labels=[self.labels[i] for i in indices],
            places=[self.places[i] for i in indices],
            groups=[self.groups[i] for i in indices] if self.groups else (),
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
    texts: list[str] = []
    labels: list[Label] = []
    places: list[tuple[str, int]] = []
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
            text.encode()
        except UnicodeEncodeError:
            # JSON can spell half of a surrogate pair; no tokenizer takes it.
            raise InputError(
                f"{place[0]} {place[1]}: {text_column!r} holds half of a surrogate pair, expected "
                "valid Unicode"
            ) from None
        texts.append(text)
        labels.append(_checked_label(label, label_column, place))
        places.append(place)
    if empty:
        logger.warning("%s: %d empty texts left out", place[0].rpartition(" ")[0], empty)
    return Rows(texts, labels, places, label_columns, class_names)


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
        [text for part in parts for text in part.texts],
        [label for part in parts for label in part.labels],
        [place for part in parts for place in part.places],
        lacking[0] if lacking else None,
        parts[0].class_names if parts else (),
        [group for part in parts for group in part.groups],
    )
