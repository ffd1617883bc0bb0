"""Which files of a folder are a corpus, and which of them are one of its splits."""

import re
from collections.abc import Sequence
from pathlib import Path

from jaxattn.config import DataConfig
from jaxattn.data.read.formats import FORMATS
from jaxattn.data.read.rows import logger
from jaxattn.data.read.text_files import TEXT
from jaxattn.errors import InputError

VALIDATION_NAMES = ("validation", "valid", "val", "dev")


def with_part(files: list[Path], data: DataConfig, folder: Path) -> list[Path]:
    """The files with `data.file_part` between the marks (_ . -) of their names."""
    if not data.file_part or not files:
        return files
    part = re.escape(data.file_part.lower())
    chosen = [f for f in files if re.search(rf"(^|[_.-]){part}([_.-]|$)", f.stem.lower())]
    if not chosen:
        logger.warning(
            "data.file_part: no file in %s has %r in its name; all are read", folder, data.file_part
        )
    return chosen or files


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
                best = min(found, key=lambda ending: (*FORMATS, TEXT).index(ending))
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
