"""Cells of CSV files that a spreadsheet shows as they are, and does not compute."""

import re

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")

# What begins a formula in Excel, LibreOffice or Google Sheets, after apostrophes of ours.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def safe(text: str) -> str:
    """`text`, with an apostrophe before it where a spreadsheet would take it for a formula.

    A number is one with its sign too. `plain` gives the text back.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def plain(cell: str) -> str:
    """The text of which `safe` made a cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
