"""Texts as they are wanted: without mark-up, from several columns, and only those with a keyword.

Published results on a corpus depend on what was done to its texts. What is done here is small and
named by an option (`data.clean`, `data.text_column`, `data.keywords`), so that a saved
configuration says it.
"""

import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from jaxattn.data.sequences import Indexed

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
