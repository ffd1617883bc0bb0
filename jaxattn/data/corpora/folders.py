"""Folders and files of a person: which of them are which split."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from jaxattn.config import DataConfig
from jaxattn.data.corpora.files import (
    VALIDATION_NAMES,
    split_files,
    split_folders_named,
    training_files,
    with_part,
)
from jaxattn.data.corpora.source import Source
from jaxattn.data.read.formats import FORMATS, data_files, is_refused, refuse_format
from jaxattn.data.read.lines import ending_of, stem_of
from jaxattn.data.read.rows import (
    Rows,
    joined,
    read_file,
    read_rows,
    texts_and_labels,
)
from jaxattn.data.read.text_files import (
    TEXT,
    class_folders,
    folders_in,
    is_labelled_file,
    kind_of_text,
    split_folder,
    split_folders,
    whole_files,
    without_ending,
)
from jaxattn.data.told import tell_once
from jaxattn.errors import InputError, listed


def folder_source(folder: Path, data: DataConfig) -> Source:
    """A folder of tables, of lines, of such folders, of folders of texts, or of texts."""
    tables = with_part(tables_in(folder), data, folder)
    if tables:
        return _tables(folder, tables, data)
    texts = data_files(folder, (TEXT,))
    lines = [file for file in texts if is_labelled_file(file, data.encoding)]
    if lines:
        return _tables(folder, with_part(lines, data, folder), data)
    with_tables = [inner for inner in folders_in(folder) if tables_in(inner)]
    if with_tables:
        return _table_folders(folder, with_tables, data)
    inner = split_folders(folder)
    if inner:
        return _text_folders(folder, inner, data)
    if _are_lines(texts, data):
        return _tables(folder, texts, data)
    if texts:
        return _only_training(
            str(folder), data,
            lambda: read_rows(whole_files(folder, texts, data.encoding), texts_and_labels(data)),
        )  # fmt: skip
    # The table of UCI's SMS Spam Collection has no ending.
    unnamed = [file for file in without_ending(folder) if _holds_rows(file, data)]
    return _tables(folder, unnamed, data)


def _are_lines(texts: list[Path], data: DataConfig) -> bool:
    """Whether text files are splits, or one table, rather than one text each."""
    if len(texts) == 1 and kind_of_text(texts[0], data.encoding) == "table":
        return True
    return any(stem_of(file).lower() == data.train_split.lower() for file in texts)


def _holds_rows(file: Path, data: DataConfig) -> bool:
    return kind_of_text(file, data.encoding) in ("labels", "table")


def tables_in(folder: Path) -> list[Path]:
    """The tables in a folder; of one that `save_to_disk` wrote, those that it names."""
    state = folder / "state.json"
    if state.is_file():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            named = [part["filename"] for part in json.loads(state.read_text())["_data_files"]]
            return [folder / name for name in named]
    return data_files(folder)


def _tables(folder: Path, known: list[Path], data: DataConfig) -> Source:
    def find(split: str, synonyms: tuple[str, ...]) -> list[Path]:
        files = split_files(known, split, synonyms)
        if not files and split == data.train_split == DataConfig().train_split:
            files = training_files(known, data)
        return files

    return _of_files(str(folder), known, tuple(file.name for file in known), find, data)


def _of_files(
    name: str,
    known: list[Path],
    splits: tuple[str, ...],
    find: Callable[[str, tuple[str, ...]], list[Path]],
    data: DataConfig,
) -> Source:
    def read(split: str, synonyms: tuple[str, ...]) -> Rows | None:
        files = find(split, synonyms)
        return joined([read_file(file, data) for file in files]) if files else None

    return Source(name, splits, read, find, tuple(known))


def _table_folders(folder: Path, inner: list[Path], data: DataConfig) -> Source:
    """Folders of tables: a split each, or one that holds all splits as in clones of the hub."""

    def find(split: str, synonyms: tuple[str, ...]) -> list[Path]:
        found = split_folders_named(inner, split, synonyms)
        return [file for path in found for file in tables_in(path)]

    if find(data.train_split, ()):
        known = [file for path in inner for file in tables_in(path)]
        return _of_files(str(folder), known, tuple(path.name for path in inner), find, data)
    for name in (data.hub_config, "data"):
        if name and folder / name in inner:
            return folder_source(folder / name, data)
    if len(inner) == 1:
        return folder_source(inner[0], data)
    raise InputError(
        f"data.path: {folder} holds tables in {len(inner)} folders, of which none is called "
        f"{data.train_split!r}: {listed([path.name for path in inner])}; give one of them as "
        f"data.path={inner[0]}"
    )


def _text_folders(folder: Path, inner: list[Path], data: DataConfig) -> Source:
    def find(split: str, synonyms: tuple[str, ...]) -> list[Path]:
        return split_folders_named(inner, split, synonyms)[:1]

    def read(split: str, synonyms: tuple[str, ...]) -> Rows | None:
        found = find(split, synonyms)
        if not found:
            return None
        return read_rows(split_folder(found[0], data.encoding), texts_and_labels(data))

    names = {data.train_split, data.test_split, data.validation_split, *data.mlm_splits, "test"}
    if not any(find(name, VALIDATION_NAMES) for name in names):
        classes = class_folders(folder)
        if len(classes) > 1 and len(classes) == len(inner):
            tell_once(f"{folder}: its {len(classes)} folders are read as classes, without splits")
            return _only_training(
                str(folder), data,
                lambda: read_rows(split_folder(folder, data.encoding), texts_and_labels(data)),
            )  # fmt: skip
        if len(inner) == 1:
            return folder_source(inner[0], data)
    return Source(str(folder), tuple(path.name for path in inner), read, find, tuple(inner))


def _only_training(name: str, data: DataConfig, read_all: Callable[[], Rows]) -> Source:
    """All there is as the training split."""

    def read(split: str, _: tuple[str, ...]) -> Rows | None:
        return read_all() if split == data.train_split else None

    return Source(name, (data.train_split,), read)


def file_source(file: Path, data: DataConfig) -> Source:
    """A file, all of which is the training split."""
    ending = ending_of(file)
    if ending not in (*FORMATS, TEXT) and (is_refused(ending) or not _holds_rows(file, data)):
        refuse_format(file, "data.path", f"{TEXT}, or a folder")
    return _only_training(str(file), data, lambda: read_file(file, data))
