"""What the columns of a person's own table are: the text, the label, and how long the texts are.

What is uncertain is not guessed: the error names the columns that it may be and the flag that
settles it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxattn.errors import InputError

Columns = Mapping[str, Sequence[object]]

TEXT_NAMES = (
    "text", "sentence", "content", "review", "review_text", "reviewtext", "body", "comment",
    "comment_text", "message", "tweet", "document", "article", "description", "abstract",
    "utterance", "question", "post", "clean_text", "sms", "email", "v2",
)  # fmt: skip
"""Names of text columns, as Kaggle, the hub and UCI have them, the likeliest first."""

LABEL_NAMES = (
    "label", "labels", "class", "category", "sentiment", "target", "y", "topic", "intent",
    "emotion", "polarity", "class_index", "class_label", "stars", "rating", "score",
    "airline_sentiment", "spam", "v1",
)  # fmt: skip

MOST_CLASSES = 200
"""A column with more different values than this is no label."""


class Found(NamedTuple):
    """The columns of text and label ("": there is no label), and how each was recognised."""

    text: str
    label: str
    reasons: tuple[str, ...]


def guess_columns(
    columns: Columns, where: str, *, text: str = "", label: str | None = None, labelled: bool = True
) -> Found:
    """Which columns hold the text and the label.

    Args:
      columns: name -> cells of the first rows, in the order of the table.
      where: the file, for messages.
      text: the text column where it is known.
      label: the label column where it is known.
      labelled: whether a label is needed; else none is looked for.

    Raises:
      InputError: several columns may be it, or none; names them and the flag that settles it.
    """
    reasons = []
    if not text:
        text, why = _text(columns, where, label or "")
        reasons.append(f"text {text!r} ({why})")
    if label is None:
        label = ""
        if labelled:
            label, why = _label({n: cells for n, cells in columns.items() if n != text}, where)
            reasons.append(f"label {label!r} ({why})")
    return Found(text, label, tuple(reasons))


def guess_length(texts: Sequence[str]) -> int:
    """The power of two that holds nineteen of twenty texts in tokens, from 32 to 1,024.

    A word is taken for 1.4 tokens, a character of a script without spaces for one.
    """
    lengths = sorted(_tokens(text) for text in texts)
    if not lengths:
        return 128
    long = lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))]
    return max(32, min(1024, 1 << math.ceil(math.log2(max(long, 1)))))


_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def _tokens(text: str) -> int:
    alone = len(_WITHOUT_SPACES.findall(text))
    return 2 + alone + round(1.4 * len(_WITHOUT_SPACES.sub(" ", text).split()))


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")


def _mean_length(cells: Sequence[object]) -> float:
    """Characters of a cell; 0 where most cells are no text."""
    texts = [cell for cell in cells if isinstance(cell, str) and not cell.isspace()]
    if len(texts) < 0.5 * len(cells):
        return 0.0
    return sum(map(len, texts)) / max(len(texts), 1)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:8]) + (", ..." if len(names) > 8 else "")


def _text(columns: Columns, where: str, label: str) -> tuple[str, str]:
    lengths = {n: _mean_length(cells) for n, cells in columns.items() if n != label}
    lengths = {name: length for name, length in lengths.items() if length}
    if not lengths:
        raise InputError(
            f"{where}: no column holds text (columns: {_listed(list(columns))}); give the one to "
            "read by --config.data.text_column"
        )
    longest = max(lengths, key=lambda name: lengths[name])
    named = sorted(
        (name for name in lengths if _plain(name) in TEXT_NAMES),
        key=lambda name: TEXT_NAMES.index(_plain(name)),
    )
    if named and lengths[named[0]] >= 0.5 * lengths[longest]:
        return named[0], "by its name"
    # A label of words is shorter than the text it is for, and so is an id.
    rivals = [name for name in lengths if lengths[name] > 0.5 * lengths[longest]]
    if len(rivals) > 1:
        first, second = rivals[:2]
        raise InputError(
            f"{where}: several columns may be the text ({_listed(rivals)}); give one of them, or "
            f'two joined by a plus sign, as --config.data.text_column="{first}+{second}"'
        )
    return longest, "the longest texts"


def _values(cells: Sequence[object]) -> list[str]:
    """The cells that are not empty, as texts."""
    return [str(cell) for cell in cells if cell is not None and str(cell).strip()]


def _is_classes(cells: Sequence[object]) -> bool:
    """Whether so few values stand for the rows that they may be classes."""
    values = _values(cells)
    different = len(set(values))
    if any(isinstance(cell, float) and not cell.is_integer() for cell in cells):
        return False
    return 2 <= different <= min(MOST_CLASSES, max(2, len(values) // 2))


def _label(columns: Columns, where: str) -> tuple[str, str]:
    possible = [name for name, cells in columns.items() if _is_classes(cells)]
    named = sorted(
        (name for name in columns if _plain(name) in LABEL_NAMES),
        key=lambda name: LABEL_NAMES.index(_plain(name)),
    )
    chosen = [name for name in named if name in possible]
    if not chosen and len(named) == 1 and len(set(_values(columns[named[0]]))) == 1:
        # Sorted by label, as IMDB is: the first rows are of one class.
        return named[0], "by its name"
    if len(chosen) > 1 and not all(_same(columns, chosen[0], other) for other in chosen[1:]):
        raise InputError(
            f"{where}: several columns may be the label ({_listed(chosen)}); give one, as "
            f"--config.data.label_column={chosen[0]!r}"
        )
    if chosen:
        return chosen[0], "by its name"
    if len(possible) == 1:
        return possible[0], f"{len(set(_values(columns[possible[0]]))):,} different values"
    if possible:
        raise InputError(
            f"{where}: several columns may be the label ({_listed(possible)}); give one, as "
            f"--config.data.label_column={possible[0]!r}"
        )
    raise InputError(
        f"{where}: no column looks like a label (besides the text: "
        f"{_listed(list(columns)) or 'none'}); name it by --config.data.label_column; without "
        "labels only --mode=pretrain can be run"
    )


def _same(columns: Columns, one: str, other: str) -> bool:
    """Whether two columns say the same in different words."""
    pairs = set(zip(map(str, columns[one]), map(str, columns[other]), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
