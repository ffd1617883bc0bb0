"""What options make of the cells of a row: text, label, group, keywords, mark-up taken out."""

import html
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from urllib.parse import urlsplit

from jaxattn.data.read.tables import Row, kind_of
from jaxattn.errors import InputError, quoted

# Text and label in the tab-separated tables of the minBERT course, whatever options call them.
COURSE_TEXT, COURSE_LABEL = "sentence", "sentiment"

Label = int | str | None


def text_columns(
    text_column: str, columns: Collection[str], *, tabs: bool = False
) -> tuple[str, ...]:
    """The columns that `data.text_column` names, given those there are.

    "a+b" is one column if there is one of that name, else the two columns a and b. A table with
    `tabs` in which the text column is missing may have that of the minBERT course.
    """
    if tabs and text_column not in columns and COURSE_TEXT in columns:
        return (COURSE_TEXT,)
    if text_column in columns or "+" not in text_column:
        return (text_column,)
    return tuple(name.strip() for name in text_column.split("+"))


EMPTY = "the text is empty"

LONGEST = 2**27
"""Characters of a text: to make ids of it takes some 16 bytes of memory for each."""


def text_of(cells: Mapping[str, object], names: Sequence[str]) -> tuple[str, str]:
    """The text of a row, and what is wrong with it, or "".

    Of several columns those that are not blank are joined, with blanks between them.
    """
    parts = []
    for name in names:
        part = cells.get(name)
        if isinstance(part, str):
            if part and not part.isspace():
                parts.append(part)
        elif part is not None:
            mend = ": join its parts with blanks first" if isinstance(part, list) else ""
            return "", f"{name!r} is {quoted(part)} ({kind_of(part)}), expected a text{mend}"
    if not parts:
        return "", EMPTY
    text = " ".join(parts)
    if len(text) > LONGEST:
        return "", (
            f"the text has {len(text):,} characters, allowed: up to {LONGEST:,}; is a quote "
            "missing that ends it, or is it many texts? Cut it into several rows"
        )
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            # JSON can spell half of a surrogate pair; no tokenizer takes it.
            return "", f"{names[0]!r} holds half of a surrogate pair, expected valid Unicode"
    return text, ""


def label_of(row: Row, column: str, no_label: Collection[str]) -> Label:
    """The label of a row; None where its cell is empty, or one of `no_label` in any spelling.

    Raises:
        InputError: the cell cannot be a label; the row is named.
    """
    label = row.cells.get(column)
    if isinstance(label, list) and len(label) < 2:
        label = label[0] if label else None
    if isinstance(label, str):
        label = label.strip()
    elif isinstance(label, bool):
        label = str(label)
    # A column of integers with gaps is read as floats, its gaps as NaN.
    elif isinstance(label, float):
        label = None if math.isnan(label) else _integer(label)
    if label is None or label == "":
        return None
    if not isinstance(label, str | int):
        told = "classes are words or whole numbers: round it, or make it a word"
        if isinstance(label, list):
            told = "a text has one label here: leave one in each row"
        raise InputError(
            f"{row.place}: {quoted(column)} is {quoted(label)}, {kind_of(label)}; {told}"
        )
    if no_label and (str(label) in no_label or str(as_integer(label)) in no_label):
        return None
    return label


_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,99})(?:\.0*)?")


def as_integer(label: Label) -> int | None:
    """The whole number that a label stands for, however it is written: 1, "1", "1.0", "+1"."""
    if isinstance(label, str):
        return int(label.partition(".")[0]) if _INTEGER.fullmatch(label) else None
    return label


def group_of(row: Row, column: str) -> str | None:
    """The group of a row: its cell, or the host of a web address; None where it is blank.

    Raises:
        InputError: the cell is neither a text nor a whole number; the row is named.
    """
    group = row.cells.get(column)
    if isinstance(group, float):
        group = _integer(group)
    if group is not None and not isinstance(group, str | int):
        raise InputError(
            f"{row.place}: {quoted(column)} is {quoted(group)} ({kind_of(group)}), expected a text "
            "or a whole number"
        )
    return None if group is None else _host(group)


def _integer(number: float) -> float | int:
    return int(number) if number.is_integer() else number


def _host(value: str | int) -> str | None:
    text = str(value).strip()
    if text.startswith(("http://", "https://")):
        return (urlsplit(text).hostname or text).removeprefix("www.")
    return text or None


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


class Keywords:
    """Words of which a kept text has at least one."""

    def __init__(self, words: Sequence[str], characters: int) -> None:
        """`words` are matched whole and in any case in the first `characters` characters."""
        self._any, self._characters = bool(words), characters
        either = "|".join(re.escape(word.strip()) for word in words)
        self._pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)", re.IGNORECASE)

    def in_text(self, text: object) -> bool:
        """Whether one of the words is in the beginning of `text`; always so without words."""
        if not self._any:
            return True
        return bool(text) and bool(self._pattern.search(str(text)[: self._characters]))
