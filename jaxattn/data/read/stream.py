"""Rows of a file to classify, one by one, with all their columns; bad ones are told, not lost.

Training reads a corpus and stops at the first bad row: learning from half of it would go unseen.
A million texts that are being classified are not worth less for three bad ones among them.
"""

import csv
import dataclasses
import itertools
import json
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from jaxattn.data.read.columns import joined_text, text_columns
from jaxattn.errors import InputError, did_you_mean

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
"""Of tables; any other file holds one text a line."""

_UNREAD = (".json", ".gz", ".zst", ".bz2", ".xz", ".zip", ".xlsx", ".xls")

_PARQUET_ROWS = 1024

_LONGEST_CELL = 2**24
"""Characters. It bounds what an unclosed quote can swallow."""

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
    cells: dict[str, Any]
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
        self.name = "standard input" if source == "-" else source
        self._path, self._column = Path(source), text_column
        self._bytes_read, self.unit, self.schema = 0, "line", None
        self.columns: tuple[str, ...] | None = ("text",)
        ending = "" if source == "-" else self._path.suffix.lower()
        if ending in _UNREAD:
            raise InputError(
                f"{source}: cannot read {ending}; allowed: {', '.join(ENDINGS)}, plain text"
            )
        self._size = self._path.stat().st_size if source != "-" else 0
        if ending == ".parquet":
            self._rows = self._open_parquet()
        elif ending in (".csv", ".tsv"):
            self._rows = self._open_separated("\t" if ending == ".tsv" else ",")
        elif ending in (".jsonl", ".ndjson"):
            self.columns = None
            self._rows = self._json_rows()
        else:
            self._column = "text"
            self._rows = self._text_rows()

    def __iter__(self) -> Iterator[Record]:
        """The rows in order, once."""
        return self._rows

    @property
    def share(self) -> float | None:
        """Share of the file that has been read; None where its size is not known."""
        return self._bytes_read / self._size if self._size else None

    def json_columns(self) -> tuple[str, ...]:
        """All columns of a JSON Lines file, in the order in which they occur: it is read for it."""
        names: dict[str, None] = {}
        for record in Records(str(self._path), self._column):
            names.update(dict.fromkeys(record.cells))
        return tuple(names)

    def _lines(self) -> Iterator[tuple[int, str, str]]:
        """Number, line and error of each line; bytes that are not UTF-8 are replaced."""
        stdin = self.name == "standard input"
        stream: IO[bytes] = sys.stdin.buffer if stdin else self._path.open("rb")
        try:
            for number, raw in enumerate(stream, 1):
                self._bytes_read += len(raw)
                code = "utf-8-sig" if number == 1 else "utf-8"
                try:
                    yield number, raw.decode(code), ""
                except UnicodeDecodeError as error:
                    byte = error.object[error.start]
                    shown = raw.decode(code, "replace")
                    yield number, shown, f"byte {byte:#04x} is not UTF-8"
        finally:
            # Standard input is not ours to close.
            if not stdin:
                stream.close()

    def _text_rows(self) -> Iterator[Record]:
        for number, line, error in self._lines():
            yield _record(number, {"text": line.rstrip("\r\n")}, ("text",), error)

    def _json_rows(self) -> Iterator[Record]:
        for number, line, error in self._lines():
            if not line.strip():
                continue
            try:
                cells: Any = json.loads(line.rstrip())
            except (ValueError, RecursionError) as problem:
                cells, error = None, error or f"not valid JSON ({problem})"
            if not isinstance(cells, dict):
                error = error or f"a JSON {type(cells).__name__}, expected an object"
                # What could not be read is kept as it stood.
                cells = {self._column: line.rstrip("\r\n")}
            yield _record(number, cells, text_columns(self._column, list(cells)), error)

    def _open_separated(self, delimiter: str) -> Iterator[Record]:
        lines = self._lines()
        # A text of several lines is one cell: what has been read of it may have to be read again.
        again: deque[tuple[int, str, str]] = deque()
        taken: list[tuple[int, str, str]] = []

        def feed() -> Iterator[str]:
            while True:
                line = again.popleft() if again else next(lines, None)
                if line is None:
                    return
                taken.append(line)
                yield line[1]

        def row() -> tuple[list[str] | None, str]:
            """Cells and error of the next row; None and "" after the last."""
            taken.clear()
            csv.field_size_limit(_LONGEST_CELL)
            try:
                cells = next(csv.reader(feed(), delimiter=delimiter, strict=True), None)
                return cells, next((error for _, _, error in taken if error), "")
            except csv.Error as error:
                first, *rest = taken
                again.extendleft(reversed(rest))
                taken[:] = [first]
                return [], f"not a row of the table ({error})"

        header, error = row()
        if error:
            raise InputError(f"{self.name}, line 1: {error}")
        names = tuple(header or ())
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{self.name}, line 1: two columns are called {twice!r}")
        self.columns, wanted = names, self._require(names)

        def rows() -> Iterator[Record]:
            while True:
                cells, error = row()
                if cells is None:
                    return
                number = taken[0][0]
                if not cells and not error:
                    continue
                if not cells:
                    cells, surplus = [""] * len(names), []
                    cells[names.index(wanted[0])] = taken[0][1].rstrip("\r\n")
                elif len(cells) != len(names):
                    surplus = cells[len(names) :]
                    error = error or f"{len(cells)} cells, the header has {len(names)}"
                    error += f"; left over: {surplus}" if surplus else ""
                yield _record(number, dict(itertools.zip_longest(names, cells[: len(names)],
                    fillvalue="")), wanted, error)  # fmt: skip

        return rows()

    def _open_parquet(self) -> Iterator[Record]:
        import pyarrow
        import pyarrow.parquet

        try:
            file = pyarrow.parquet.ParquetFile(self._path)
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"{self.name}: no readable Parquet file ({error})") from None
        self.unit, self.schema = "row", file.schema_arrow
        self.columns = tuple(file.schema_arrow.names)
        wanted = self._require(self.columns)
        total = file.metadata.num_rows

        def rows() -> Iterator[Record]:
            number = 0
            try:
                for batch in file.iter_batches(_PARQUET_ROWS):
                    for cells in batch.to_pylist():
                        number += 1
                        self._bytes_read = int(self._size * number / total)
                        yield _record(number, cells, wanted, "")
            except (pyarrow.ArrowException, OSError) as error:
                raise InputError(
                    f"{self.name}: cannot be read after row {number} ({error})"
                ) from None

        return rows()

    def _require(self, names: tuple[str, ...]) -> tuple[str, ...]:
        wanted = text_columns(self._column, list(names))
        for column in wanted:
            if column not in names:
                raise InputError(
                    f"{self.name}, line 1: no column {column!r}; there are: {', '.join(names)}"
                    f"{did_you_mean(column, list(names))}; --config.data.text_column=<column> "
                    "names another"
                )
        return wanted


def _record(number: int, cells: dict[str, Any], wanted: tuple[str, ...], error: str) -> Record:
    """A row with its text, or with what is wrong with it."""
    parts = [cells.get(name) for name in wanted]
    if error:
        return Record(number, cells, "", error)
    for name, part in zip(wanted, parts, strict=True):
        if name not in cells:
            found = ", ".join(map(repr, cells)) or "none"
            return Record(number, cells, "", f"no text in {name!r}; columns: {found}"[:_SHOWN])
        if not isinstance(part, str) and (part is not None or len(wanted) == 1):
            kind = "null" if part is None else type(part).__name__
            return Record(number, cells, "", f"{name!r} is {kind}, expected a text")
    text = str(parts[0]) if len(parts) == 1 else joined_text(parts)
    if not text.strip():
        return Record(number, cells, "", "the text is empty")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return Record(number, cells, "", f"{wanted[0]!r} holds half of a surrogate pair")
    return Record(number, cells, text)
