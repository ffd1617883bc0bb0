"""The rows of a table, one by one; a bad row is told, not lost.

Whoever reads decides what an error means. Learning from half of a corpus would go unseen, so that
training stops at the first bad row (`rows`); a million texts that are being classified are not
worth less for three bad ones among them (`stream`).
"""

import collections
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from jaxattn.errors import InputError, did_you_mean, listed, quoted

if TYPE_CHECKING:
    import pyarrow


@dataclasses.dataclass(slots=True)  # made by the million: frozen, it would take twice as long
class Row:
    """One row as it stands in its file.

    Attributes:
        unit: what `number` counts, such as "train.csv line".
        number: of its first line, or of the row, from 1.
        cells: column -> cell in the order of the file; none where they could not be told apart.
        error: what is wrong with it; "" if nothing is.
        raw: its line, where it has no cells.
    """

    unit: str
    number: int
    cells: dict[str, object]
    error: str = ""
    raw: str = ""

    @property
    def place(self) -> str:
        """Where it was read."""
        return f"{self.unit} {self.number}"


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows that are read while they are asked for, once.

    Attributes:
        name: of the file or split, for messages.
        columns: their names, all different; where `open_ended` those of the first row, and of each
            that is read.
        rows: all rows; of these columns only, where that saves work.
        repeated: names that several columns have; all but the first have a number in `columns`.
        unit: what rows are counted in: lines, rows or entries.
        open_ended: rows may bring further columns, as JSON's objects do.
        tabs: the columns are separated by tabs.
        form: what was found out about the file, in words ("semicolons", "gzip").
        hint: what to do where a column is missing, besides naming another.
        class_names: label column -> names of the labels 0, 1, ... if the file or the hub has them.
        share: how much has been read; None where the size is not known.
        schema: where columns have types of their own, else None.
    """

    name: str
    columns: Collection[str]
    rows: Callable[[Sequence[str]], Iterator[Row]]
    repeated: Collection[str] = ()
    unit: str = "line"
    open_ended: bool = False
    tabs: bool = False
    form: tuple[str, ...] = ()
    hint: str = ""
    class_names: Callable[[str], tuple[str, ...]] = lambda label_column: ()
    share: Callable[[], float | None] = lambda: None
    schema: "pyarrow.Schema | None" = None

    def require_column(self, name: str, option: str = "", where: str = "") -> None:
        """InputError unless exactly one column is called `name`; `option` says which is read."""
        require_column(name, self.columns, where or self.name, option, self.hint)
        if name in self.repeated:
            raise InputError(
                f"{where or self.name}: two columns are called {quoted(name)}; rename one"
            )


def table_of_texts(name: str, texts: Iterable[tuple[str, int, str, str | int | None]]) -> Table:
    """Texts that stand in no columns, each as (what is counted, number, text, label)."""
    rows = (
        Row(unit, number, {"text": text, "label": label}) for unit, number, text, label in texts
    )
    return Table(name, ("text", "label"), lambda _: rows)


def require_column(
    name: str, columns: Collection[str], where: str, option: str = "", hint: str = ""
) -> None:
    """InputError with the columns there are, unless one is `name`; `option` says which is read."""
    if not columns:
        raise InputError(f"{where} holds no rows; one for each text is expected")
    if name not in columns:
        other = f"; {option} names another" if option else ""
        raise InputError(
            f"{where} has no column {quoted(name)}{did_you_mean(name, columns)} (columns: "
            f"{listed(columns)}){hint or other}"
        )


def kind_of(value: object) -> str:
    """What a value is, in words: "a number", "a list of 3"."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, list | tuple):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        return "an object with names"
    return "bytes" if isinstance(value, bytes) else type(value).__name__


def unique_names(names: Sequence[str]) -> list[str]:
    """Names that all differ: empty ones are "column 3", ..., a second "note" is "note 2"."""
    empty = sum(not name for name in names) > 1
    unique: dict[str, None] = {}
    # Of names that occur a million times: the last number that was given.
    last: dict[str, int] = {}
    for place, name in enumerate(names, 1):
        name = name or (f"column {place}" if empty else "")
        candidate = name
        while candidate in unique:
            last[name] = last.get(name, 1) + 1
            candidate = f"{name} {last[name]}"
        unique[candidate] = None
    return list(unique)


def repeated_names(names: Sequence[str]) -> frozenset[str]:
    """Names, not empty ones, that occur more than once."""
    counts = collections.Counter(names)
    return frozenset(name for name in names if name and counts[name] > 1)
