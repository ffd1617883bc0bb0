"""Texts and labels of a table as `DataConfig` wants them, each with the place it came from."""

import dataclasses
from array import array
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from jaxattn.config import DataConfig
from jaxattn.data.read.columns import (
    CLEANERS,
    COURSE_LABEL,
    COURSE_TEXT,
    EMPTY,
    Keywords,
    Label,
    group_of,
    label_of,
    text_columns,
    text_of,
)
from jaxattn.data.read.form import Form
from jaxattn.data.read.formats import FORMATS, lines_of_text, open_table
from jaxattn.data.read.lines import Lines, ending_of
from jaxattn.data.read.separated import separated_table
from jaxattn.data.read.tables import Table
from jaxattn.data.read.text_files import kind_of_text, labelled_lines
from jaxattn.data.texts import Indexed, Texts, TextsWriter
from jaxattn.data.told import logger, tell_once
from jaxattn.errors import InputError


class Places(Indexed[tuple[str, int]]):
    """Pairs (what is counted, number), such as ("train.csv line", 7), in little memory."""

    def __init__(self, units: Sequence[str], which: np.ndarray, numbers: np.ndarray) -> None:
        """Pair i is (units[which[i]], numbers[i]); int [n] each."""
        self.units, self._which, self._numbers = tuple(units), which, numbers

    def take(self, indices: np.ndarray) -> "Places":
        """The pairs at int [m] indices."""
        return Places(self.units, self._which[indices], self._numbers[indices])

    @classmethod
    def joined(cls, parts: Sequence["Places"]) -> "Places":
        """The pairs of all parts."""
        units = [unit for part in parts for unit in part.units]
        first = np.cumsum([0, *(len(part.units) for part in parts)])
        which = [part._which + start for part, start in zip(parts, first, strict=False)]
        empty = np.zeros(0, np.int64)
        numbers = np.concatenate([empty, *(part._numbers for part in parts)])
        return cls(units, np.concatenate([empty, *which]), numbers)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._which)

    def at(self, index: int) -> tuple[str, int]:
        """One pair."""
        return self.units[self._which[index]], int(self._numbers[index])


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of one split, without empty texts.

    Attributes:
        texts: n texts.
        labels: n labels; None where a row has none.
        places: where each was read.
        label_columns: None if there is a label column, else the columns there are.
        hint: what to do where there is no label column.
        class_names: names of the labels 0, 1, ... where the file or the hub knows them.
        groups: n values of `data.group_column`, None where a row has none; empty without it.
    """

    texts: Texts
    labels: list[Label]
    places: Places
    label_columns: tuple[str, ...] | None = None
    hint: str = ""
    class_names: tuple[str, ...] = ()
    groups: Sequence[str | None] = ()

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.texts)

    def place(self, index: int) -> str:
        """Where row `index` was read."""
        unit, number = self.places[index]
        return f"{unit} {number}"

    def take(self, chosen: np.ndarray) -> "Rows":
        """The rows of a bool [n] or of int [m] indices, in that order."""
        indices = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        listed = indices.tolist()
        return dataclasses.replace(
            self,
            texts=self.texts.take(indices),
            labels=[self.labels[i] for i in listed],
            places=self.places.take(indices),
            groups=[self.groups[i] for i in listed] if self.groups else (),
        )


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several files of one split."""
    lacking = [part.label_columns for part in parts if part.label_columns is not None]
    return Rows(
        Texts.joined([part.texts for part in parts]),
        [label for part in parts for label in part.labels],
        Places.joined([part.places for part in parts]),
        lacking[0] if lacking else None,
        parts[0].hint if parts else "",
        parts[0].class_names if parts else (),
        [group for part in parts for group in part.groups],
    )


def read_rows(table: Table, data: DataConfig, most: int = 0) -> Rows:
    """The rows of a table as the options want them.

    Its columns are joined, texts without a keyword are left out, mark-up is taken out. Rows without
    a text are left out and counted in a warning. A table with tabs in which the text column is
    missing may have the columns of the minBERT course.

    Args:
        table: is read to its end.
        data: the options.
        most: texts after which reading ends; 0: never.

    Raises:
        InputError: a row is bad, a column is missing, or a cell cannot be a text, label or group.
    """
    names = text_columns(data.text_column, table.columns, tabs=table.tabs)
    label_column = data.label_column
    if table.tabs and names == (COURSE_TEXT,) and data.text_column != COURSE_TEXT:
        label_column = COURSE_LABEL
    options = dict.fromkeys(names, "data.text_column")
    for option in ("group_column", "keyword_column"):
        if name := getattr(data, option):
            options[name] = f"data.{option}"

    def require_columns(columns: Collection[str]) -> None:
        for name, option in options.items():
            if columns:
                table.require_column(name, option)
            else:
                raise InputError(f"{table.name} holds no rows; one for each text is expected")

    if not table.open_ended:
        require_columns(table.columns)
    wanted = list(options)
    if label_column in table.columns and label_column not in options:
        # Of two columns of this name only the last would be read.
        table.require_column(label_column, "data.label_column")
        wanted.append(label_column)
    keywords = Keywords(data.keywords, data.keyword_characters) if data.keywords else None
    clean = CLEANERS[data.clean] if data.clean != "none" else None
    texts, labels, groups = TextsWriter(), list[Label](), list[str | None]()
    # Labels that are read again and again are kept once.
    known: dict[Label, Label] = {}
    class_names = table.class_names(label_column)
    # Where the file numbers named classes, -1 marks a row without a label (as on the hub).
    no_label = frozenset((*data.no_label, "-1") if class_names else data.no_label)
    units: dict[str, int] = {}
    which, numbers = array("q"), array("q")
    row, empty, several = None, 0, len(names) > 1
    for row in table.rows(wanted):
        cells = row.cells
        text, flaw = text_of(cells, names)
        if row.error or (flaw and flaw != EMPTY):
            raise InputError(f"{row.place}: {row.error or flaw}")
        # Where the first of several columns is empty there is no text, whatever the others hold.
        if flaw or (several and not text_of(cells, names[:1])[0]):
            empty += 1
            continue
        if keywords:
            searched = cells.get(data.keyword_column) if data.keyword_column else text
            if not keywords.in_text(searched):
                continue
        texts.append(clean(text) if clean else text)
        label = label_of(row, label_column, no_label)
        labels.append(known.setdefault(label, label))
        if data.group_column:
            groups.append(group_of(row, data.group_column))
        which.append(units.setdefault(row.unit, len(units)))
        numbers.append(row.number)
        if len(labels) == most:
            break
    # Files that say nothing of their columns beforehand have none without a row.
    require_columns(table.columns if row or table.schema else ())
    if empty:
        logger.warning("%s: %d empty texts left out", table.name, empty)
    return Rows(
        texts.finish(),
        labels,
        Places(list(units), np.array(which, np.int64), np.array(numbers, np.int64)),
        None if label_column in table.columns else tuple(table.columns),
        table.hint,
        class_names,
        groups,
    )


def read_file(file: Path, data: DataConfig) -> Rows:
    """The rows of one file in any format.

    Raises:
        InputError: as `read_rows`; or the file cannot be read.
    """
    table, named = open_file(file, data)
    if table.form:
        tell_once(f"{table.name}: {', '.join(table.form)}")
    return read_rows(table, texts_and_labels(data) if named else data)


def open_file(file: Path, data: DataConfig) -> tuple[Table, bool]:
    """The table in a file, and whether its columns are `text` and `label` whatever options say.

    Raises:
        InputError: the file cannot be read.
    """
    if ending_of(file) in FORMATS:
        return open_table(file, form=Form.of(data)), False
    kind = kind_of_text(file, data.encoding)
    if kind == "labels":
        return labelled_lines(file, data.encoding), True
    if kind == "table":
        lines = Lines(file, data.encoding)
        return separated_table(lines, ".tsv", Form.of(data), strict=True), False
    table = lines_of_text(file, data.encoding, f"{file} line")
    hint = "; lines with labels are 'label ||| text' or '__label__x text'"
    return dataclasses.replace(table, form=("one text a line",), hint=hint), True


def texts_and_labels(data: DataConfig) -> DataConfig:
    """The options for a table that calls its columns `text` and `label`, whatever others do."""
    return dataclasses.replace(data, text_column="text", label_column="label")


def row_ids(rows: Rows, form: Form | None = None, name: str = "id") -> list[str] | None:
    """The cells of a column of ids, stripped; None where a file of `rows` has no such column."""
    ids: dict[tuple[str, int], str] = {}
    for unit in rows.places.units:
        # "train.csv line" and "train.parquet row" are what rows are counted in.
        file = Path(unit.rpartition(" ")[0])
        table = open_table(file, form=form) if ending_of(file) in FORMATS else None
        if table is None or name not in table.columns:
            return None
        for row in table.rows([name]):
            ids[row.unit, row.number] = str(row.cells.get(name)).strip()
    return [ids[place] for place in rows.places]
