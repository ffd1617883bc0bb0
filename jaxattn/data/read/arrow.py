"""Parquet and Arrow files, read batch by batch: memory does not grow with the file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxattn.data.read.tables import Row, Table, repeated_names
from jaxattn.errors import InputError

if TYPE_CHECKING:
    import pyarrow

BATCH_ROWS = 1024


def parquet_table(file: Path) -> Table:
    """The table in a Parquet file; InputError where it is none."""
    import pyarrow
    import pyarrow.parquet

    try:
        parquet = pyarrow.parquet.ParquetFile(file)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{file} is no Parquet file: {error}; fetch or write it again") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"cannot read {file}: {error}") from None

    def batches(columns: Sequence[str]) -> "Iterator[pyarrow.RecordBatch]":
        with parquet:
            yield from parquet.iter_batches(BATCH_ROWS, columns=list(columns) or None)

    return _table(file, parquet.schema_arrow, batches, parquet.metadata.num_rows)


def arrow_table(file: Path) -> Table:
    """The table in a file of Arrow's IPC formats, as `save_to_disk` and Feather write them."""
    import pyarrow
    import pyarrow.ipc

    try:
        source = pyarrow.memory_map(str(file))
        try:
            reader = pyarrow.ipc.open_stream(source)
            parts = iter(reader)
        except pyarrow.ArrowInvalid:
            reader = pyarrow.ipc.open_file(source)
            parts = map(reader.get_batch, range(reader.num_record_batches))
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{file} is no Arrow file: {error}; fetch or write it again") from None

    def batches(columns: Sequence[str]) -> "Iterator[pyarrow.RecordBatch]":
        with source:
            for batch in parts:
                batch = batch.select(list(columns)) if columns else batch
                for start in range(0, len(batch), BATCH_ROWS):
                    yield batch.slice(start, BATCH_ROWS)

    return _table(file, reader.schema, batches, 0)


def _table(
    file: Path,
    schema: "pyarrow.Schema",
    batches: "Callable[[Sequence[str]], Iterator[pyarrow.RecordBatch]]",
    total: int,
) -> Table:
    import pyarrow

    read = 0

    def rows(columns: Sequence[str]) -> Iterator[Row]:
        nonlocal read
        try:
            for batch in batches(columns):
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
        str(file), tuple(dict.fromkeys(schema.names)), rows,
        repeated=repeated_names(schema.names), unit="row", schema=schema, class_names=class_names,
        share=lambda: read / total if total else None,
    )  # fmt: skip


def batch_rows(batch: "pyarrow.RecordBatch", unit: str, before: int) -> Iterator[Row]:
    """The rows of an Arrow batch that `before` rows came before."""
    for number, cells in enumerate(batch.to_pylist(), before + 1):
        yield Row(unit, number, cells)


def names_of_classes(features: Mapping[str, object] | None, label_column: str) -> tuple[str, ...]:
    """What the Hugging Face library calls the labels 0, 1, ...; empty where it does not know."""
    return tuple(getattr((features or {}).get(label_column), "names", None) or ())
