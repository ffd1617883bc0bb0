"""Data sets of the Hugging Face hub, copied to the disk by `datasets` or streamed row by row."""

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from jaxattn.config import DataConfig
from jaxattn.data.read.formats import PARQUET_ROWS, batch_rows, names_of_classes
from jaxattn.data.read.rows import Rows, read_rows
from jaxattn.data.read.tables import Row, Table
from jaxattn.errors import InputError

if TYPE_CHECKING:
    import datasets

# (split, synonyms) -> its rows, or None if there is no such split.
Read = Callable[[str, tuple[str, ...]], Rows | None]


def open_hub(data: DataConfig) -> tuple[tuple[str, ...], Read]:
    """The names of the splits of `data.hub`, and how to read one.

    Raises:
        InputError: the data set cannot be loaded.
    """
    import datasets

    # Its retries are told line by line, twice; the error at the end says it all.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with _quiet_datasets():
        try:
            tables = datasets.load_dataset(
                data.hub,
                data.hub_config or None,
                revision=data.hub_revision or None,
                streaming=data.streaming,
            )
        except Exception as error:  # the hub, the network and the builder raise dozens of types
            first_line = str(error).strip().partition("\n")[0]
            raise InputError(
                f"data.hub: cannot load {data.hub!r}: {first_line}; local Parquet, CSV or JSONL "
                "files are read with data.path"
            ) from error

    def read(split: str, synonyms: tuple[str, ...]) -> Rows | None:
        name = next((name for name in (split, *synonyms) if name in tables), None)
        if name is None:
            return None
        where = f"{data.hub} split {name!r}"
        if not data.streaming:
            return read_rows(_copied(tables[name], where), data)
        # No more rows are fetched than are asked for.
        return read_rows(_streamed(tables[name], where), data, most=data.max_examples)

    return tuple(tables), read


@contextlib.contextmanager
def _quiet_datasets() -> Iterator[None]:
    """Switches the progress bars of `datasets` off, and back to what they were."""
    import datasets

    were_off = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not were_off:
            datasets.enable_progress_bars()


def _copied(table: "datasets.Dataset", where: str) -> Table:
    def rows(columns: Sequence[str]) -> Iterator[Row]:
        before = 0
        for batch in table.data.select(list(columns)).to_batches(max_chunksize=PARQUET_ROWS):
            yield from batch_rows(batch, f"{where} row", before)
            before += len(batch)

    return Table(
        where, table.column_names, rows, schema=table.features.arrow_schema,
        class_names=lambda column: names_of_classes(table.features, column),
    )  # fmt: skip


def _streamed(table: "datasets.IterableDataset", where: str) -> Table:
    stream: Iterator[dict[str, object]] = iter(table)
    first = list(itertools.islice(stream, 1))
    numbered = enumerate(itertools.chain(first, stream), 1)
    return Table(
        where, tuple(first[0] if first else ()),
        lambda _: (Row(f"{where} row", number, row) for number, row in numbered),
        class_names=lambda column: names_of_classes(table.features, column),
    )  # fmt: skip
