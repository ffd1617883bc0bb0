"""JSON: an object a line, an array of objects, or an object that holds one.

An array is parsed as a whole; JSON Lines are read one by one.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jaxattn.data.read.lines import Line, Lines
from jaxattn.data.read.tables import Row, Table, kind_of
from jaxattn.errors import InputError, listed, quoted

_BLANKS = re.compile(r"\s*")


def json_table(lines: Lines, ending: str) -> Table:
    """The table in a file of JSON or JSON Lines, whichever it holds.

    Args:
        lines: of the file.
        ending: of its name; a file that is called ".json" is parsed as a whole where its first line
            alone is no JSON, another one is JSON Lines with a bad row then.

    Raises:
        InputError: the file is one piece of JSON and cannot be read.
    """
    numbered = iter(lines)
    head: list[Line] = []
    # Two lines that are not blank tell one piece of JSON from JSON Lines.
    for line in numbered:
        if line[1].strip():
            head.append(line)
        if len(head) == 2:
            break
    form = list(lines.form)
    rows: Iterable[Row]
    unit = "line"
    if _is_one_piece([line for _, line, _ in head], ending):
        rows, found = _rows_of_piece(lines.name, [*head, *numbered])
        form, unit = form + found, "entry"
    else:
        rows = _rows_of_lines(lines.name, itertools.chain(head, numbered))
    columns: dict[str, None] = {}

    def told(rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            columns.update(dict.fromkeys(row.cells))
            yield row

    counted = told(rows)
    first = list(itertools.islice(counted, 1))
    return Table(
        lines.name, columns, lambda _: itertools.chain(first, counted),
        unit=unit, open_ended=True, form=tuple(form), share=lines.share,
    )  # fmt: skip


def _is_one_piece(head: Sequence[str], ending: str) -> bool:
    """Whether a file that begins with these lines is one piece of JSON, not a piece a line."""
    if not head or head[0].lstrip()[:1] not in ("[", "{"):
        return False
    array = head[0].lstrip().startswith("[")
    if array and len(head) == 1:
        return True
    try:
        value = json.loads(head[0])
    except json.JSONDecodeError as problem:
        # It goes on in the next line, which does not look like the next row.
        goes_on = problem.pos >= len(head[0].rstrip())
        opens = head[0].rstrip()[-1] in "[{,:"
        next_row = len(head) > 1 and head[1].lstrip().startswith("{") and not opens
        return goes_on and (array or (not next_row and (opens or ending == ".json")))
    except (ValueError, RecursionError):
        return False
    # Alone in its file it may hold the rows.
    return len(head) == 1 and _rows_inside(value) is not None


def _rows_of_lines(name: str, lines: Iterable[Line]) -> Iterator[Row]:
    unit = f"{name} line"
    for number, line, error in lines:
        if not line.strip():
            continue
        try:
            cells = json.loads(line.rstrip())
        except (ValueError, RecursionError) as problem:
            yield Row(unit, number, {}, error or _not_json(problem), line)
        else:
            yield _object(cells, unit, number, error, line)


def _rows_of_piece(name: str, lines: list[Line]) -> tuple[Iterator[Row], list[str]]:
    """The rows of a piece of JSON, and what there is to say of it."""
    for number, _, error in lines:
        if error:
            raise InputError(f"{name} line {number}: {error}")
    text = "".join(line for _, line, _ in lines)
    decoder, pieces, position = json.JSONDecoder(), [], _next(text, 0)
    while position < len(text):
        try:
            piece, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as problem:
            line = lines[min(getattr(problem, "lineno", 1), len(lines)) - 1][0]
            raise InputError(f"{name} line {line}: {_not_json(problem)}") from None
        pieces.append(piece)
        position = _next(text, position)
    told: list[str] = []
    rows = pieces if len(pieces) > 1 else pieces[0]
    if isinstance(rows, dict):
        inside = _rows_inside(rows, name)
        rows, where = inside if inside is not None else ([rows], "")
        told = [where] if where else []
    unit = f"{name} entry"
    return (_object(cells, unit, number) for number, cells in enumerate(rows, 1)), told


def _next(text: str, position: int) -> int:
    blanks = _BLANKS.match(text, position)
    return blanks.end() if blanks else position


def _rows_inside(piece: Any, name: str = "") -> tuple[list[Any], str] | None:
    """The rows that an object holds, and where; None if it is a row itself.

    Read are {"data": [{...}, ...]} whatever the name, and what pandas writes: columns of lists or
    of numbered cells, rows under names that are more than the columns, and
    {"columns": [...], "data": [[...], ...]}.

    Raises:
        InputError: there are several such lists, and `name` of a file is given.
    """
    if not isinstance(piece, dict) or not piece:
        return None
    columns, data = piece.get("columns"), piece.get("data")
    if isinstance(columns, list) and isinstance(data, list) and data and isinstance(data[0], list):
        return [dict(zip(columns, cells, strict=False)) for cells in data], 'rows in "data"'
    lists = [
        key
        for key, value in piece.items()
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    ]
    if len(lists) > 1 and name:
        raise InputError(
            f"{name} holds rows in {listed([quoted(key) for key in lists])}; write each of them "
            "into a file of its own (train.json, test.json)"
        )
    if len(lists) == 1:
        return piece[lists[0]], f'rows in "{lists[0]}"'
    values = list(piece.values())
    lengths = {len(value) if isinstance(value, list | dict) else -1 for value in values}
    if len(lengths) == 1 and len(values) > 1 and lengths.pop() > 1:
        if all(isinstance(value, list) for value in values):
            return [dict(zip(piece, row, strict=True)) for row in zip(*values, strict=True)], _BY
        if all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values):
            keys = values[0].keys()
            if len(piece) > len(keys):
                return values, "an object with a row under each name"
            return [{column: piece[column][key] for column in piece} for key in keys], _BY
    return None


_BY = "column by column"


def _object(cells: object, unit: str, number: int, error: str = "", line: str = "") -> Row:
    if isinstance(cells, dict):
        return Row(unit, number, cells, error)
    told = f"{quoted(cells)} ({kind_of(cells)}), expected an object with the names of columns"
    return Row(unit, number, {}, error or told, line)


def _not_json(problem: Exception) -> str:
    if isinstance(problem, json.JSONDecodeError):
        return f"not JSON: {problem.msg} (column {problem.colno})"
    return "nested too deeply" if isinstance(problem, RecursionError) else f"not JSON: {problem}"
