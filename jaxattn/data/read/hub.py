"""Data sets of the Hugging Face hub, copied to the disk by `datasets` or streamed row by row."""

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jaxattn.config import DataConfig
from jaxattn.data.read.columns import Keywords, joined_text, shaped, text_columns
from jaxattn.data.read.rows import Rows, checked_rows
from jaxattn.data.read.structured import quiet_datasets, require_column, table_rows
from jaxattn.errors import InputError

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
    with quiet_datasets():
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
        rows = _streamed if data.streaming else _copied
        return rows(tables[name], where, data)

    return tuple(tables), read


def _copied(table: Any, where: str, data: DataConfig) -> Rows:
    columns = table.column_names
    names = text_columns(data.text_column, columns)
    require_column(names[0], columns, where)
    rows = table_rows(table, columns, names[0], data.label_column, f"{where} row")

    def column(name: str) -> Mapping[int, Any]:
        require_column(name, columns, where)
        return dict(enumerate(table[name], 1))

    return shaped(rows, names, data, column)


def _streamed(table: Any, where: str, data: DataConfig) -> Rows:
    """The rows of a streamed split; no more are fetched than `data.max_examples` asks for."""
    stream = iter(table)
    first: dict[str, Any] = next(stream, {})
    columns = tuple(first)
    names = text_columns(data.text_column, columns)
    further = [name for name in (*names[1:], data.group_column, data.keyword_column) if name]
    for name in (names[0], *further):
        require_column(name, columns, where)
    beside: dict[int, dict[str, Any]] = {}

    def cells() -> Iterator[tuple[Any, Any, tuple[str, int]]]:
        for number, row in _wanted(itertools.chain([first], stream), names, data):
            beside[number] = {name: row[name] for name in further}
            yield row[names[0]], row.get(data.label_column), (f"{where} row", number)

    features = table.features or {}
    rows = checked_rows(
        cells(),
        text_column=names[0],
        label_column=data.label_column,
        label_columns=None if data.label_column in columns else columns,
        class_names=tuple(getattr(features.get(data.label_column), "names", None) or ()),
    )
    return shaped(
        rows, names, data, lambda name: {number: row[name] for number, row in beside.items()}
    )


def _wanted(
    stream: Iterator[dict[str, Any]], names: Sequence[str], data: DataConfig
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered rows with a keyword, until `data.max_examples` of them that are not empty came."""
    keywords = Keywords(data.keywords, data.keyword_characters)
    kept = 0
    for number, row in enumerate(stream, 1):
        text = row[names[0]]
        if isinstance(text, str):
            searched = row[data.keyword_column] if data.keyword_column else None
            if searched is None:
                searched = joined_text(row[name] for name in names)
            if not keywords.in_text(searched):
                continue
            kept += bool(text.strip())
        yield number, row
        if kept and kept == data.max_examples:
            return
