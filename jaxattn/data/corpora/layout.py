"""What a person's own file or folder is: splits, form, and the columns of text and label."""

import dataclasses
import itertools
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxattn.config import DataConfig
from jaxattn.data.corpora.folders import tables_in
from jaxattn.data.corpora.source import Source
from jaxattn.data.corpora.sources import open_source
from jaxattn.data.read.columns import text_columns, text_of
from jaxattn.data.read.rows import open_file
from jaxattn.data.read.tables import Row, Table
from jaxattn.errors import InputError, listed, quoted

TEXT_NAMES = (
    "text", "sentence", "content", "review", "review_text", "reviewtext", "body", "comment",
    "comment_text", "message", "tweet", "clean_text", "document", "article", "post", "utterance",
    "query", "question", "abstract", "description", "headline", "title", "sms", "email", "input",
)  # fmt: skip
"""Names of columns of texts, in any case, the best one first."""

LABEL_NAMES = (
    "label", "labels", "class", "category", "sentiment", "target", "class index", "topic",
    "intent", "emotion", "gold_label", "gold", "y", "polarity", "airline_sentiment", "is_spam",
    "spam", "language", "lang", "genre", "author", "stars", "rating", "score", "output",
)  # fmt: skip
"""Names of columns of labels, in any case, the best one first."""

_TOGETHER = ("title", "description")
"""Columns that make one text where they are the only ones (AG News)."""

_ROWS = 20_000
"""From the beginning of the training split; it may be sorted by label."""

_CHARACTERS = 50_000_000
"""After which no further row is looked at: 20,000 books are more than the memory holds."""

_TEXTS = 2000

_MOST_CLASSES = 200

_FEW_ROWS = 20
"""Below which every text may have a label of its own in a trial."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """What was found.

    Attributes:
        path: of the file or folder.
        splits: "train", "validation", "test" -> the names of its files or its folder, for those
            that there are.
        unread: files or folders beside them that are not read.
        form: how the training split is written, in words: "separated by semicolons", "no header
            (columns label, text)", "gzip-compressed"; empty where it is as usual.
        columns: those of the training split.
        text_column: of the text, as `data.text_column` takes it.
        label_column: of the label; "" where there is none.
        uncertain: option -> a sentence, for each thing that might be otherwise and that this
            option settles.
        texts: the first ones, at most 2,000, with columns joined.
    """

    path: str
    splits: Mapping[str, tuple[str, ...]]
    unread: tuple[str, ...]
    form: tuple[str, ...]
    columns: tuple[str, ...]
    text_column: str
    label_column: str
    uncertain: Mapping[str, str] = dataclasses.field(default_factory=dict)
    texts: tuple[str, ...] = ()


def find_layout(path: str, data: DataConfig | None = None) -> Layout:
    """What the file or folder is, from names and from the first rows of its training split.

    Args:
        path: a file or folder.
        data: what is settled already (`separator`, `header`, names of splits); its columns count
            where they differ from the defaults.

    Raises:
        InputError: there is nothing that can be read, a row is bad, or there is no column of texts.
    """
    default = DataConfig()
    given = dataclasses.replace(data or default, path=path)
    source = open_source(given)
    splits = source.files_of_splits(given)
    table, named = _first_table(source, splits, given)
    rows, characters = [], 0
    for row in itertools.islice(table.rows(()), _ROWS):
        if row.error:
            raise InputError(f"{row.place}: {row.error}")
        rows.append(row.cells)
        characters += sum(len(cell) for cell in row.cells.values() if isinstance(cell, str))
        if characters > _CHARACTERS:
            break
    columns = tuple(table.columns)
    if not rows:
        raise InputError(f"{table.name} holds no rows")
    text, label = "text", "label" if "label" in columns else ""
    uncertain: dict[str, str] = {}
    if not named:
        found = _Columns(table.name, columns, rows)
        text = given.text_column
        if text == default.text_column and text not in columns:
            text = found.text(uncertain)
        label = given.label_column
        taken = text_columns(text, columns)
        if label == default.label_column and (label not in columns or label in taken):
            label = found.label(text, uncertain)
    used = {file for files in splits.values() for file in files}
    return Layout(
        path,
        {name: tuple(file.name for file in files) for name, files in splits.items()}
        or {"train": (Path(path).name,)},
        tuple(file.name for file in source.known if file not in used),
        table.form,
        columns,
        text,
        label,
        uncertain,
        _texts_of(rows[:_TEXTS], text_columns(text, columns)),
    )


def _first_table(
    source: Source, splits: Mapping[str, Sequence[Path]], data: DataConfig
) -> tuple[Table, bool]:
    """The first table of the training split, and whether its columns are `text` and `label`."""
    if "train" not in splits and source.known:
        source.required(data.train_split, "data.train_split")
    file = splits["train"][0] if "train" in splits else Path(data.path)
    if file.is_dir() and not tables_in(file):
        # Folders of texts.
        rows = source.required(data.train_split, "data.train_split")
        labelled = rows.label_columns is None
        found = [
            Row(str(file), number, {"text": text} | ({"label": label} if labelled else {}))
            for number, (text, label) in enumerate(
                itertools.islice(zip(rows.texts, rows.labels, strict=False), _TEXTS), start=1
            )
        ]
        return Table(str(file), tuple(found[0].cells), lambda _: iter(found)), True
    return open_file(file, data)


def _texts_of(rows: Sequence[Mapping[str, object]], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for text, wrong in (text_of(row, names) for row in rows) if not wrong)


class _Columns:
    """The columns of some rows, and what they may be."""

    def __init__(
        self, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, object]]
    ) -> None:
        self._name = name
        self._columns = {column: [row.get(column) for row in rows] for column in columns}
        self._folded = {column.strip().lower(): column for column in reversed(columns)}

    def text(self, uncertain: dict[str, str]) -> str:
        """The column of the text, several of them joined by "+"."""
        length = {
            column: statistics.fmean(len(v) if isinstance(v, str) else 0 for v in values)
            for column, values in self._columns.items()
            if any(isinstance(v, str) and v.strip() for v in values)
        }
        if not length:
            raise InputError(
                f"{self._name} has no column of texts (columns: {listed(list(self._columns))}); "
                "data.text_column names one"
            )
        named = [self._folded[n] for n in TEXT_NAMES if self._folded.get(n) in length]
        pair = [self._folded[n] for n in _TOGETHER if self._folded.get(n) in length]
        if len(pair) == 2 and set(named) == set(pair):
            return "+".join(pair)
        longest = max(length, key=lambda column: length[column])
        chosen = named[0] if named else longest
        if length[longest] > 3 * length[chosen]:
            uncertain["data.text_column"] = (
                f"the text is taken from {quoted(chosen)}, but {quoted(longest)} is longer; "
                f"{_flags('text', longest, chosen)}"
            )
        rivals = [c for c in length if c != chosen and 2 * length[c] > length[chosen]]
        if not named and rivals:
            first, second = sorted((chosen, rivals[0]), key=list(self._columns).index)
            uncertain["data.text_column"] = (
                f"the text is taken from {quoted(chosen)}; it might be "
                f"{listed([quoted(column) for column in rivals], 5)}; "
                f"{_flags('text', f'{first}+{second}', rivals[0], chosen)}"
            )
        return chosen

    def label(self, text: str, uncertain: dict[str, str]) -> str:
        """The column of the label; "" where there is none."""
        count = len(next(iter(self._columns.values())))
        values: dict[str, int] = {}
        for column, cells in self._columns.items():
            if column in text_columns(text, self._columns):
                continue
            plain = [v[0] if isinstance(v, list) and len(v) == 1 else v for v in cells]
            filled = [str(v) for v in plain if v is not None and str(v).strip()]
            if len(filled) > count / 2 and not any(isinstance(v, list | dict) for v in plain):
                values[column] = len(set(filled))
        named = [self._folded[n] for n in LABEL_NAMES if self._folded.get(n) in values]
        few = [
            column
            for column, kinds in values.items()
            if 1 < kinds <= min(_MOST_CLASSES, max(2, count // 4))
        ]
        likely = [column for column in named if column in few] or few or named
        if not likely:
            return ""
        others = [column for column in few if column != likely[0]]
        if others and (likely[0] not in named or set(others) & set(named)):
            uncertain["data.label_column"] = (
                f"the label is taken from {quoted(likely[0])}; it might be "
                f"{listed([quoted(column) for column in others], 5)}; "
                f"{_flags('label', others[0], likely[0])}"
            )
        elif count >= _FEW_ROWS and 2 * values[likely[0]] > count:
            uncertain["data.label_column"] = (
                f"the label is taken from {quoted(likely[0])}, which has {values[likely[0]]:,} "
                f"different values in {count:,} rows: put them together into a few classes, or "
                f"{_flags('label', '<column>', likely[0])}"
            )
        return likely[0]


def _flags(what: str, *columns: str) -> str:
    """How the column of the text or the label is settled, to be copied."""
    flags = (shlex.quote(f"--config.data.{what}_column={column}") for column in columns)
    return f"give {' or '.join(flags)}"
