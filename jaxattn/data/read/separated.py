"""Tables whose cells are separated by commas, tabs, semicolons or pipes.

Read with the standard library: every error can name its line, and no cell changes its type by
guessing ("NA" stays a text, a column of years stays strings).

With tabs **a line is a row**, as in the files of UCI, GLUE and Common Voice, where a quote mark is
text. Files that were written with quoted cells, as pandas does it, are read too: a cell that begins
and ends with a quote and doubles each one inside it was quoted, and a quote opens a cell of several
lines where its own line would have too few cells.
"""

import csv
import itertools
import logging
import re
from collections import deque
from collections.abc import Iterator, Sequence

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
from jaxattn.errors import InputError, listed, quoted

logger = logging.getLogger("jaxattn.data")

_LONGEST_CELL = 2**24
"""Characters of a cell where bad rows are told: what an unclosed quote can swallow."""

_MOST_LINES = 10_000
"""Of a cell in a file with tabs."""

# The first line of a row, with the error of the row; and its cells.
Cells = tuple[Line, list[str]]


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

    def cells(lines: Iterator[Line], name: str = "") -> Iterator[Cells]:
        if form.quotes == "text":
            return _plain_cells(lines, separator)
        if separator == "\t" and form.quotes == "auto":
            return _tab_cells(lines)
        return _quoted_cells(lines, separator, name, strict=strict)

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
    found = list(lines.form)
    if separator != usual:
        found.insert(
            0,
            next(f"separated by {name}s" for name, mark in SEPARATORS.items() if mark == separator),
        )
    if not has_header:
        found.append(f"no header (columns {listed(names)})")
    return Table(
        lines.name, tuple(names), lambda _: _rows(lines.name, names, rows),
        repeated=repeated_names(written), tabs=separator == "\t", form=tuple(found), hint=hint,
        share=lines.share,
    )  # fmt: skip


_NO_ROW: Cells = ((1, "", ""), [])


def _rows(name: str, names: Sequence[str], rows: Iterator[Cells]) -> Iterator[Row]:
    unit, width = f"{name} line", len(names)
    for (number, raw, error), cells in rows:
        if len(cells) == width:
            yield Row(unit, number, dict(zip(names, cells)), error)  # noqa: B905  # slower
        elif cells:
            left_over = f"; left over: {quoted(cells[width:])}" if cells[width:] else ""
            count = f"{len(cells)} cell{'s' if len(cells) > 1 else ''}"
            error = error or f"{count}, the header has {width}{left_over}"
            padded = itertools.zip_longest(names, cells[:width], fillvalue="")
            yield Row(unit, number, dict(padded), error)
        elif error:
            yield Row(unit, number, {}, error, raw)


def _plain_cells(lines: Iterator[Line], separator: str) -> Iterator[Cells]:
    """A line is a row, and quote marks are text."""
    for line in lines:
        text = line[1].rstrip("\r\n")
        yield line, text.split(separator) if text else []


def _tab_cells(lines: Iterator[Line]) -> Iterator[Cells]:
    """A line is a row, but for cells that were quoted."""
    again: deque[Line] = deque()

    def feed() -> Iterator[Line]:
        while True:
            if again:
                yield again.popleft()
            elif (line := next(lines, None)) is not None:
                yield line
            else:
                return

    width, all_quoted = 0, False
    coming = feed()
    for line in coming:
        text = line[1].rstrip("\r\n")
        cells = text.split("\t") if text else []
        if not cells:
            yield line, cells
            continue
        if not width:
            width = len(cells)
            all_quoted = all(len(c) > 1 and c[0] == '"' == c[-1] for c in cells)
        if '"' not in text:
            yield line, cells
            continue
        if len(cells) > width:
            cells = _with_tabs_inside(text, width) or cells
        elif _is_open(cells[-1]) and width > 1:
            taken = _several_lines(line, cells, width, coming)
            again.extend(taken)
        yield line, [_unquoted(cell, everything=all_quoted) for cell in cells]


def _is_open(cell: str) -> bool:
    """Whether a cell begins with a quote that is not closed in it."""
    return cell[:1] == '"' and not _closes(cell[1:])


def _closes(text: str) -> bool:
    """Whether a text ends with a quote that is not one of a pair."""
    return (len(text) - len(text.rstrip('"'))) % 2 == 1


def _several_lines(line: Line, cells: list[str], width: int, coming: Iterator[Line]) -> list[Line]:
    """Extends `cells` by the lines that its last cell goes on in; else returns those taken.

    A line between has no tab, and the row has the right number of cells in the end: whatever else
    looks like an open quote is text.
    """
    taken: list[Line] = []
    row, parts = cells[:-1], [cells[-1] + _end(line[1])]
    for following in itertools.islice(coming, _MOST_LINES):
        taken.append(following)
        first, *others = following[1].rstrip("\r\n").split("\t")
        if not _closes(first):
            if others:
                return taken
            parts.append(following[1])
            continue
        row += ["".join(parts) + first, *others]
        if len(row) == width and not (others and _is_open(others[-1])):
            cells[:] = row
            return []
        if len(row) > width or not others or not _is_open(others[-1]):
            return taken
        parts = [row.pop() + _end(following[1])]
    return taken


def _end(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _with_tabs_inside(line: str, width: int) -> list[str] | None:
    """The cells of a line in which quoted ones hold tabs; None if it cannot be read so."""
    try:
        cells = next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error:
        return None
    # They come unquoted; those that look quoted still are not to be unquoted again.
    return cells if len(cells) == width and not any(c[:1] == '"' == c[-1:] for c in cells) else None


def _unquoted(cell: str, *, everything: bool) -> str:
    """A cell as it was before it was quoted; itself if it was not.

    Programs quote a cell that holds a quote, a tab or a line end; or, as the header shows,
    everything.
    """
    if len(cell) < 2 or cell[0] != '"' or cell[-1] != '"':
        return cell
    inner = cell[1:-1]
    if '"' in inner:
        for doubled in ('""', '\\"') if everything else ('""',):
            if '"' not in inner.replace(doubled, ""):
                return inner.replace(doubled, '"')
        return cell
    return inner if everything or not inner or "\n" in inner or "\r" in inner else cell


def _quoted_cells(
    lines: Iterator[Line], separator: str, name: str, *, strict: bool
) -> Iterator[Cells]:
    """The rows of CSV; of the file `name`, "" where nothing is to be said of it.

    Where a row cannot be read (a quote is never closed) only its first line is lost: the lines
    after it are read again.
    """
    again: deque[Line] = deque()
    taken: list[Line] = []
    longest, told = 2**31 - 1 if strict else _LONGEST_CELL, not (strict and name)

    def feed() -> Iterator[str]:
        while again:
            taken.append(again.popleft())
            yield taken[-1][1]
        for line in lines:
            taken.append(line)
            yield line[1]

    reader = csv.reader(feed(), delimiter=separator, strict=True)
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
            reader = csv.reader(feed(), delimiter=separator, strict=True)
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
