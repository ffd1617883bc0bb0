"""Where a corpus is read from: a folder, a single file, the hub, or what is built in."""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from jaxattn.config import DataConfig
from jaxattn.data.corpora import listops, pydocs, pyroles
from jaxattn.data.corpora.files import (
    VALIDATION_NAMES,
    split_files,
    split_folders_named,
    training_files,
    with_part,
)
from jaxattn.data.corpora.known import CORPORA
from jaxattn.data.read.formats import FORMATS, data_files, is_refused, refuse_format
from jaxattn.data.read.hub import open_hub
from jaxattn.data.read.lines import ending_of, stem_of
from jaxattn.data.read.rows import (
    Rows,
    joined,
    read_file,
    read_rows,
    tell_once,
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
from jaxattn.errors import InputError, did_you_mean, listed
from jaxattn.files import default_cache, expanded, warn_nothing_kept


@dataclasses.dataclass(frozen=True)
class Source:
    """A place that splits are read from.

    Attributes:
        name: for messages.
        splits: what there is, for messages.
        read: (split, synonyms) -> its rows, or None if there is no such split.
        find: (split, synonyms) -> its files or folder, where it is read from such.
        known: all files, or folders, that splits can be.
    """

    name: str
    splits: tuple[str, ...]
    read: Callable[[str, tuple[str, ...]], Rows | None]
    find: Callable[[str, tuple[str, ...]], list[Path]] = lambda split, synonyms: []
    known: tuple[Path, ...] = ()

    def found(self, split: str) -> Rows | None:
        """The rows of a split; a corpus published without splits is often a file `all`."""
        return self.read(split, ("all",) if split == "train" else ())

    def files_of_splits(self, data: DataConfig) -> dict[str, list[Path]]:
        """Split -> its files or folder, for those that there are."""
        splits = {
            "train": self.find(data.train_split, ("all",)),
            "validation": self.find(data.validation_split, validation_synonyms(data)),
            "test": self.find(data.test_split, ()),
        }
        if data.mlm_splits != DataConfig().mlm_splits:
            for name in {*data.mlm_splits} - {data.train_split, data.test_split}:
                splits[name] = self.find(name, ())
        return {split: files for split, files in splits.items() if files}

    def tell(self, data: DataConfig) -> None:
        """Says which files are which split, and which are not read."""
        if not self.known:
            return
        splits = self.files_of_splits(data)
        told = [f"{shown_files(files)} ({split})" for split, files in splits.items()]
        used = {file for files in splits.values() for file in files}
        left = [file.name for file in self.known if file not in used]
        not_read = f"; not read: {listed(left, 6)}" if left else ""
        tell_once(f"{self.name}: read {', '.join(told)}{not_read}")

    def _advice(self, split: str) -> str:
        if not self.splits:
            return (
                f"; give a file, or a folder with {split}.csv (or {listed(FORMATS, 20)}) or with "
                f"{split}/<label>/*.txt"
            )
        return f"; call a file or folder {split}, or name another split"

    def required(self, split: str, option: str) -> Rows:
        """The rows of a split that must be there; InputError otherwise."""
        rows = self.found(split)
        if rows is None:
            raise InputError(
                f"{option}: {self.name} has no split {split!r}{did_you_mean(split, self.splits)} "
                f"(found: {listed(self.splits) or 'nothing'}){self._advice(split)}"
            )
        if not len(rows):
            raise InputError(f"{option}: split {split!r} of {self.name} holds no text")
        return rows


def validation_synonyms(data: DataConfig) -> tuple[str, ...]:
    """Other names of the validation split; none where it has a name of its own."""
    return VALIDATION_NAMES if data.validation_split in VALIDATION_NAMES else ()


def shown_files(files: list[Path]) -> str:
    """The name of a file, or how many there are and the first one."""
    return files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"


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
            return _folder(folder / name, data)
    if len(inner) == 1:
        return _folder(inner[0], data)
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
            return _folder(inner[0], data)
    return Source(str(folder), tuple(path.name for path in inner), read, find, tuple(inner))


def _only_training(name: str, data: DataConfig, read_all: Callable[[], Rows]) -> Source:
    """All there is as the training split."""

    def read(split: str, _: tuple[str, ...]) -> Rows | None:
        return read_all() if split == data.train_split else None

    return Source(name, (data.train_split,), read)


def _single_file(file: Path, data: DataConfig) -> Source:
    ending = ending_of(file)
    if ending not in (*FORMATS, TEXT) and (is_refused(ending) or not _holds_rows(file, data)):
        refuse_format(file, "data.path", f"{TEXT}, or a folder")
    return _only_training(str(file), data, lambda: read_file(file, data))
