"""Rows of a file to classify, one by one, with all their columns; bad ones are told, not lost."""

import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path

from jaxattn.data.read.columns import text_columns, text_of
from jaxattn.data.read.form import Form
from jaxattn.data.read.formats import (
    FORMATS,
    is_refused,
    lines_of_text,
    open_table,
    refuse_format,
)
from jaxattn.data.read.lines import Lines, ending_of
from jaxattn.data.read.separated import separated_table
from jaxattn.data.read.tables import Row, Table
from jaxattn.data.read.text_files import kind_of_text, labelled_lines
from jaxattn.errors import listed, quoted

ENDINGS = FORMATS
"""Of tables; any other file holds one text a line."""


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
        form: what was found out about the file, in words.
    """

    def __init__(self, source: str, text_column: str, form: Form | None = None) -> None:
        """Reads the header; `form` is what options say of the file.

        Raises:
            InputError: the file cannot be read, or has no such column.
        """
        self._source, self._column, self._form = source, text_column, form
        ending = "" if source == "-" else ending_of(Path(source))
        if is_refused(ending):
            refuse_format(Path(source), "", "or one text a line")
        if ending in ENDINGS:
            self._table = open_table(Path(source), strict=False, form=form)
        else:
            self._table, named = _text_table(source, form or Form(), text_column)
            self._column = "text" if named else text_column
        self.name, self.schema = self._table.name, self._table.schema
        self.form = self._table.form
        self.unit = self._table.unit
        self.columns = None if self._table.open_ended else tuple(self._table.columns)
        if self.columns is not None:
            where = self.name if self.schema else f"{self.name} line 1"
            for column in self._names(self.columns):
                self._table.require_column(column, "--config.data.text_column", where)

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
        for record in Records(self._source, self._column, self._form):
            names.update(dict.fromkeys(record.cells))
        return tuple(names)

    def _record(self, row: Row) -> Record:
        cells, error = row.cells, row.error
        wanted = self._names(self.columns or cells)
        if row.error and not cells:
            # What could not be read is kept as it stood.
            cells = dict.fromkeys(self.columns or (), "")
            cells[wanted[0]] = row.raw.rstrip("\r\n")
        missing = [name for name in wanted if name not in cells]
        if missing and not error:
            columns = listed([repr(name) for name in cells]) or "none"
            error = f"no text in {quoted(missing[0])}; columns: {columns}"
        text, flaw = text_of(cells, wanted)
        error = error or flaw
        return Record(row.number, cells, "" if error else text, error)

    def _names(self, columns: Collection[str]) -> tuple[str, ...]:
        return text_columns(self._column, columns, tabs=self._table.tabs)


def _text_table(source: str, form: Form, text_column: str) -> tuple[Table, bool]:
    """One text a line, but for labels that stand before it as in a file to train on.

    And whether the column of the text is called so, whatever options say.
    """
    if source == "-":
        return lines_of_text(source), True
    file = Path(source)
    kind = kind_of_text(file, form.encoding)
    if kind == "labels":
        return labelled_lines(file, form.encoding), True
    if kind == "table":
        table = separated_table(Lines(file, form.encoding), ".tsv", form, strict=False)
        if set(text_columns(text_column, table.columns, tabs=True)) <= set(table.columns):
            return table, False
    return lines_of_text(source, form.encoding), True
