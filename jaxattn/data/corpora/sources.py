"""Where a corpus is read from: a folder, a single file, the hub, or what is built in."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from jaxattn.config import DataConfig
from jaxattn.data.corpora import listops, pydocs, pyroles
from jaxattn.data.corpora.files import split_files, with_part
from jaxattn.data.corpora.known import CORPORA
from jaxattn.data.read.formats import FORMATS, data_files
from jaxattn.data.read.hub import open_hub
from jaxattn.data.read.rows import Rows, joined, read_file, read_rows, texts_and_labels
from jaxattn.data.read.text_files import (
    TEXT,
    is_labelled_file,
    split_folder,
    split_folders,
    whole_files,
)
from jaxattn.errors import InputError, did_you_mean
from jaxattn.files import default_cache, expanded, warn_nothing_kept


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

    def found(self, split: str) -> Rows | None:
        """The rows of a split; a corpus published without splits is often a file `all`."""
        return self.read(split, ("all",) if split == "train" else ())

    def required(self, split: str, option: str) -> Rows:
        """The rows of a split that must be there; InputError otherwise."""
        rows = self.found(split)
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
        path = expanded(data.path)
        if path.is_dir():
            return _folder(path, data)
        if not path.exists():
            is_id = data.path.count("/") == 1 and data.path[0] not in "./~" and not path.suffix
            hint = f"; a data set of the Hugging Face hub is data.hub={data.path}" if is_id else ""
            raise InputError(f"data.path: there is no file or folder {path}{hint}")
        return _single_file(path, data)
    if data.hub:
        splits, read = open_hub(data)
        return Source(data.hub, splits, read)
    if data.name == "pydocs":
        return _built_in(data.name, pydocs.read_pydocs(cache=default_cache()))
    if data.name == "pyroles":
        return _built_in(data.name, pyroles.read_pyroles(cache=default_cache()))
    if data.name == "listops":
        return _listops(data)
    if data.name in CORPORA and not CORPORA[data.name].hub:
        raise InputError(
            f"data.name: {data.name!r} is not on the hub; set data.path to its files "
            f"({CORPORA[data.name].notes})"
        )
    raise InputError(
        f"data.name: {data.name!r} is not built in (built in: pydocs, pyroles, listops); set "
        "data.path to its files or data.hub to its id"
        + ("" if data.name in CORPORA else did_you_mean(data.name, tuple(CORPORA)))
    )


def _built_in(name: str, splits: dict[str, Rows]) -> Source:
    return Source(name, tuple(splits), lambda split, _: splits.get(split))


def _listops(data: DataConfig) -> Source:
    data = dataclasses.replace(data, text_column="text", label_column="label")

    def read(split: str, _: tuple[str, ...]) -> Rows | None:
        if split not in listops.SIZES:
            return None
        count = listops.size_of(split, data.max_examples)
        cache = default_cache()
        try:
            file = None if cache is None else listops.listops_file(split, count, cache)
        except OSError as error:
            assert cache is not None
            # A home that cannot be written to costs time on every start, nothing else.
            warn_nothing_kept(cache, error)
            file = None
        rows = listops.in_memory(split, count) if file is None else read_file(file, data)
        # A small sample may lack a value.
        return dataclasses.replace(rows, class_names=listops.WORDS[:10])

    return Source("listops", tuple(listops.SIZES), read)


def _folder(folder: Path, data: DataConfig) -> Source:
    """A folder of tables, of labelled lines, of folders of texts, or of texts; in this order."""
    tables = with_part(data_files(folder), data, folder)
    if tables:
        return _tables(folder, tables, data)
    lines = [file for file in data_files(folder, (TEXT,)) if is_labelled_file(file)]
    if lines:
        return _tables(folder, with_part(lines, data, folder), data)
    inner = split_folders(folder)
    if inner:
        return _text_folders(folder, inner, data)
    texts = data_files(folder, (TEXT,))
    if texts:
        return _only_training(
            str(folder), data, lambda: read_rows(whole_files(folder, texts), texts_and_labels(data))
        )
    return _tables(folder, [], data)


def _tables(folder: Path, known: list[Path], data: DataConfig) -> Source:
    def read(split: str, synonyms: tuple[str, ...]) -> Rows | None:
        files = split_files(known, split, synonyms)
        return joined([read_file(file, data) for file in files]) if files else None

    return Source(str(folder), tuple(file.name for file in known), read)


def _text_folders(folder: Path, inner: list[Path], data: DataConfig) -> Source:
    by_name = {path.name.lower(): path for path in inner}

    def read(split: str, synonyms: tuple[str, ...]) -> Rows | None:
        for name in (split, *synonyms):
            if name.lower() in by_name:
                return read_rows(split_folder(by_name[name.lower()]), texts_and_labels(data))
        return None

    return Source(str(folder), tuple(path.name for path in inner), read)


def _only_training(name: str, data: DataConfig, read_all: Callable[[], Rows]) -> Source:
    """All there is as the training split."""

    def read(split: str, _: tuple[str, ...]) -> Rows | None:
        return read_all() if split == data.train_split else None

    return Source(name, (data.train_split,), read)


def _single_file(file: Path, data: DataConfig) -> Source:
    known = (*FORMATS, TEXT)
    if file.suffix.lower() not in known:
        raise InputError(
            f"data.path: {file} ends in {file.suffix!r}, allowed: {', '.join(known)}, or a folder"
        )
    return _only_training(str(file), data, lambda: read_file(file, data))
