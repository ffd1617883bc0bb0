"""Corpora of plain text files: one text a file, or one `label ||| text` a line.

Folders of one text a file are read in two forms: `<split>/<label>/*.txt` (the original aclImdb has
it) and, for the MLM, a folder of `*.txt` without more.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxattn.data.read.formats import data_files
from jaxattn.data.read.tables import Lines, Row, Table, table_of_texts, text_lines

TEXT = ".txt"

SEPARATOR = "|||"

UNLABELLED_FOLDERS = ("unsup", "unsupervised", "unlabeled", "unlabelled")
"""Folders beside those of the labels whose texts have no label (aclImdb has `train/unsup`)."""


def is_labelled_file(file: Path) -> bool:
    """Whether the first line that is not blank has the form `label ||| text`."""
    first = next((line for line in text_lines(file) if line.strip()), "")
    return SEPARATOR in first


def labelled_lines(file: Path) -> Table:
    """The table in a file of `label ||| text` lines (the minBERT assignment's form)."""

    def rows(_: Sequence[str]) -> Iterator[Row]:
        for number, line, error in Lines(file):
            if not line.strip():
                continue
            label, separator, text = line.partition(SEPARATOR)
            if not separator or not label.strip():
                shown = line.strip()[:40]
                error = error or f"found {shown!r}, expected 'label {SEPARATOR} text'"
            yield Row(f"{file} line", number, {"text": text.strip(), "label": label}, error)

    return Table(str(file), ("text", "label"), rows)


def split_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that hold texts themselves or in folders of labels, sorted."""
    return [inner for inner in _folders(folder) if _label_folders(inner) or _texts(inner)]


def _label_folders(split: Path) -> list[Path]:
    return [inner for inner in _folders(split) if _texts(inner)]


def _texts(folder: Path) -> list[Path]:
    return data_files(folder, (TEXT,))


def _folders(folder: Path) -> list[Path]:
    return [
        inner
        for inner in sorted(folder.iterdir())
        if inner.is_dir() and not inner.name.startswith(".")
    ]


def split_folder(split: Path) -> Table:
    """The texts of `<split>/<label>/*.txt`, or those of `<split>/*.txt` without labels.

    Where there are folders of labels, files beside them are no texts (aclImdb keeps lists of web
    addresses there).
    """
    labels = _label_folders(split)
    if not labels:
        return whole_files(split, _texts(split))

    labelled = (
        (folder.name if folder.name.lower() not in UNLABELLED_FOLDERS else None, file)
        for folder in labels
        for file in _texts(folder)
    )
    return table_of_texts(
        str(split), ((f"{file} line", 1, _content(file), label) for label, file in labelled)
    )


def whole_files(folder: Path, files: Sequence[Path]) -> Table:
    """One text a file of a folder, without labels."""
    rows = (Row(f"{file} line", 1, {"text": _content(file)}) for file in files)
    return Table(str(folder), ("text",), lambda _: rows)


def _content(file: Path) -> str:
    return "".join(text_lines(file))
