"""Corpora of plain text files: one text a file, or one `label ||| text` a line.

Folders of one text a file are read in two forms: `<split>/<label>/*.txt` (the original aclImdb has
it) and, for the MLM, a folder of `*.txt` without more.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxattn.data.read.rows import Rows, checked_rows
from jaxattn.data.read.structured import text_lines
from jaxattn.errors import InputError

SEPARATOR = "|||"

UNLABELLED_FOLDERS = ("unsup", "unsupervised", "unlabeled", "unlabelled")
"""Folders beside those of the labels whose texts have no label (aclImdb has `train/unsup`)."""


def text_files(folder: Path) -> list[Path]:
    """The `.txt` files in a folder, sorted; hidden ones are no data."""
    return [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() == ".txt" and file.is_file() and not file.name.startswith(".")
    ]


def is_labelled_file(file: Path) -> bool:
    """Whether the first line that is not blank has the form `label ||| text`."""
    first = next((line for line in text_lines(file) if line.strip()), "")
    return SEPARATOR in first


def read_labelled_lines(file: Path) -> Rows:
    """The rows of a file of `label ||| text` lines (the minBERT assignment's form).

    Raises:
        InputError: a line has another form, or is not UTF-8.
    """
    return checked_rows(_labelled_lines(file), text_column="text", label_column="label")


def _labelled_lines(file: Path) -> Iterator[tuple[str, str, tuple[str, int]]]:
    for number, line in enumerate(text_lines(file), 1):
        if not line.strip():
            continue
        label, separator, text = line.partition(SEPARATOR)
        if not separator or not label.strip():
            shown = line.strip()[:40]
            raise InputError(
                f"{file} line {number}: found {shown!r}, expected 'label {SEPARATOR} text'"
            )
        yield text.strip(), label, (f"{file} line", number)


def split_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that hold texts themselves or in folders of labels, sorted."""
    return [
        inner
        for inner in sorted(folder.iterdir())
        if inner.is_dir()
        and not inner.name.startswith(".")
        and (_label_folders(inner) or text_files(inner))
    ]


def _label_folders(split: Path) -> list[Path]:
    return [
        inner
        for inner in sorted(split.iterdir())
        if inner.is_dir() and not inner.name.startswith(".") and text_files(inner)
    ]


def read_split_folder(split: Path) -> Rows:
    """The texts of `<split>/<label>/*.txt`, or those of `<split>/*.txt` without labels.

    Where there are folders of labels, files beside them are no texts (aclImdb keeps lists of web
    addresses there).

    Raises:
        InputError: a file is not UTF-8 or cannot be read.
    """
    labels = _label_folders(split)
    if not labels:
        return read_texts(text_files(split))
    cells = (
        cell
        for folder in labels
        for cell in _whole_files(text_files(folder), _label_of(folder.name))
    )
    return checked_rows(cells, text_column="text", label_column="label")


def _label_of(folder: str) -> str | None:
    return None if folder.lower() in UNLABELLED_FOLDERS else folder


def read_texts(files: Sequence[Path]) -> Rows:
    """One text a file, without labels."""
    cells = _whole_files(files, None)
    return checked_rows(
        cells, text_column="text", label_column="label", label_columns=("the whole file",)
    )


def _whole_files(
    files: Sequence[Path], label: str | None
) -> Iterator[tuple[str, str | None, tuple[str, int]]]:
    for file in files:
        yield "".join(text_lines(file)), label, (f"{file} line", 1)
