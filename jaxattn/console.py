"""What is said at the terminal: lines, tables, numbers as people write them."""

import sys
from collections.abc import Sequence


def duration(seconds: float) -> str:
    """Seconds in words that are short."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def say(text: str) -> None:
    """A line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


PLAIN_WIDTH = 180
"""Columns of the table where the output is no terminal and so has no width of its own."""


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table: the first column and words to the left, figures to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for place, heading in enumerate(headings):
        figures = place > 0 and all(row[place][:1].isdigit() or row[place] == "-" for row in rows)
        table.add_column(heading, justify="right" if figures else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    console.print(table)
