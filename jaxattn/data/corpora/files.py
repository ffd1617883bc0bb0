"""Which files of a folder are a corpus, and which of them are one of its splits."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxattn.config import DataConfig
from jaxattn.data.read.formats import FORMATS
from jaxattn.data.read.lines import ending_of, stem_of
from jaxattn.data.read.text_files import TEXT
from jaxattn.data.told import logger
from jaxattn.errors import InputError, listed

VALIDATION_NAMES = ("validation", "valid", "val", "dev", "eval", "evaluation")


def with_part(files: list[Path], data: DataConfig, folder: Path) -> list[Path]:
    """The files with `data.file_part` between the marks (_ . -) of their names."""
    if not data.file_part or not files:
        return files
    part = re.escape(data.file_part.lower())
    chosen = [f for f in files if re.search(rf"(^|[_.-]){part}([_.-]|$)", stem_of(f).lower())]
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
    for name, pattern in _patterns(split, synonyms):
        matches = [file for file in known if re.fullmatch(pattern, stem_of(file).lower())]
        if matches:
            _require_one_corpus(matches, name, split)
            found = {ending_of(file) for file in matches}
            order = (*FORMATS, TEXT)
            best = min(found, key=lambda e: order.index(e) if e in order else len(order))
            return [file for file in matches if ending_of(file) == best]
    return []


def split_folders_named(
    folders: Sequence[Path], split: str, synonyms: Sequence[str] = ()
) -> list[Path]:
    """Those of the folders that are a split, by the rules for files; empty if there are none."""
    for _, pattern in _patterns(split, synonyms):
        matches = [inner for inner in folders if re.fullmatch(pattern, inner.name.lower())]
        if matches:
            return matches
    return []


def _patterns(split: str, synonyms: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name of the split, pattern of a stem), the closest ones first."""
    for name in (split, *synonyms):
        name = re.escape(name.lower())
        yield name, name
        yield name, rf"{name}[_.-].*"
        yield name, rf"(.*[_.-])?{name}([_.-].*)?"
        # "training" is taken for `train`, but "valuable" and "devices" are no validation split,
        # and "testimonials" are no test split.
        if name == "test":
            yield name, rf"{name}(ing|s)?\d*([_.-].*)?"
        elif name == re.escape(split.lower()) and split not in VALIDATION_NAMES:
            yield name, rf"{name}.*"


# Files of Spark, of `save_to_disk`, and of the hub where no split is named.
_SHARD = re.compile(r"part-\d+.*|data-\d+-of-\d+|\d+(-\d+)*|.*-\d{5}-of-\d{5}(-.*)?")


def training_files(known: Sequence[Path], data: DataConfig) -> list[Path]:
    """The training split where no file is called so: all that is left, if it is one table.

    It is if it is one file, or files that are the numbered parts of one.

    Raises:
        InputError: there are several tables that it may be.
    """
    given = {
        file
        for split, synonyms in ((data.validation_split, VALIDATION_NAMES), (data.test_split, ()))
        for file in split_files(known, split, synonyms)
    }
    left = [file for file in known if file not in given]
    stems = {stem_of(file).lower() for file in left}
    if len(left) < 2 or all(_SHARD.fullmatch(stem) for stem in stems):
        return left
    if len(stems) == 1:
        # One table in several formats.
        best = min(left, key=lambda file: (*FORMATS, TEXT).index(ending_of(file)))
        return [best]
    raise InputError(
        f"data.path: which file of {left[0].parent} is the training split? Found: "
        f"{listed([file.name for file in left])}; name it as in data.train_split="
        f"{stem_of(left[0])}, or give one file as data.path={left[0]}"
    )


def _require_one_corpus(files: list[Path], name: str, split: str) -> None:
    corpora = {re.split(rf"(?:^|[_.-]){name}", stem_of(file).lower())[0]: file for file in files}
    if len(corpora) > 1:
        first, second = sorted(corpora.values())[:2]
        raise InputError(
            f"split {split!r} is ambiguous in {first.parent}: {first.name} and {second.name}; name "
            f"one, as in {stem_of(first)!r}"
        )
