"""Tables whose cells are separated by commas, tabs, semicolons or pipes.

Read with the standard library: every error can name its line, and no cell changes its type by
guessing ("NA" stays a text, a column of years stays strings).
"""

import csv
import itertools
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from jaxattn.data.read.form import (
    SAMPLE,
    SEPARATORS,
    Form,
    find_separator,
    is_header,
    names_without_header,
)
from jaxattn.data.read.lines import Line, Lines
from jaxattn.data.read.tables import Row, Table, repeated_names, unique_names
from jaxattn.data.read.tabs import Cells, tab_cells
from jaxattn.data.told import logger
from jaxattn.errors import InputError, listed, quoted

_LONGEST_CELL = 2**24
"""Characters of a cell where bad rows are told: what an unclosed quote can swallow."""

_MOST_LINES = 10_000
"""In which the quote that opens a cell is looked for."""


def separated_table(lines: Lines, ending: str, form: Form, *, strict: bool) -> Table:
    """The table in a file whose name has the ending ".csv" or ".tsv", or is told by `form`.

    Args:
        lines: of the file.
        ending: says the usual separator.
        form: what options say.
        strict: reading stops at the first bad row. Otherwise no unclosed quote swallows more than
            16 million characters.

    Raises:
        InputError: the first row cannot be read.
    """
    numbered = iter(lines)
    head = list(itertools.islice(numbered, SAMPLE))
    usual = "\t" if ending == ".tsv" else ","
    separator = SEPARATORS.get(form.separator, "")
    # A line in which Excel is told what separates.
    told = re.fullmatch(r'"?sep=(.)"?\s*', head[0][1]) if head else None
    if told and told[1] in SEPARATORS.values():
        separator, head = separator or told[1], head[1:]
    if head and not separator:
        complete = len(head) < SAMPLE
        separator = find_separator([line for _, line, _ in head], usual, complete=complete)
    separator = separator or usual
    first = head[0][1] if head else ""
    blanks = 0 < first.count(separator) == first.count(f"{separator} ")

    def cells(lines: Iterator[Line], name: str = "") -> Iterator[Cells]:
        if form.quotes == "text":
            return _plain_cells(lines, separator)
        if separator == "\t" and form.quotes == "auto":
            return tab_cells(lines)
        return _quoted_cells(lines, separator, name, strict=strict, blanks=blanks)

    # They are read twice, the first time to find out whether they have a header.
    sample = [found for _, found in cells(iter(head)) if found]
    has_header = form.header != "no" and (
        form.header == "yes" or not sample or is_header(sample[0], sample[1:], form.columns)
    )
    rows = cells(itertools.chain(head, numbered), lines.name)
    written, hint = list[str](), ""
    if has_header:
        (number, _, error), written = next((row for row in rows if row[1] or row[0][2]), _NO_ROW)
        if error:
            raise InputError(f"{lines.name} line {number}: {error}")
        written = [name.strip() for name in written]
        names = unique_names(written)
    else:
        names = names_without_header(sample) if sample else []
        if form.header == "auto":
            hint = (
                "; its first line looks like a row, so that the columns have no names of their "
                f"own: give them as in data.text_column={names[-1]}, or data.header=yes"
            )
    mark_of = {mark: name for name, mark in SEPARATORS.items()}
    mark = mark_of[separator]
    otherwise = ""
    if separator != usual and not form.separator:
        otherwise = f"; where {mark}s are text, give data.separator={mark_of[usual]}"
    advice = (
        f"a cell that holds a {mark} needs quotes{otherwise}",
        f"the row may be cut{otherwise}",
    )
    found = list(lines.form)
    if separator != usual:
        found.insert(0, f"separated by {mark}s")
    if not has_header:
        found.append(f"no header (columns {listed(names)})")
    # One column of texts may well hold the word that it is called by.
    header = written if len(written) > 1 else None
    return Table(
        lines.name, tuple(names),
        lambda _: _rows(lines.name, names, rows, header, advice, strict=strict),
        repeated=repeated_names(written), tabs=separator == "\t", form=tuple(found), hint=hint,
        share=lines.share,
    )  # fmt: skip


_NO_ROW: Cells = ((1, "", ""), [])


def _rows(
    name: str,
    names: Sequence[str],
    rows: Iterator[Cells],
    header: list[str] | None,
    advice: tuple[str, str],
    *,
    strict: bool,
) -> Iterator[Row]:
    """The rows; one in which the header stands again is bad, or where `strict` left out.

    `advice` is for rows of too many and of too few cells.
    """
    unit, width, repeated = f"{name} line", len(names), 0
    for (number, raw, error), cells in rows:
        if cells == header:
            repeated += 1
            if not strict:
                told = "the header of the file stands here again; take the line out"
                yield Row(unit, number, dict(zip(names, cells, strict=True)), told)
        elif len(cells) == width:
            yield Row(unit, number, dict(zip(names, cells)), error)  # noqa: B905  # slower
        elif cells:
            left_over = f"; left over: {quoted(cells[width:])}" if cells[width:] else ""
            count = f"{len(cells)} cell{'s' if len(cells) > 1 else ''}"
            mend = advice[0] if cells[width:] else advice[1]
            error = error or f"{count}, the header has {width}{left_over}; {mend}"
            padded = itertools.zip_longest(names, cells[:width], fillvalue="")
            yield Row(unit, number, dict(padded), error)
        elif error:
            yield Row(unit, number, {}, error, raw)
    if repeated and strict:
        logger.warning(
            "%s: %d rows in which the header stands again are left out, as where files were put "
            "together", name, repeated,
        )  # fmt: skip


def _plain_cells(lines: Iterator[Line], separator: str) -> Iterator[Cells]:
    """A line is a row, and quote marks are text."""
    for line in lines:
        text = line[1].rstrip("\r\n")
        yield line, text.split(separator) if text else []


def _quoted_cells(
    lines: Iterator[Line], separator: str, name: str, *, strict: bool, blanks: bool
) -> Iterator[Cells]:
    """The rows of CSV; of the file `name`, "" where nothing is to be said of it.

    With `blanks` those after a separator are no part of a cell.

    Where a row cannot be read (a quote is never closed) only its first line is lost: the lines
    after it are read again.
    """
    again: deque[Line] = deque()
    taken: list[Line] = []
    longest, told = 2**31 - 1 if strict else _LONGEST_CELL, not (strict and name)

    dialect: Any = {"delimiter": separator, "strict": True, "skipinitialspace": blanks}

    def feed() -> Iterator[str]:
        while again:
            taken.append(again.popleft())
            yield taken[-1][1]
        for line in lines:
            taken.append(line)
            yield line[1]

    reader = csv.reader(feed(), **dialect)
    while True:
        taken.clear()
        # The default of 128 KiB is less than a long document; and it is the whole process's.
        limit = csv.field_size_limit(longest)
        try:
            cells = next(reader, None)
        except csv.Error as problem:
            opened = _open_quote(taken, separator)
            first = opened if strict else taken[0][0]
            error = _in_words(str(problem), opened if opened != first else 0)
            yield (first, taken[0][1], error), []
            again.extendleft(reversed(taken[1:]))
            reader = csv.reader(feed(), **dialect)
            continue
        finally:
            csv.field_size_limit(limit)
        if cells is None:
            return
        error = ""
        if len(taken) == 1:
            error = taken[0][2]
        else:
            error = next((error for _, _, error in taken if error), "")
            if not told and _look_like_rows(taken, separator, len(cells)):
                told = True
                logger.warning(
                    "%s: lines %d to %d are read as one row, because a quote opens in the first "
                    "of them, but each looks like a row of its own: if quote marks are text in "
                    "this file, give data.quotes=text", name, taken[0][0], taken[-1][0],
                )  # fmt: skip
        yield (*taken[0][:2], error), cells


def _look_like_rows(taken: Sequence[Line], separator: str, width: int) -> bool:
    return len(taken) > 3 and all(line.count(separator) == width - 1 for _, line, _ in taken)


def _open_quote(taken: Sequence[Line], separator: str) -> int:
    """The line in which the last quoted cell of a row begins."""
    opens = re.compile(rf'(?:^|{re.escape(separator)})"')
    closes = re.compile(r'(?:[^"]|"")*"(?!")')
    opened, inside = taken[0][0], False
    for number, line, _ in taken[:_MOST_LINES]:
        position = 0
        while True:
            match = (closes.match if inside else opens.search)(line, position)
            if match is None:
                break
            position, inside = match.end(), not inside
            if inside:
                opened = number
    return opened


def _in_words(problem: str, opened: int) -> str:
    where = f"in line {opened}" if opened else "here"
    double = 'a quote mark inside a quoted cell is written twice ("")'
    if "unexpected end" in problem:
        return (
            f"a quote opens {where} and is never closed: take it out, or where quote marks are "
            "text give data.quotes=text"
        )
    if "expected after" in problem:
        return (
            f"a quoted cell begins {where}, and text follows its closing quote: {double}; where "
            "quote marks are text give data.quotes=text"
        )
    if "new-line character" in problem:
        return "a carriage return stands in the middle of a cell: take it out or quote the cell"
    if "field limit" in problem:
        return f"a quote opens {where} and is not closed within {_LONGEST_CELL:,} characters"
    return f"not a row of the table ({problem})"
