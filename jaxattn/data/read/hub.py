"""Data sets of the Hugging Face hub, copied to the disk by `datasets` or streamed row by row."""

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxattn.config import DataConfig
from jaxattn.console import say
from jaxattn.data.read.arrow import BATCH_ROWS, batch_rows, names_of_classes
from jaxattn.data.read.rows import Rows, read_rows
from jaxattn.data.read.tables import Row, Table
from jaxattn.errors import InputError
from jaxattn.hub import first_line, offline, refused, silence

if TYPE_CHECKING:
    import datasets

# (split, synonyms) -> its rows, or None if there is no such split.
Read = Callable[[str, tuple[str, ...]], Rows | None]


def open_hub(data: DataConfig) -> tuple[tuple[str, ...], Read]:
    """The names of the splits of `data.hub`, and how to read one.

    Where the hub does not answer, the copy in the cache is read.

    Raises:
        InputError: the data set cannot be loaded.
    """
    # It can be a folder. `datasets` alone asks for 49 s before it says that nobody is there.
    silent = "" if Path(data.hub).exists() else silence()
    import datasets

    # Its retries are told line by line, twice; the error at the end says it all.
    for library in ("huggingface_hub", *(["datasets"] if silent else [])):
        logging.getLogger(library).setLevel(logging.ERROR)
    with _quiet_datasets(), offline() if silent else contextlib.nullcontext():
        try:
            tables = datasets.load_dataset(
                data.hub,
                data.hub_config or None,
                revision=data.hub_revision or None,
                streaming=data.streaming,
            )
        except Exception as error:  # the hub, the network and the builder raise dozens of types
            if silent:
                kept = f" of {data.hub_config!r}" if data.hub_config else ""
                reason = f"{silent}, and no copy{kept} is in the cache"
            elif Path(data.hub).exists():
                reason = first_line(error)
            else:
                reason = refused("dataset", data.hub, data.hub_revision) or first_line(error)
            raise InputError(
                f"data.hub: cannot load {data.hub!r}: {reason}; local Parquet, CSV or JSONL "
                "files are read with data.path"
            ) from error
    if silent:
        # Of whatever revision: the cache of `datasets` does not tell them apart.
        say(f"data.hub: {silent}; the copy of {data.hub!r} that was fetched last is read")

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
        for batch in table.data.select(list(columns)).to_batches(max_chunksize=BATCH_ROWS):
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
