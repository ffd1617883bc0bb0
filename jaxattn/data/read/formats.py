"""Files of tables: CSV, TSV, JSON Lines, JSON and Parquet.

CSV and JSON are read with the standard library: every error can then name its line, and no cell
changes its type by guessing ("NA" stays a text, a column of years stays strings).
"""

import csv
import itertools
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxattn.data.read.tables import Line, Lines, Row, Table
from jaxattn.errors import InputError

if TYPE_CHECKING:
    import pyarrow

FORMATS = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""File name endings, in order of preference."""

PARQUET_ROWS = 1024

_LONGEST_CELL = 2**24
"""Characters of a cell where bad rows are told: what an unclosed quote can swallow."""


def data_files(folder: Path, endings: Sequence[str] = FORMATS) -> list[Path]:
    """The files with one of these endings in a folder, sorted; hidden ones are no data."""
    return [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in endings and file.is_file() and not file.name.startswith(".")
    ]


def open_table(file: Path, *, strict: bool = True) -> Table:
    """The table in a file with one of the endings `FORMATS`.

    Args:
        file: its name.
        strict: reading stops at the first bad row. Otherwise no unclosed quote swallows more than
            16 million characters, and JSON is JSON Lines even where it begins like one array.

    Raises:
        InputError: the file cannot be read, or has no header.
    """
    ending = file.suffix.lower()
    if ending == ".parquet":
        return _parquet_table(file)
    lines = Lines(file)
    if ending in (".csv", ".tsv"):
        return _separated_table(lines, "\t" if ending == ".tsv" else ",", strict)
    return _json_table(lines, strict)


def _separated_table(lines: Lines, delimiter: str, strict: bool) -> Table:
    numbered = iter(lines)
    first = list(itertools.islice(numbered, 1))
    # The files of the minBERT course end in .csv and have tabs.
    if first and "\t" in first[0][1] and "," not in first[0][1]:
        delimiter = "\t"
    longest = 2**31 - 1 if strict else _LONGEST_CELL
    rows = _cells(itertools.chain(first, numbered), delimiter, longest)
    (number, _, error), names = next(rows, ((1, "", ""), []))
    if error:
        raise InputError(f"{lines.name} line {number}: {error}")

    def told(_: Sequence[str]) -> Iterator[Row]:
        unit, width = f"{lines.name} line", len(names)
        for (number, raw, error), cells in rows:
            if len(cells) == width:
                yield Row(unit, number, dict(zip(names, cells)), error)  # noqa: B905  # slower
            elif cells:
                left_over = f"; left over: {cells[width:]}" if cells[width:] else ""
                error = error or f"{len(cells)} cells, the header has {width}{left_over}"
                padded = itertools.zip_longest(names, cells[:width], fillvalue="")
                yield Row(unit, number, dict(padded), error)
            elif error:
                yield Row(unit, number, {}, error, raw)

    return Table(lines.name, names, told, tabs=delimiter == "\t", share=lines.share)


def _cells(lines: Iterator[Line], delimiter: str, longest: int) -> Iterator[tuple[Line, list[str]]]:
    """For each row its first line, with the error of the row, and its cells.

    Where a row cannot be read (a quote is never closed) only its first line is lost: the lines
    after it are read again.
    """
    again: deque[Line] = deque()
    taken: list[Line] = []

    def feed() -> Iterator[str]:
        while again:
            taken.append(again.popleft())
            yield taken[-1][1]
        for line in lines:
            taken.append(line)
            yield line[1]

    reader = csv.reader(feed(), delimiter=delimiter, strict=True)
    while True:
        taken.clear()
        # The default of 128 KiB is less than a long document; and it is the whole process's.
        limit = csv.field_size_limit(longest)
        try:
            cells = next(reader, None)
        except csv.Error as problem:
            cells, error = [], f"not a row of the table ({problem})"
            again.extendleft(reversed(taken[1:]))
            reader = csv.reader(feed(), delimiter=delimiter, strict=True)
        else:
            error = next((error for _, _, error in taken if error), "")
        finally:
            csv.field_size_limit(limit)
        if cells is None:
            return
        yield (*taken[0][:2], error), cells


def _json_table(lines: Lines, strict: bool) -> Table:
    """JSON Lines; or, if `strict`, perhaps one JSON array of objects."""
    columns: dict[str, None] = {}

    def told(rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            columns.update(dict.fromkeys(row.cells))
            yield row

    rows = told(_json_rows(lines, strict))
    first = list(itertools.islice(rows, 1))
    return Table(
        lines.name, columns, lambda _: itertools.chain(first, rows),
        open_ended=True, share=lines.share,
    )  # fmt: skip


def _json_rows(lines: Lines, strict: bool) -> Iterator[Row]:
    numbered, unit = iter(lines), f"{lines.name} line"
    for number, line, error in numbered:
        if strict and number == 1 and line.lstrip().startswith("["):
            yield from _array_rows(lines.name, [(number, line, error), *numbered])
            return
        if not line.strip():
            continue
        try:
            cells = json.loads(line.rstrip())
        except (ValueError, RecursionError) as problem:
            yield Row(unit, number, {}, error or _not_json(problem), line)
        else:
            yield _object(cells, unit, number, error, line)


def _array_rows(name: str, lines: list[Line]) -> Iterator[Row]:
    for number, _, error in lines:
        if error:
            raise InputError(f"{name} line {number}: {error}")
    try:
        array = json.loads("".join(line for _, line, _ in lines))
    except (ValueError, RecursionError) as problem:
        raise InputError(
            f"{name} line {getattr(problem, 'lineno', 1)}: {_not_json(problem)}"
        ) from None
    for number, cells in enumerate(array, 1):
        yield _object(cells, f"{name} entry", number)


def _object(cells: object, unit: str, number: int, error: str = "", line: str = "") -> Row:
    if isinstance(cells, dict):
        return Row(unit, number, cells, error)
    told = f"a JSON {type(cells).__name__}, expected an object of columns"
    return Row(unit, number, {}, error or told, line)


def _not_json(problem: Exception) -> str:
    if isinstance(problem, json.JSONDecodeError):
        return f"not JSON: {problem.msg} (column {problem.colno})"
    return "nested too deeply" if isinstance(problem, RecursionError) else f"not JSON: {problem}"


def _parquet_table(file: Path) -> Table:
    """Read batch by batch: memory does not grow with the file."""
    import pyarrow
    import pyarrow.parquet

    try:
        parquet = pyarrow.parquet.ParquetFile(file)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{file} is no Parquet file: {error}") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"cannot read {file}: {error}") from None
    schema, total, read = parquet.schema_arrow, parquet.metadata.num_rows, 0

    def rows(columns: Sequence[str]) -> Iterator[Row]:
        nonlocal read
        try:
            with parquet:
                for batch in parquet.iter_batches(PARQUET_ROWS, columns=list(columns) or None):
                    read += len(batch)
                    yield from batch_rows(batch, f"{file} row", read - len(batch))
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"cannot read {file} after row {read}: {error}") from None

    def class_names(label_column: str) -> tuple[str, ...]:
        if b"huggingface" not in (schema.metadata or {}):
            return ()
        import datasets

        return names_of_classes(datasets.Features.from_arrow_schema(schema), label_column)

    return Table(
        str(file), schema.names, rows, schema=schema,
        class_names=class_names, share=lambda: read / total if total else None,
    )  # fmt: skip


def batch_rows(batch: "pyarrow.RecordBatch", unit: str, before: int) -> Iterator[Row]:
    """The rows of an Arrow batch that `before` rows came before."""
    for number, cells in enumerate(batch.to_pylist(), before + 1):
        yield Row(unit, number, cells)


def names_of_classes(features: Mapping[str, object] | None, label_column: str) -> tuple[str, ...]:
    """What the Hugging Face library calls the labels 0, 1, ...; empty where it does not know."""
    return tuple(getattr((features or {}).get(label_column), "names", None) or ())
