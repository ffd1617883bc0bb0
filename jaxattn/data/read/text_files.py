"""Corpora of plain text files: one text a file, or a line.

Lines are texts, or begin with a label: `label ||| text` (the minBERT assignment's form) or
`__label__x text` (fastText's). Folders of one text a file are read in two forms:
`<split>/<label>/*.txt` (the original aclImdb has it) and, for the MLM, a folder of `*.txt`.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from jaxattn.data.read.form import SAMPLE
from jaxattn.data.read.formats import data_files
from jaxattn.data.read.lines import Lines, text_lines
from jaxattn.data.read.tables import Row, Table, table_of_texts
from jaxattn.errors import quoted

TEXT = ".txt"

SEPARATOR = "|||"

FASTTEXT = "__label__"

UNLABELLED_FOLDERS = ("unsup", "unsupervised", "unlabeled", "unlabelled")
"""Folders beside those of the labels whose texts have no label (aclImdb has `train/unsup`)."""

_ABOUT = ("readme", "license", "licence", "changelog", "authors", "makefile", "copying")

Kind = Literal["labels", "table", "lines", "binary"]


def kind_of_text(file: Path, encoding: str = "") -> Kind:
    """What a text file holds, by its first lines.

    Lines that begin with labels; a table (all lines have the same number of tabs); or texts.
    """
    head = list(itertools.islice(Lines(file, encoding), SAMPLE))
    lines = [line for _, line, _ in head if line.strip()]
    if any("\0" in line for line in lines):
        return "binary"
    if lines and (SEPARATOR in lines[0] or lines[0].startswith(FASTTEXT)):
        return "labels"
    tabs = {line.count("\t") for line in lines}
    return "table" if len(lines) > 1 and len(tabs) == 1 and 0 not in tabs else "lines"


def is_labelled_file(file: Path, encoding: str = "") -> bool:
    """Whether the first line that is not blank begins with a label."""
    first = next((line for line in text_lines(file, encoding) if line.strip()), "")
    return SEPARATOR in first or first.startswith(FASTTEXT)


def labelled_lines(file: Path, encoding: str = "") -> Table:
    """The table in a file of `label ||| text` or of `__label__x text` lines."""
    fasttext = next((line for line in text_lines(file, encoding) if line.strip()), "")
    split = _fasttext if fasttext.startswith(FASTTEXT) else _separated

    def rows(_: Sequence[str]) -> Iterator[Row]:
        for number, line, error in Lines(file, encoding):
            if not line.strip():
                continue
            label, text, flaw = split(line)
            yield Row(f"{file} line", number, {"text": text, "label": label}, error or flaw)

    form = (f"{FASTTEXT} lines",) if split is _fasttext else ()
    return Table(str(file), ("text", "label"), rows, form=form)


def _separated(line: str) -> tuple[str, str, str]:
    label, separator, text = line.partition(SEPARATOR)
    if not separator or not label.strip():
        shown = quoted(line.strip()[:40])
        return label, text.strip(), f"found {shown}, expected 'label {SEPARATOR} text'"
    return label, text.strip(), ""


def _fasttext(line: str) -> tuple[str, str, str]:
    label, _, text = line.strip().partition(" ")
    text = text.strip()
    if not label.startswith(FASTTEXT) or label == FASTTEXT:
        return "", text, f"found {quoted(line.strip()[:40])}, expected '{FASTTEXT}x text'"
    if text.startswith(FASTTEXT):
        other = text.split(None, 1)[0]
        return (
            label,
            text,
            (
                f"several labels, {quoted(label)} and {quoted(other)}; a text has one: "
                "leave one of them on each line"
            ),
        )
    return label.removeprefix(FASTTEXT), text, ""


def split_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that hold texts themselves or in folders of labels, sorted."""
    return [inner for inner in folders_in(folder) if _label_folders(inner) or _texts(inner)]


def _label_folders(split: Path) -> list[Path]:
    return [inner for inner in folders_in(split) if _texts(inner)]


def _texts(folder: Path) -> list[Path]:
    # Each text of 20 Newsgroups is called by a number.
    return data_files(folder, (TEXT,)) or without_ending(folder)


def without_ending(folder: Path) -> list[Path]:
    """The files in a folder whose names have no ending, but for those about the data."""
    return [file for file in data_files(folder, ("",)) if file.name.lower() not in _ABOUT]


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, but for hidden ones."""
    return [
        inner
        for inner in sorted(folder.iterdir())
        if inner.is_dir() and not inner.name.startswith(".")
    ]


def class_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that hold texts and no folders of texts, sorted."""
    return [inner for inner in folders_in(folder) if _texts(inner) and not _label_folders(inner)]


def split_folder(split: Path, encoding: str = "") -> Table:
    """The texts of `<split>/<label>/*.txt`, or those of `<split>/*.txt` without labels.

    Where there are folders of labels, files beside them are no texts (aclImdb keeps lists of web
    addresses there).
    """
    labels = _label_folders(split)
    if not labels:
        return whole_files(split, _texts(split), encoding)

    labelled = (
        (folder.name if folder.name.lower() not in UNLABELLED_FOLDERS else None, file)
        for folder in labels
        for file in _texts(folder)
    )
    return table_of_texts(
        str(split),
        ((f"{file} line", 1, _content(file, encoding), label) for label, file in labelled),
    )


def whole_files(folder: Path, files: Sequence[Path], encoding: str = "") -> Table:
    """One text a file of a folder, without labels."""
    rows = (Row(f"{file} line", 1, {"text": _content(file, encoding)}) for file in files)
    return Table(str(folder), ("text",), lambda _: rows)


def _content(file: Path, encoding: str) -> str:
    return "".join(text_lines(file, encoding))
