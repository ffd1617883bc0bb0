"""A place that splits are read from."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from jaxattn.config import DataConfig
from jaxattn.data.corpora.files import VALIDATION_NAMES
from jaxattn.data.read.formats import FORMATS
from jaxattn.data.read.rows import Rows
from jaxattn.data.told import tell_once
from jaxattn.errors import InputError, did_you_mean, listed


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

    def validation(self, data: DataConfig) -> Rows | None:
        """The validation split; one with a name of its own must be there."""
        if synonyms := validation_synonyms(data):
            return self.read(data.validation_split, synonyms)
        return self.required(data.validation_split, "data.validation_split")


def validation_synonyms(data: DataConfig) -> tuple[str, ...]:
    """Other names of the validation split; none where it has a name of its own."""
    return VALIDATION_NAMES if data.validation_split in VALIDATION_NAMES else ()


def shown_files(files: list[Path]) -> str:
    """The name of a file, or how many there are and the first one."""
    return files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
