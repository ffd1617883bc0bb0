"""Rows with the class that was predicted for each, as JSON Lines, CSV or Parquet."""

import csv
import json
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from jaxattn.errors import InputError
from jaxattn.runs.spreadsheets import safe

FORMATS = ("jsonl", "csv", "parquet")

_DIGITS = 6


class Labelled(NamedTuple):
    """A row of the input, and what was found; `probabilities` None where there is an error."""

    number: int
    cells: Mapping[str, Any]
    label: str
    probabilities: np.ndarray | None
    error: str


def own_name(name: str, taken: Container[str]) -> str:
    """`name`, or `predicted_<name>` where the input has a column of that name already."""
    while name in taken:
        name = f"predicted_{name}"
    return name


class JsonWriter:
    """One object a row: its columns, `label`, `probabilities`, and `error` in a bad row."""

    def __init__(self, file: TextIO, classes: Sequence[str], columns: Sequence[str]) -> None:
        """`columns`: those of the input, as far as they are known."""
        self._file, self._classes, self._columns = file, classes, tuple(columns)

    def write(self, rows: Sequence[Labelled]) -> None:
        """Writes some rows."""
        for row in rows:
            taken = {*self._columns, *row.cells}
            record = dict(row.cells)
            record[own_name("label", taken)] = row.label or None
            record[own_name("probabilities", taken)] = (
                None if row.probabilities is None
                else dict(zip(self._classes, _rounded(row.probabilities), strict=True))
            )  # fmt: skip
            if row.error:
                record[own_name("error", taken)] = row.error
            # Half of a surrogate pair, which JSON can spell, is no UTF-8: spelt again.
            line = json.dumps(record, ensure_ascii=False, default=_spelt)
            if not line.isascii():
                line = line.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
            self._file.write(line + "\n")
        self._file.flush()

    def close(self) -> None:
        """Nothing is left to write."""


class CsvWriter:
    """The columns of the input, then label, p_<class> of every class, and error.

    Unless `raw`, no cell is a formula to a spreadsheet.
    """

    def __init__(
        self, file: TextIO, classes: Sequence[str], columns: Sequence[str], *, raw: bool = False
    ) -> None:
        """Writes the header."""
        self._file, self._columns = file, dict.fromkeys(columns)
        self._shown: Callable[[str], str] = str if raw else safe
        self._writer = csv.writer(file, lineterminator="\n")
        added = ("label", *(f"p_{name}" for name in classes), "error")
        self._empty = [""] * len(classes)
        names = [*self._columns, *(own_name(name, self._columns) for name in added)]
        self._writer.writerow(map(self._shown, names))

    def write(self, rows: Sequence[Labelled]) -> None:
        """Writes some rows."""
        for row in rows:
            _refuse_new(row, self._columns)
            cells = [self._shown(_cell(row.cells.get(name))) for name in self._columns]
            found = self._empty if row.probabilities is None else _rounded(row.probabilities)
            self._writer.writerow([*cells, self._shown(row.label), *found, self._shown(row.error)])
        self._file.flush()

    def close(self) -> None:
        """Nothing is left to write."""


class ParquetWriter:
    """The columns of the input in their types (of other files than Parquet: strings), then ours."""

    def __init__(
        self, path: Path, classes: Sequence[str], columns: Sequence[str], schema: Any = None
    ) -> None:
        """`schema`: that of a Parquet file the rows come from."""
        import pyarrow
        import pyarrow.parquet

        self._columns, self._typed = dict.fromkeys(columns), schema is not None
        fields = schema or [pyarrow.field(name, pyarrow.string()) for name in columns]
        added = {
            own_name("label", self._columns): pyarrow.string(),
            **{own_name(f"p_{name}", self._columns): pyarrow.float64() for name in classes},
            own_name("error", self._columns): pyarrow.string(),
        }
        metadata = None if schema is None else schema.metadata
        # What the Hugging Face library notes beside a schema is of all its columns.
        kept = {k: v for k, v in (metadata or {}).items() if k not in (b"huggingface", b"pandas")}
        self._schema = pyarrow.schema(
            [*fields, *(pyarrow.field(name, kind) for name, kind in added.items())], kept or None
        )
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self._classes = len(classes)

    def write(self, rows: Sequence[Labelled]) -> None:
        """Writes some rows as one group."""
        import pyarrow

        records = []
        for row in rows:
            _refuse_new(row, self._columns)
            cells = [row.cells.get(name) for name in self._columns]
            if not self._typed:
                cells = [None if cell is None else _cell(cell) for cell in cells]
            found = (
                [None] * self._classes if row.probabilities is None
                else row.probabilities.tolist()
            )  # fmt: skip
            own = [row.label or None, *found, row.error or None]
            records.append(dict(zip(self._schema.names, [*cells, *own], strict=True)))
        self._writer.write_table(pyarrow.Table.from_pylist(records, self._schema))

    def close(self) -> None:
        """Writes the end of the file."""
        self._writer.close()


def _rounded(probabilities: np.ndarray) -> list[float]:
    return [round(value, _DIGITS) for value in probabilities.tolist()]


def _spelt(cell: Any) -> str:
    """A cell that JSON has no form for, such as a date of a Parquet file."""
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)


def _cell(cell: Any) -> str:
    """A cell as CSV has it: texts as they are, nothing for null, the rest as JSON."""
    if cell is None or isinstance(cell, str):
        return (cell or "").encode("utf-8", "replace").decode()
    return json.dumps(cell, ensure_ascii=False, default=_spelt).strip('"')


def _refuse_new(row: Labelled, columns: Container[str]) -> None:
    new = next((name for name in row.cells if name not in columns), None)
    if new is not None:
        raise InputError(
            f"line {row.number}: column {new!r} is not among those of the first rows, and a table "
            "has one header; write JSON Lines (--format=jsonl)"
        )
