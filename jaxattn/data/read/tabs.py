"""Cells between tabs, where **a line is a row**.

A quote mark is text, as in the files of UCI, GLUE and Common Voice. Files that were written with
quoted cells, as pandas does it, are read too: a cell that begins and ends with a quote and doubles
each one inside it was quoted, and a quote opens a cell of several lines where its own line would
have too few cells.
"""

import csv
import itertools
from collections import deque
from collections.abc import Iterator

from jaxattn.data.read.lines import Line

# The first line of a row, with the error of the row; and its cells.
Cells = tuple[Line, list[str]]

_MOST_LINES = 10_000
"""Of a cell."""


def tab_cells(lines: Iterator[Line]) -> Iterator[Cells]:
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
