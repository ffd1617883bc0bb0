"""Texts and labels from Parquet, CSV, TSV, JSON and JSON Lines files, and which files are a split.

CSV and JSON Lines are read with the standard library: every error can then name its line, and no
cell changes its type by guessing ("NA" stays a text, a column of years stays strings).
"""

import csv
import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxattn.data.read.rows import Rows, checked_rows, joined
from jaxattn.errors import InputError, did_you_mean

VALIDATION_NAMES = ("validation", "valid", "val", "dev")

_PARQUET_ROWS = 1024

# (row as column -> cell, row or line number counted from 1)
_Cells = Iterator[tuple[dict[str, Any], int]]


def read_files(files: Sequence[Path], text_column: str, label_column: str) -> Rows:
    """All rows of these files, in the order given.

    Raises:
        InputError: a file cannot be read, is malformed, or lacks `text_column`.
    """
    return joined([_read_file(file, text_column, label_column) for file in files])


def _read_file(file: Path, text_column: str, label_column: str) -> Rows:
    try:
        if file.suffix.lower() == ".parquet":
            return _read_parquet(file, text_column, label_column)
        unit, cells = _READERS[file.suffix.lower()]
        what, columns = f"{file} {unit}", dict[str, None]()

        def of_columns() -> Iterator[tuple[Any, Any, tuple[str, int]]]:
            for row, at in cells(file):
                if not columns and file.suffix.lower() in (".csv", ".tsv"):
                    require_column(text_column, tuple(row), str(file))
                columns.update(dict.fromkeys(row))
                yield row.get(text_column), row.get(label_column), (what, at)

        rows = checked_rows(of_columns(), text_column=text_column, label_column=label_column)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from None
    # JSON objects may have other columns each: what there is, is known at the end.
    require_column(text_column, tuple(columns), str(file))
    if label_column in columns:
        return rows
    return dataclasses.replace(rows, label_columns=tuple(columns))


def require_column(name: str, columns: Sequence[str], where: str) -> None:
    """InputError with the columns there are, unless `name` is one of them."""
    if not columns:
        raise InputError(f"{where} holds no rows")
    if name not in columns:
        raise InputError(
            f"{where} has no column {name!r}{did_you_mean(name, columns)} (columns: "
            f"{', '.join(columns)})"
        )


def _read_parquet(file: Path, text_column: str, label_column: str) -> Rows:
    """Batch by batch: memory does not grow with the file, the texts excepted."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            columns = tuple(schema.names)
            require_column(text_column, columns, str(file))
            wanted = [name for name in (text_column, label_column) if name in columns]
            batches = parquet.iter_batches(_PARQUET_ROWS, columns=wanted)
            return _column_rows(
                ((batch.column(name) for name in wanted) for batch in batches),
                text_column=text_column,
                label_column=label_column,
                label_columns=None if label_column in columns else columns,
                class_names=_class_names(schema, label_column),
                what=f"{file} row",
            )
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{file} is no Parquet file: {error}") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"cannot read {file}: {error}") from None


def _class_names(schema: Any, label_column: str) -> tuple[str, ...]:
    """Names that the Hugging Face library has written beside integer labels."""
    if b"huggingface" not in (schema.metadata or {}):
        return ()
    import datasets

    feature = datasets.Features.from_arrow_schema(schema).get(label_column)
    return tuple(getattr(feature, "names", None) or ())


def _column_rows(
    batches: Iterable[Iterable[Any]],
    *,
    text_column: str,
    label_column: str,
    label_columns: tuple[str, ...] | None,
    class_names: tuple[str, ...],
    what: str,
) -> Rows:
    """Rows of Arrow columns: of each batch the texts, and the labels if there are any."""

    def cells() -> Iterator[tuple[Any, Any, tuple[str, int]]]:
        row = 0
        for batch in batches:
            texts, *labels = (column.to_pylist() for column in batch)
            for text, label in zip(texts, labels[0] if labels else itertools.repeat(None)):  # noqa: B905
                row += 1
                yield text, label, (what, row)

    return checked_rows(
        cells(),
        text_column=text_column,
        label_column=label_column,
        label_columns=label_columns,
        class_names=class_names,
    )


def table_rows(
    table: Any, columns: Sequence[str], text_column: str, label_column: str, what: str
) -> Rows:
    """The rows of a `datasets.Dataset` that has `text_column`.

    Args:
        table: the data set.
        columns: all columns of its origin, for messages; the table may hold fewer.
        text_column: column of the text.
        label_column: column of the label; it may be missing.
        what: is counted in messages, such as "train.parquet row".
    """
    labelled = label_column in table.column_names
    wanted = [text_column, label_column] if labelled else [text_column]
    names = getattr(table.features[label_column], "names", None) if labelled else None
    batches = table.data.select(wanted).to_batches(max_chunksize=_PARQUET_ROWS)
    return _column_rows(
        ((batch.column(name) for name in wanted) for batch in batches),
        text_column=text_column,
        label_column=label_column,
        label_columns=None if labelled else tuple(columns),
        class_names=tuple(names or ()),
        what=what,
    )


class quiet_datasets:  # used like a function, in a with statement
    """Switches the progress bars of `datasets` off, and back to what they were."""

    def __enter__(self) -> None:
        """Bars off."""
        import datasets

        self._were_off = datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()

    def __exit__(self, *_: object) -> None:
        """Bars as before."""
        import datasets

        if not self._were_off:
            datasets.enable_progress_bars()


def text_lines(file: Path) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends; a byte order mark is skipped."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{file} line {number}: byte 0x{line[error.start]:02x} is not UTF-8; save the "
                    "file in UTF-8"
                ) from None


def _separated(delimiter: str) -> Callable[[Path], _Cells]:
    def cells(file: Path) -> _Cells:
        lines = text_lines(file)
        header_line = next(lines, "")
        # The files of the minBERT course end in .csv and have tabs.
        mark = "\t" if "\t" in header_line and "," not in header_line else delimiter
        # The limit guards against an unclosed quote, which `strict` reports anyway; the default
        # of 128 KiB is less than a long document.
        limit = csv.field_size_limit(2**31 - 1)
        reader = csv.reader(itertools.chain([header_line], lines), delimiter=mark, strict=True)
        header: list[str] | None = None
        try:
            for row in reader:
                if header is None:
                    header = row
                elif row and len(row) != len(header):
                    raise InputError(
                        f"{file} line {reader.line_num}: {len(row)} cells, the header has "
                        f"{len(header)}"
                    )
                elif row:
                    yield dict(zip(header, row, strict=True)), reader.line_num
        except csv.Error as error:
            raise InputError(f"{file} line {reader.line_num}: {error}") from None
        finally:
            csv.field_size_limit(limit)

    return cells


def _json_rows(file: Path) -> _Cells:
    """JSON Lines, or one JSON array of objects."""
    lines = text_lines(file)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if number == 1 and line.lstrip().startswith("["):
            array = _parsed("".join([line, *lines]), file, 1)
            for place, row in enumerate(array, 1):
                yield _object(row, f"{file} entry {place}"), place
            return
        yield _object(_parsed(line.rstrip(), file, number), f"{file} line {number}"), number


def _parsed(text: str, file: Path, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file} line {first_line + error.lineno - 1} is not JSON: {error.msg} (column "
            f"{error.colno})"
        ) from None
    except RecursionError:
        raise InputError(f"{file} line {first_line} is nested too deeply") from None


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise InputError(f"{where} is a JSON {type(row).__name__}, expected an object of columns")
    return row


# File name ending -> what its rows are counted in, and its reader; in order of preference.
_READERS: dict[str, tuple[str, Callable[[Path], _Cells]]] = {
    ".jsonl": ("line", _json_rows),
    ".ndjson": ("line", _json_rows),
    ".json": ("line", _json_rows),
    ".csv": ("line", _separated(",")),
    ".tsv": ("line", _separated("\t")),
}

FORMATS = (".parquet", *_READERS)


def file_cells(file: Path) -> _Cells:
    """Every row of a CSV, TSV or JSON file as column -> cell, with its line or entry."""
    return _READERS[file.suffix.lower()][1](file)


def data_files(folder: Path) -> list[Path]:
    """The files of known formats in a folder, sorted; hidden ones are no data."""
    return [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in FORMATS and file.is_file() and not file.name.startswith(".")
    ]


def split_files(known: Sequence[Path], split: str, synonyms: Sequence[str] = ()) -> list[Path]:
    """Those of the `known` files that are a split, sorted by name; empty if there are none.

    A file belongs to the split `train` if its stem is `train`, or else begins with it
    (`train-00000-of-00004`, `train_partial`), or else has it as a part (`sst_train`). Where
    several formats match, one is read: Parquet before JSON Lines before CSV. `synonyms` are tried
    in turn where `split` has no file.

    Raises:
        InputError: files of several corpora match (`sst_train`, `imdb_train`).
    """
    for name in (split, *synonyms):
        name = re.escape(name.lower())
        patterns = [name, rf"{name}[_.-].*", rf"(.*[_.-])?{name}([_.-].*)?"]
        # "training" is taken for `train`, but "valuable" and "devices" are no validation split.
        if name == re.escape(split.lower()) and split not in VALIDATION_NAMES:
            patterns.append(rf"{name}.*")
        for pattern in patterns:
            matches = [file for file in known if re.fullmatch(pattern, file.stem.lower())]
            if matches:
                _require_one_corpus(matches, name, split)
                found = {file.suffix.lower() for file in matches}
                best = min(found, key=lambda ending: (*FORMATS, ".txt").index(ending))
                return [file for file in matches if file.suffix.lower() == best]
    return []


def _require_one_corpus(files: list[Path], name: str, split: str) -> None:
    corpora = {re.split(rf"(?:^|[_.-]){name}", file.stem.lower())[0]: file for file in files}
    if len(corpora) > 1:
        first, second = sorted(corpora.values())[:2]
        raise InputError(
            f"split {split!r} is ambiguous in {first.parent}: {first.name} and {second.name}; name "
            f"one, as in {first.stem!r}"
        )
