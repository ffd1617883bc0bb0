"""What is said at the terminal: lines, tables, numbers as people write them."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Row = TypeVar("Row")

UNKNOWN = "-"
"""What stands in a table for a number that is not known."""

MIB = 2**20

GIB = 2**30

PLAIN_WIDTH = 180
"""Columns of the table where the output is no terminal and so has no width of its own."""


_CONTROLS = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    # All of ASCII and Latin-1 but tab and line end, and what turns the direction of writing.
    for code in (
        *range(9), *range(11, 32), *range(127, 160), 0x61C, 0x200E, 0x200F,
        *range(0x2028, 0x202F), *range(0x2066, 0x206A),
    )
}  # fmt: skip


def visible(text: str) -> str:
    """A text in which nothing steers a terminal: control characters are spelt, as in \\x1b[2J.

    Names, reasons and texts may be from files of strangers.
    """
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROLS)


def say(text: str) -> None:
    """A line for the person who waits."""
    print(visible(text), file=sys.stderr, flush=True)


def tell(text: str) -> None:
    """A line of what a command was called for."""
    print(visible(text))


def shown(value: float | None, form: str = ",", *, times: float = 1, unknown: str = UNKNOWN) -> str:
    """A number as Python's format specification `form` has it, such as ",.1f", ".0%" or ".4g".

    Args:
      value: the number; None where it is not known.
      form: the specification.
      times: what the value is multiplied by before, 1 / MIB for bytes shown in MiB.
      unknown: the text in place of None.
    """
    return unknown if value is None else format(value * times, form)


def listed(names: Iterable[str], most: int = 5, longest: int = 40) -> str:
    """The first `most` names in quotes, cut at `longest` characters, and how many are left."""
    names = list(names)
    cut = (name if len(name) <= longest else f"{name[: longest - 3]}..." for name in names[:most])
    quoted = [repr(name) for name in cut]
    if len(names) > most:
        quoted.append(f"{len(names) - most:,} more")
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def significant(value: float | None, *, times: float = 1) -> str:
    """Three significant digits, without an exponent where the number is large."""
    if value is None:
        return UNKNOWN
    value *= times
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(seconds: float | None, *, fine: bool = False, unknown: str = UNKNOWN) -> str:
    """Seconds, minutes or hours in words that are short; `fine` keeps more digits."""
    if seconds is None:
        return unknown
    if seconds < 120:
        return f"{seconds:.3g} s" if fine else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.{int(fine)}f} min"
    return f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column of a table.

    Attributes:
      heading: above it.
      cell: what it shows of a row; `UNKNOWN` or nothing where there is no value.
      side: to which its texts are aligned; None: a column of figures to the right, but for the
        first one, and words to the left.
    """

    heading: str
    cell: Callable[[Row], str]
    side: Literal["left", "right"] | None = None


def table(
    title: str,
    columns: Sequence[Column[Row]],
    rows: Sequence[Row],
    *,
    only_known: bool = False,
    dim: Callable[[Row], bool] = lambda row: False,
) -> "Table":
    """A table of rich, in which no text is taken for markup.

    Args:
      title: above the table.
      columns: from left to right.
      rows: from top to bottom.
      only_known: leaves out columns in which no row has a value.
      dim: the rows that are shown faintly.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    result = Table(
        title=Text(visible(title)), box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left"
    )
    kept = []
    for place, column in enumerate(columns):
        cells = [visible(column.cell(row)) for row in rows]
        if only_known and all(cell in ("", UNKNOWN) for cell in cells):
            continue
        figures = place > 0 and all(cell[:1].isdigit() or cell == UNKNOWN for cell in cells)
        side = column.side or ("right" if figures else "left")
        result.add_column(escape(visible(column.heading)), justify=side, overflow="fold")
        kept.append(map(Text, cells))
    for row, *cells in zip(rows, *kept, strict=True):
        result.add_row(*cells, style="dim" if dim(row) else None)
    return result


def terminal(file: TextIO | None = None) -> "Console":
    """Where tables are printed (default: standard output): `PLAIN_WIDTH` wide if no terminal."""
    from rich.console import Console

    console = Console(file=file)
    return console if console.is_terminal else Console(file=file, width=PLAIN_WIDTH)


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table of texts: the first column and words to the left, figures to the right."""

    def cell(place: int) -> Callable[[Sequence[str]], str]:
        return lambda row: row[place]

    columns = [Column(heading, cell(place)) for place, heading in enumerate(headings)]
    terminal().print(table(title, columns, rows))
