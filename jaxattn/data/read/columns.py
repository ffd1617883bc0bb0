"""One file of rows as `DataConfig` wants it: columns joined, keywords, groups, mark-up taken out.

`read_files` reads a text and a label. The other columns that options may ask for are few and
rarely asked for, so they are read on their own here.
"""

import dataclasses
import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from jaxattn.config import DataConfig
from jaxattn.data.read.rows import Rows
from jaxattn.data.read.structured import file_cells, read_files, require_column, text_lines
from jaxattn.data.read.text_files import read_labelled_lines
from jaxattn.data.texts import Indexed, Texts
from jaxattn.errors import InputError

COURSE_COLUMNS = ("sentence", "sentiment")
"""Text and label in the tab-separated tables of the minBERT course, whatever options call them."""

# Name of a column -> number of a row, as in `Rows.places` -> cell.
Column = Callable[[str], Mapping[int, Any]]


def read_table(file: Path, data: DataConfig) -> Rows:
    """The rows of one file in any format.

    Raises:
        InputError: the file cannot be read, is malformed, or lacks a column.
    """
    if file.suffix.lower() == ".txt":
        columns: tuple[str, ...] = ("label", "text")
        names: tuple[str, ...] = ("text",)
        rows = read_labelled_lines(file)
    else:
        columns = _columns(file)
        names = text_columns(data.text_column, columns)
        label = data.label_column
        if data.text_column not in columns and COURSE_COLUMNS[0] in _tab_separated_header(file):
            names, label = COURSE_COLUMNS[:1], COURSE_COLUMNS[1]
        rows = read_files([file], names[0], label)

    def column(name: str) -> Mapping[int, Any]:
        require_column(name, columns, str(file))
        return _column(file, name)

    return shaped(rows, names, data, column)


def row_ids(rows: Rows, name: str = "id") -> list[str] | None:
    """The cells of a column of ids, stripped; None where a file of `rows` has no such column."""
    whats = sorted({what for what, _ in rows.places})
    cells: dict[str, Mapping[int, Any]] = {}
    for what in whats:
        # "train.csv line" and "train.parquet row" are what rows are counted in.
        file = Path(what.rpartition(" ")[0])
        if file.suffix.lower() == ".txt" or name not in _columns(file):
            return None
        cells[what] = _column(file, name)
    return [str(cells[what][number]).strip() for what, number in rows.places]


def shaped(rows: Rows, names: tuple[str, ...], data: DataConfig, column: Column) -> Rows:
    """Rows as the options want them.

    Args:
        rows: as they were read, with the texts of the column `names[0]`.
        names: the columns that make a text.
        data: the options.
        column: reads another column of the same origin.

    Raises:
        InputError: a group or a further text is of a type that cannot be one.
    """

    def cells(name: str) -> list[Any]:
        by_number = column(name)
        return [by_number[number] for _, number in rows.places]

    if len(names) > 1:
        others = [_texts(cells(name), name, rows) for name in names[1:]]
        texts = DerivedTexts(lambda *parts: joined_text(parts), rows.texts, *others)
        rows = dataclasses.replace(rows, texts=Texts.of(texts))
    if data.group_column:
        rows = dataclasses.replace(rows, groups=_groups(cells(data.group_column), data, rows))
    if data.keywords:
        keywords = Keywords(data.keywords, data.keyword_characters)
        searched = cells(data.keyword_column) if data.keyword_column else rows.texts
        rows = rows.take(np.array([keywords.in_text(cell) for cell in searched], bool))
    if data.clean != "none":
        cleaned = DerivedTexts(CLEANERS[data.clean], rows.texts)
        rows = dataclasses.replace(rows, texts=Texts.of(cleaned))
    return rows


def without_columns(rows: Rows, data: DataConfig, where: str) -> Rows:
    """Rows of an origin that has nothing but texts and labels, as the options want them.

    Raises:
        InputError: an option asks for a column.
    """

    def column(name: str) -> Mapping[int, Any]:
        raise InputError(
            f"{where} holds texts and labels only, found an option for column {name!r}"
        )

    return shaped(rows, ("text",), data, column)


def group_of(value: str | int) -> str | None:
    """The group a cell stands for: itself, or the host of a web address; None if it is blank."""
    text = str(value).strip()
    if text.startswith(("http://", "https://")):
        return (urlsplit(text).hostname or text).removeprefix("www.")
    return text or None


def _groups(cells: list[Any], data: DataConfig, rows: Rows) -> list[str | None]:
    groups: list[str | None] = []
    for row, cell in enumerate(cells):
        if isinstance(cell, float) and cell.is_integer():
            cell = int(cell)
        if cell is not None and not isinstance(cell, str | int):
            raise InputError(
                f"{rows.place(row)}: {data.group_column!r} is {cell!r} ({type(cell).__name__}), "
                "expected a string or an integer"
            )
        groups.append(None if cell is None else group_of(cell))
    return groups


def _texts(cells: list[Any], name: str, rows: Rows) -> list[str | None]:
    for row, cell in enumerate(cells):
        if cell is not None and not isinstance(cell, str):
            raise InputError(
                f"{rows.place(row)}: {name!r} is {cell!r} ({type(cell).__name__}), expected a text"
            )
    return cells


def _tab_separated_header(file: Path) -> list[str]:
    if file.suffix.lower() not in (".csv", ".tsv"):
        return []
    header = next(text_lines(file), "").strip("\r\n")
    return header.split("\t") if "\t" in header else []


def _columns(file: Path) -> tuple[str, ...]:
    """The columns of a table; () where it cannot be read, which `read_files` then tells."""
    if file.suffix.lower() == ".parquet":
        import pyarrow.parquet

        try:
            return tuple(pyarrow.parquet.read_schema(file).names)
        except (OSError, pyarrow.ArrowException):
            return ()
    try:
        # The columns of the first row: every row of a CSV file has the same.
        return next((tuple(row) for row, _ in file_cells(file)), ())
    except OSError:
        return ()


def _column(file: Path, name: str) -> Mapping[int, Any]:
    """One column as row or line number -> cell."""
    if file.suffix.lower() == ".parquet":
        import pyarrow.parquet

        cells = pyarrow.parquet.read_table(file, columns=[name]).column(0).to_pylist()
        return dict(enumerate(cells, 1))
    return {number: row.get(name) for row, number in file_cells(file)}


_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)

_UNSEEN = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)

_BLOCK = re.compile(
    r"</?(?:p|br|div|li|ul|ol|h[1-6]|tr|table|blockquote|section|article)\b[^<>]*>", re.IGNORECASE
)

# A tag begins with a letter: "a < b and c > d" holds none.
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)

_BLANKS = re.compile(r"[^\S\n]+")

_LINES = re.compile(r" ?\n\s*")


def without_breaks(text: str) -> str:
    """`text` with every `<br />` as a line break; nothing else changes."""
    return _BREAK.sub("\n", text)


def without_html(text: str) -> str:
    """The text a browser would show: no tags, scripts and comments, entities as characters.

    Paragraphs and other blocks are lines; runs of blanks are one blank.
    """
    text = _TAG.sub("", _BLOCK.sub("\n", _UNSEEN.sub(" ", text)))
    return _LINES.sub("\n", _BLANKS.sub(" ", html.unescape(text))).strip()


CLEANERS: dict[str, Callable[[str], str]] = {
    "none": lambda text: text,
    "breaks": without_breaks,
    "html": without_html,
}
"""Values of `data.clean` -> what is done to a text."""


def text_columns(text_column: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that `data.text_column` names, given those there are.

    "a+b" is one column if there is one of that name, else the two columns a and b.
    """
    if text_column in columns or "+" not in text_column:
        return (text_column,)
    return tuple(name.strip() for name in text_column.split("+"))


def joined_text(cells: Iterable[str | None]) -> str:
    """The cells of one row that are not empty, with blanks between them."""
    return " ".join(cell for cell in cells if cell and cell.strip())


class DerivedTexts(Indexed[str]):
    """Texts computed from other sequences when they are asked for: no second copy is held."""

    def __init__(self, derive: Callable[..., str], *columns: Sequence[str | None]) -> None:
        """Text i is `derive(columns[0][i], columns[1][i], ...)`; the columns are equally long."""
        self._derive, self._columns = derive, columns

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._columns[0])

    def at(self, index: int) -> str:
        """One text."""
        return self._derive(*(column[index] for column in self._columns))

    def __iter__(self) -> Iterator[str]:
        """All texts in order."""
        for cells in zip(*self._columns, strict=True):
            yield self._derive(*cells)


class Keywords:
    """Words of which a kept text has at least one."""

    def __init__(self, words: Sequence[str], characters: int) -> None:
        """`words` are matched whole and in any case in the first `characters` characters."""
        self.words, self._characters = tuple(words), characters
        either = "|".join(re.escape(word.strip()) for word in words)
        self._pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)", re.IGNORECASE)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.words)

    def in_text(self, text: str | None) -> bool:
        """Whether one of the words is in the beginning of `text`; always so without words."""
        if not self.words:
            return True
        return bool(text) and bool(self._pattern.search(str(text)[: self._characters]))
