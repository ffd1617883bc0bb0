"""Where a corpus is read from: a folder, a single file, the hub, or the installed packages."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

from jaxattn.config import DataConfig, did_you_mean
from jaxattn.data import pydocs
from jaxattn.data.cache import default_cache
from jaxattn.data.read_files import (
    FORMATS,
    data_files,
    quiet_datasets,
    read_files,
    require_column,
    split_files,
    table_rows,
)
from jaxattn.data.rows import Rows
from jaxattn.errors import InputError


@dataclasses.dataclass(frozen=True)
class Source:
    """A place that splits are read from.

    Attributes:
        name: for messages.
        splits: what there is, for messages.
        read: (split, synonyms) -> its rows, or None if there is no such split.
    """

    name: str
    splits: tuple[str, ...]
    read: Callable[[str, tuple[str, ...]], Rows | None]

    def required(self, split: str, option: str) -> Rows:
        """The rows of a split that must be there; InputError otherwise."""
        rows = self.read(split, ())
        if rows is None:
            raise InputError(
                f"{option}: {self.name} has no split {split!r}{did_you_mean(split, self.splits)} "
                f"(found: {', '.join(self.splits) or 'nothing'})"
            )
        if not len(rows):
            raise InputError(f"{option}: split {split!r} of {self.name} holds no text")
        return rows


def open_source(data: DataConfig) -> Source:
    """`data.path` if it is set, else `data.hub`, else the built-in corpus of `data.name`.

    Raises:
        InputError: there is no such file, format, data set or built-in corpus.
    """
    if data.path:
        path = Path(data.path).expanduser()
        if path.is_dir():
            return _folder(path, data)
        if not path.exists():
            raise InputError(f"data.path: there is no file or folder {path}")
        return _single_file(path, data)
    if data.hub:
        return _hub(data)
    if data.name == "pydocs":
        rows = pydocs.read_pydocs(cache=default_cache())
        return Source("pydocs", pydocs.SPLITS, lambda split, _: rows.get(split))
    raise InputError(
        f"data.name: {data.name!r} is not built in (built in: pydocs); set data.path to its files "
        "or data.hub to its id"
    )


def _folder(folder: Path, data: DataConfig) -> Source:
    def read(split: str, synonyms: tuple[str, ...]) -> Rows | None:
        files = split_files(folder, split, synonyms)
        return read_files(files, data.text_column, data.label_column) if files else None

    return Source(str(folder), tuple(file.name for file in data_files(folder)), read)


def _single_file(file: Path, data: DataConfig) -> Source:
    if file.suffix.lower() not in FORMATS:
        raise InputError(
            f"data.path: {file} ends in {file.suffix!r}, allowed: {', '.join(FORMATS)}, or a folder"
        )

    def read(split: str, _: tuple[str, ...]) -> Rows | None:
        if split != data.train_split:
            return None
        return read_files([file], data.text_column, data.label_column)

    return Source(str(file), (data.train_split,), read)


def _hub(data: DataConfig) -> Source:
    import datasets

    # Its retries are told line by line, twice; the error at the end says it all.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with quiet_datasets():
        try:
            tables = datasets.load_dataset(data.hub, data.hub_config or None)
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
        columns = tables[name].column_names
        require_column(data.text_column, columns, where)
        return table_rows(
            tables[name], columns, data.text_column, data.label_column, f"{where} row"
        )

    return Source(data.hub, tuple(tables), read)
