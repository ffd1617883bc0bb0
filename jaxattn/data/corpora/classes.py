"""From labels as they are written to class numbers."""

import collections
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence, Set

import numpy as np

from jaxattn.config import DataConfig
from jaxattn.data.corpora.known import CORPORA
from jaxattn.data.read.columns import Label, as_integer
from jaxattn.data.read.rows import Rows
from jaxattn.data.told import logger
from jaxattn.errors import InputError, did_you_mean, listed, quoted

_SHOWN = 20

_WORDS = {"true": 1, "false": 0}


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of a corpus.

    Attributes:
        names: one per class.
        number: label -> class number; the labels are all integers, as which "3" and "3.0" of a CSV
            file are one, or all strings.
    """

    names: tuple[str, ...]
    number: dict[Label, int]

    @classmethod
    def of(cls, train: Rows, data: DataConfig) -> "Classes":
        """The classes of the labelled training rows.

        With `data.label_names` (or names the hub knows), integer labels are positions in them,
        counted from `data.first_label`, and string labels are members. Names of a published corpus
        of which no label is one are not used: somebody's own texts are read with its settings.
        Without names, integers and strings become classes in sorted order.

        Raises:
            InputError: there is only one class, or no label is one of the names.
        """
        labels = set(train.labels)
        numbers = {number for label in labels if (number := as_integer(label)) is not None}
        integers = all(as_integer(label) is not None for label in labels)
        names = data.label_names or (train.class_names if integers else ())
        found: Sequence[Label] = sorted(numbers) if integers else sorted({*map(str, labels)})
        if len(found) < 2:
            raise InputError(
                f"data.label_column: all {len(train)} training labels in {data.label_column!r} are "
                f"{quoted(found[0])}; a classifier needs two classes or more"
            )
        if names and not integers and not any(map(cls.known(names).holds, labels)):
            _require_published(train, found, names)
            names = ()
        values: Sequence[Label] = found
        if names:
            values = _values(names, data.first_label) if integers else names
            if isinstance(values[0], int):
                _require_positions(train, found, values, names)
        names = names or tuple(map(str, found))
        return cls(names, {value: i for i, value in enumerate(values)})

    @classmethod
    def known(
        cls, names: tuple[str, ...], labels: Collection[Label] = (), first: int = 0
    ) -> "Classes":
        """The classes of a finished classifier, for `labels` as another file has them.

        Integers are the names themselves where one of these is an integer, else positions in the
        names, counted from `first`.
        """
        integers = bool(labels) and all(as_integer(label) is not None for label in set(labels))
        values: Sequence[Label] = _values(names, first) if integers else names
        return cls(names, {value: i for i, value in enumerate(values)})

    def shown(self) -> list[str]:
        """The labels and, where they are called otherwise, their names: "0 = neg"."""
        return [
            name if name == str(value) else f"{value} = {name}"
            for value, name in zip(self.number, self.names, strict=True)
        ]

    def holds(self, label: Label) -> bool:
        """Whether a label is one of the classes, however it is written."""
        return self._number(label) is not None

    def indices(self, rows: Rows) -> np.ndarray:
        """Class numbers of labelled rows, int32 [n].

        Raises:
            InputError: a label is none of the classes; the row is named.
        """
        numbers = {label: self._number(label) for label in set(rows.labels)}
        unknown = {label for label, number in numbers.items() if number is None}
        if unknown:
            row = next(row for row, label in enumerate(rows.labels) if label in unknown)
            label = rows.labels[row]
            hint = did_you_mean(str(label), self.names)
            if as_integer(label) == -1:
                hint = "; data.no_label=-1 leaves rows with it out"
            raise InputError(
                f"{rows.place(row)}: unknown label {quoted(label)}{hint} (known, from training or "
                f"data.label_names: {listed(self.shown(), _SHOWN)})"
            )
        return np.array([numbers[label] for label in rows.labels], np.int32)

    def _number(self, label: Label) -> int | None:
        # Names that are "True" and "False" in this order number the words so, too.
        word = str(label).lower()
        if word in _WORDS and _truth(set(self.names)):
            return [name.lower() for name in self.names].index(word)
        integers = isinstance(next(iter(self.number)), int)
        spellings = _spellings(label, set(self.number), integers=integers)
        return next((self.number[one] for one in spellings if one in self.number), None)


def _values(names: tuple[str, ...], first: int) -> Sequence[Label]:
    """What integer labels of classes with these names are.

    Their names where all of these are integers; `names` as they stand where some are ("0.5", "1",
    "1.5"), in which a position would be taken for another class; else positions.
    """
    own: list[Label] = [as_integer(name) for name in names]
    if None not in own:
        return own
    return _positions(names, first) if set(own) == {None} else names


def _require_published(train: Rows, found: Sequence[Label], names: tuple[str, ...]) -> None:
    """A warning that names are not used; InputError where they are no published corpus's.

    None of them is a label: those of a person are misspelt, or meant for numbers.
    """
    told = f"the labels are {listed(found, 5)}, none of data.label_names ({listed(names, 5)})"
    published = (part for corpus in CORPORA.values() for part in (corpus.options, corpus.hub))
    if names not in (part.get("label_names") for part in published):
        raise InputError(
            f"{train.place(0)}: {told}; give the names as the labels are written, or "
            "data.label_names= to take the labels themselves"
        )
    logger.warning("%s: %s; these are not used", train.place(0), told)


def _positions(names: tuple[str, ...], first: int) -> list[Label]:
    return list(range(first, first + len(names)))


def _require_positions(
    train: Rows, found: Sequence[Label], values: Sequence[Label], names: tuple[str, ...]
) -> None:
    """InputError where as many integers as names are counted from another number than the first."""
    first = found[0]
    if (
        isinstance(first, int)
        and first != values[0]
        and first in (-1, 0, 1)
        and list(found) == _positions(names, first)
    ):
        raise InputError(
            f"{train.place(train.labels.index(_written(train, first)))}: the labels are {first} to "
            f"{found[-1]}, and data.label_names are those of {values[0]} to {values[-1]}; if "
            f"{first} is {quoted(names[0])}, give data.first_label={first}"
        )


def _written(rows: Rows, value: int) -> Label:
    return next(label for label in set(rows.labels) if as_integer(label) == value)


def _as(label: Label, integers: bool) -> Label:
    return as_integer(label) if integers and as_integer(label) is not None else str(label)


def _truth(values: Set[Label]) -> bool:
    """Whether the classes are true and false, in words."""
    return len(values) == 2 and {str(value).lower() for value in values} == set(_WORDS)


def _spellings(label: Label, known: Set[Label], *, integers: bool) -> Iterator[Label]:
    """What else a label may be called among the known ones, itself first."""
    yield _as(label, integers)
    number, word = as_integer(label), str(label).lower()
    if number is not None and not integers:
        yield str(number)
        if _truth(known) and number in (0, 1):
            yield from (form("true" if number else "false") for form in _CASES)
    if word in _WORDS:
        if {as_integer(value) for value in known} == {0, 1}:
            yield from (_WORDS[word], str(_WORDS[word]))
        yield from (form(word) for form in _CASES)


_CASES = (str.capitalize, str.lower, str.upper)


def one_spelling(labels: Set[Label]) -> dict[Label, Label]:
    """Labels that are written in several ways -> one of them, for those that change.

    One are 1, "1", "1.0"; true, "True", "TRUE"; and 1 and true, 0 and false where there is nothing
    else. Words that differ in anything but this stay apart.
    """
    words = [label for label in labels if str(label).lower() in _WORDS]
    numbers = [(label, as_integer(label)) for label in labels if as_integer(label) is not None]
    one: dict[Label, Label] = {}
    if words and len(words) + len(numbers) == len(labels):
        if numbers and {number for _, number in numbers} <= {0, 1}:
            return {label: _truth_of(label) for label in labels if label != _truth_of(label)}
        if len(words) > len({str(label).lower() for label in words}):
            one = {label: str(label).capitalize() for label in words}
    count = collections.Counter(number for _, number in numbers)
    for label, number in numbers:
        if count[number] > 1:
            one[label] = number if len(numbers) == len(labels) else str(number)
    return {label: other for label, other in one.items() if label != other}


def _truth_of(label: Label) -> int:
    number = as_integer(label)
    return _WORDS[str(label).lower()] if number is None else number


def settled(
    rows: Rows, names: tuple[str, ...], data: DataConfig, known: Set[Label] = frozenset()
) -> Rows:
    """The rows with None for a label that is -1, where that means that there is none.

    It does where all labels are -1, as in the test splits of the hub, and where others are the
    positions of `names`. Everywhere else -1 is a class.

    Args:
        rows: of a split.
        names: `data.label_names`, or those of a classifier.
        data: the options.
        known: labels of the training split, or names of a classifier, where the rows are of
            another split or file.
    """
    labels = set(rows.labels) - {None}
    changes: dict[Label, Label] = {}
    minus = {label for label in labels if as_integer(label) == -1}
    if minus and data.first_label != -1 and not any(as_integer(one) == -1 for one in known):
        others = {as_integer(label) for label in labels - minus}
        positions = bool(names) and others <= set(range(len(names))) and data.first_label == 0
        # -1, 0 and 1 with three names are classes; so they are where -1 is the name of one.
        counted = {-1, *others} == set(_positions(names, -1)) or "-1" in names
        if not others or (positions and not counted):
            changes |= dict.fromkeys(minus)
    return _relabelled(rows, changes)


def with_one_spelling(rows: Rows) -> Rows:
    """Training rows in which a label that is written in several ways is written in one."""
    return _relabelled(rows, one_spelling(set(rows.labels) - {None}))


def _relabelled(rows: Rows, changes: Mapping[Label, Label]) -> Rows:
    if not changes:
        return rows
    return dataclasses.replace(rows, labels=[changes.get(label, label) for label in rows.labels])
