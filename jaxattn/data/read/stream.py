"""Rows of a file to classify, one by one, with all their columns; bad ones are told, not lost."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from jaxattn.data.read.columns import text_columns, text_of
from jaxattn.data.read.formats import FORMATS, open_table
from jaxattn.data.read.tables import Lines, Row, Table, require_column
from jaxattn.errors import InputError

ENDINGS = tuple(ending for ending in FORMATS if ending != ".json")
"""Of tables; any other file holds one text a line."""

_UNREAD = (".json", ".gz", ".zst", ".bz2", ".xz", ".zip", ".xlsx", ".xls")

_SHOWN = 200


@dataclasses.dataclass(frozen=True)
class Record:
    """One row.

    Attributes:
        number: of its first line, or of the row, from 1.
        cells: column -> cell, in the order of the file.
        text: what is classified; "" where there is an error.
        error: what is wrong with the row; "" if nothing is.
    """

    number: int
    cells: dict[str, object]
    text: str
    error: str = ""


class Records:
    """The rows of a file ("-": lines of standard input), read while they are asked for.

    Attributes:
        columns: names of the columns where the file says them beforehand; of JSON Lines None.
        schema: that of a Parquet file, else None.
        unit: what `Record.number` counts.
        name: of the file, for messages.
    """

    def __init__(self, source: str, text_column: str) -> None:
        """Reads the header.

        Raises:
            InputError: the file cannot be read, or has no such column.
        """
        self._source, self._column = source, text_column
        ending = "" if source == "-" else Path(source).suffix.lower()
        if ending in _UNREAD:
            raise InputError(
                f"{source}: cannot read {ending}; allowed: {', '.join(ENDINGS)}, plain text"
            )
        if ending in ENDINGS:
            self._table = open_table(Path(source), strict=False)
        else:
            self._table, self._column = _lines_of_text(source), "text"
        self.name, self.schema = self._table.name, self._table.schema
        self.unit = "row" if ending == ".parquet" else "line"
        self.columns = None if self._table.open_ended else tuple(self._table.columns)
        if self.columns is not None:
            where = self.name if self.schema else f"{self.name} line 1"
            for column in text_columns(self._column, self.columns):
                require_column(column, self.columns, where, "--config.data.text_column")
            twice = [name for name in self.columns if self.columns.count(name) > 1]
            if twice:
                raise InputError(f"{where}: two columns are called {twice[0]!r}")

    def __iter__(self) -> Iterator[Record]:
        """The rows in order, once."""
        return map(self._record, self._table.rows(()))

    @property
    def share(self) -> float | None:
        """Share of the file that has been read; None where its size is not known."""
        return self._table.share()

    def json_columns(self) -> tuple[str, ...]:
        """All columns of a JSON Lines file, in the order in which they occur: it is read for it."""
        names: dict[str, None] = {}
        for record in Records(self._source, self._column):
            names.update(dict.fromkeys(record.cells))
        return tuple(names)

    def _record(self, row: Row) -> Record:
        cells, error = row.cells, row.error
        wanted = text_columns(self._column, self.columns or cells)
        if row.error and not cells:
            # What could not be read is kept as it stood.
            cells = dict.fromkeys(self.columns or (), "")
            cells[wanted[0]] = row.raw.rstrip("\r\n")
        missing = [name for name in wanted if name not in cells]
        if missing and not error:
            columns = ", ".join(map(repr, cells)) or "none"
            error = f"no text in {missing[0]!r}; columns: {columns}"[:_SHOWN]
        text, flaw = text_of(cells, wanted)
        error = error or flaw
        return Record(row.number, cells, "" if error else text, error)


def _lines_of_text(source: str) -> Table:
    lines = Lines(source)
    rows = (
        Row("line", number, {"text": line.rstrip("\r\n")}, error) for number, line, error in lines
    )
    return Table(lines.name, ("text",), lambda _: rows, share=lines.share)
