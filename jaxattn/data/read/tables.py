"""The rows of a table, one by one; a bad row is told, not lost.

Whoever reads decides what an error means. Learning from half of a corpus would go unseen, so that
training stops at the first bad row (`rows`); a million texts that are being classified are not
worth less for three bad ones among them (`stream`).
"""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxattn.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import pyarrow

# Number from 1, line with its end, what is wrong with it.
Line = tuple[int, str, str]


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
        columns: their names; where `open_ended` those of the first row, and of each that is read.
        rows: all rows; of these columns only, where that saves work.
        open_ended: rows may bring further columns, as JSON's objects do.
        tabs: the columns are separated by tabs.
        class_names: label column -> names of the labels 0, 1, ... if the file or the hub has them.
        share: how much has been read; None where the size is not known.
        schema: where columns have types of their own, else None.
    """

    name: str
    columns: Collection[str]
    rows: Callable[[Sequence[str]], Iterator[Row]]
    open_ended: bool = False
    tabs: bool = False
    class_names: Callable[[str], tuple[str, ...]] = lambda label_column: ()
    share: Callable[[], float | None] = lambda: None
    schema: "pyarrow.Schema | None" = None


def table_of_texts(name: str, texts: Iterable[tuple[str, int, str, str | int | None]]) -> Table:
    """Texts that stand in no columns, each as (what is counted, number, text, label)."""
    rows = (
        Row(unit, number, {"text": text, "label": label}) for unit, number, text, label in texts
    )
    return Table(name, ("text", "label"), lambda _: rows)


def require_column(name: str, columns: Collection[str], where: str, option: str = "") -> None:
    """InputError with the columns there are, unless one is `name`; `option` says which is read."""
    names = list(columns)
    if not names:
        raise InputError(f"{where} holds no rows")
    if name not in names:
        raise InputError(
            f"{where} has no column {name!r}{did_you_mean(name, names)} (columns: "
            f"{', '.join(names)}){f'; {option} names another' if option else ''}"
        )
    if names.count(name) > 1:
        raise InputError(f"{where}: two columns are called {name!r}; rename one")


class Lines:
    """The lines of a UTF-8 file, or of standard input ("-"), with their ends."""

    def __init__(self, source: Path | str) -> None:
        """Opens nothing yet."""
        self._source, self._size, self._read = source, 0, 0
        self.name = "standard input" if source == "-" else str(source)

    def share(self) -> float | None:
        """Share of the file that has been read; None where its size is not known."""
        return self._read / self._size if self._size else None

    def __iter__(self) -> Iterator[Line]:
        """Bytes that are not UTF-8 are told and replaced; a byte order mark is skipped."""
        try:
            with contextlib.ExitStack() as stack:
                stream = sys.stdin.buffer  # not ours to close
                if self._source != "-":
                    stream = stack.enter_context(Path(self._source).open("rb"))
                    self._size = Path(self._source).stat().st_size
                for number, raw in enumerate(stream, 1):
                    self._read += len(raw)
                    code = "utf-8-sig" if number == 1 else "utf-8"
                    try:
                        yield number, raw.decode(code), ""
                    except UnicodeDecodeError as error:
                        byte = error.object[error.start]
                        told = f"byte {byte:#04x} is not UTF-8; save the file in UTF-8"
                        yield number, raw.decode(code, "replace"), told
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror or error}") from None


def text_lines(file: Path) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends; InputError where one is not UTF-8."""
    for number, line, error in Lines(file):
        if error:
            raise InputError(f"{file} line {number}: {error}")
        yield line
