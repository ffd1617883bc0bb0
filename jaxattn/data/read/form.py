"""How a file of rows is written: what options say, and what its beginning shows."""

import collections
import csv
import dataclasses
import re
import statistics
from collections.abc import Sequence

from jaxattn.config import DataConfig

SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|"}
"""Values of `data.separator` -> what stands between two cells."""

SAMPLE = 100
"""Lines from the beginning of a file from which its form is found out."""


@dataclasses.dataclass(frozen=True)
class Form:
    """What options say of the files of a corpus; at the defaults all is found out.

    Attributes:
        separator: between cells, a key of `SEPARATORS`; "": found out.
        quotes: whether quote marks are CSV's ("csv") or characters of the text ("text"); "auto":
            CSV's, but in files with tabs only where a cell is wholly quoted.
        header: whether the first line names the columns, "yes", "no" or "auto".
        encoding: of the text; "": UTF-8, or UTF-16 where its mark begins the file.
        columns: names that options use; a line that has one of them is a header.
    """

    separator: str = ""
    quotes: str = "auto"
    header: str = "auto"
    encoding: str = ""
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: DataConfig) -> "Form":
        """What the options of the data say."""
        names = (*data.text_column.split("+"), data.text_column, data.label_column)
        return cls(
            data.separator,
            data.quotes,
            data.header,
            data.encoding,
            # "2" names a column that has no name of its own; as a cell it proves nothing.
            tuple(
                name.strip()
                for name in (*names, data.group_column)
                if name and not name.strip().isdecimal()
            ),
        )


def find_separator(lines: Sequence[str], usual: str, *, complete: bool) -> str:
    """The separator of a table that begins with these lines.

    The usual one, if it is in the first line and all rows have as many cells as that one; else the
    one of comma, tab, semicolon and pipe of which this is true for the most rows.

    Args:
        lines: of the file's beginning.
        usual: the separator that the file's ending stands for.
        complete: whether these are all lines, so that the last row is whole.
    """
    best, most = usual, 0.0
    for separator in (usual, *(other for other in SEPARATORS.values() if other != usual)):
        if separator not in lines[0]:
            continue
        widths = [len(row) for row in _parsed(lines, separator, complete=complete) if row]
        if not widths or widths[0] < 2:
            continue
        share = widths.count(widths[0]) / len(widths)
        if share > most:
            best, most = separator, share
    return best


def _parsed(lines: Sequence[str], separator: str, *, complete: bool) -> list[list[str]]:
    if separator == "\t":
        return [line.rstrip("\r\n").split("\t") for line in lines if line.strip("\r\n")]
    try:
        rows = list(csv.reader(lines, delimiter=separator))
    except csv.Error:
        return [line.split(separator) for line in lines]
    return rows if complete or len(rows) < 2 else rows[:-1]


_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


def is_header(first: Sequence[str], rows: Sequence[Sequence[str]], known: Sequence[str]) -> bool:
    """Whether the first row of a table names its columns.

    It does not where one of its cells stands again below it, in a column of few values (a label),
    or where a cell is a number and so are all below it. Copies of the whole row prove nothing: a
    header stands again where files were put together.

    Args:
        first: cells of the first row.
        rows: cells of the rows after it.
        known: names that make it a header.
    """
    rows = [row for row in rows if list(row) != list(first)]
    given = [cell for cell in first if cell]
    counted = given == [str(number) for number in range(len(given))]  # as pandas does
    if len(rows) < 2 or counted or any(cell.strip() in known for cell in first):
        return True
    for column, cell in enumerate(first):
        below = [row[column] for row in rows if len(row) > column]
        if not cell.strip() or not below:
            continue
        if cell in below and len(set(below)) <= max(2, len(below) // 2):
            return False
        if _NUMBER.fullmatch(cell) and all(_NUMBER.fullmatch(other) for other in below):
            return False
    return True


def names_without_header(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names of the columns of a table without a header: "1", "2", ..., or "label" and "text".

    The latter for two columns of which one has few values that occur again and again, and the
    other has longer cells.
    """
    width = collections.Counter(map(len, rows)).most_common(1)[0][0]
    names = [str(column + 1) for column in range(width)]
    if width != 2:
        return names
    cells = [[row[column].strip() for row in rows if len(row) == 2] for column in range(2)]
    length = [statistics.fmean(map(len, column)) for column in cells]
    text = int(length[1] > length[0])
    values = len(set(cells[1 - text]))
    if values <= max(2, len(rows) // 2) and length[text] > 2 * length[1 - text]:
        return ["text", "label"] if text == 0 else ["label", "text"]
    return names
