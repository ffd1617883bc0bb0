"""From labels as they are written to class numbers."""

import dataclasses
import re

import numpy as np

from jaxattn.config import DataConfig
from jaxattn.data.read.rows import Label, Rows
from jaxattn.errors import InputError, did_you_mean

_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of a corpus.

    Attributes:
        names: one per class.
        number: label as written -> class number.
        integers: labels are integers ("3" in a CSV file is one); otherwise all are strings.
    """

    names: tuple[str, ...]
    number: dict[Label, int]
    integers: bool

    @classmethod
    def of(cls, train: Rows, data: DataConfig) -> "Classes":
        """The classes of the labelled training rows.

        With `data.label_names` (or names the hub knows), integer labels are positions in them and
        string labels are members. Without, integers and strings become classes in sorted order.

        Raises:
            InputError: there is only one class.
        """
        integers = all(_is_integer(label) for label in train.labels)
        names = data.label_names or (train.class_names if integers else ())
        found = sorted({_as(label, integers) for label in train.labels})  # type: ignore[type-var]
        if len(found) < 2:
            raise InputError(
                f"data.label_column: all {len(train)} training labels in {data.label_column!r} are "
                f"{found[0]!r}; a classifier needs two classes or more"
            )
        values: list[Label] = list(found)
        if names:
            values = list(range(len(names))) if integers else list(names)
        names = names or tuple(map(str, found))
        return cls(names, {value: i for i, value in enumerate(values)}, integers)

    @classmethod
    def known(cls, names: tuple[str, ...], labels: list[Label]) -> "Classes":
        """The classes of a finished classifier, for `labels` as another file has them.

        Integers are the names themselves where these are integers, else positions in the names.
        """
        integers = bool(labels) and all(_is_integer(label) for label in labels)
        values: list[Label] = list(names)
        if integers:
            own = all(_is_integer(name) for name in names)
            values = [int(name) for name in names] if own else list(range(len(names)))
        return cls(names, {value: i for i, value in enumerate(values)}, integers)

    def indices(self, rows: Rows) -> np.ndarray:
        """Class numbers of labelled rows, int32 [n].

        Raises:
            InputError: a label is none of the classes; the row is named.
        """
        numbers = np.zeros(len(rows), np.int32)
        for row, label in enumerate(rows.labels):
            known = self.number.get(_as(label, self.integers))
            if known is None:
                known_labels = [
                    name if name == str(value) else f"{value} = {name}"
                    for value, name in zip(self.number, self.names, strict=True)
                ]
                shown = ", ".join(known_labels[:_SHOWN])
                more = ", ..." if len(known_labels) > _SHOWN else ""
                hint = did_you_mean(str(label), self.names)
                raise InputError(
                    f"{rows.place(row)}: unknown label {label!r}{hint} (known, from training or "
                    f"data.label_names: {shown}{more})"
                )
            numbers[row] = known
        return numbers


def _is_integer(label: Label) -> bool:
    return isinstance(label, int) or bool(re.fullmatch(r"-?(0|[1-9][0-9]*)", str(label)))


def _as(label: Label, integers: bool) -> Label:
    if not integers:
        return str(label)
    # A string among integers stays one, to be reported as unknown.
    return int(label) if label is not None and _is_integer(label) else label
