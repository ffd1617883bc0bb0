"""Pieces of HTML. Every text that comes in is escaped here, whatever it is."""

import html
import re
from collections.abc import Mapping, Sequence

_NUMBER = r"[+-]?\d[\d,.]*(e[+-]?\d+)?"

_FIGURES = re.compile(rf"–|{_NUMBER}( to {_NUMBER}| \({_NUMBER} to {_NUMBER}\))?")


class Markup(str):
    """HTML that is safe to stand in the page: made by this module or by matplotlib."""


def text(value: object) -> Markup:
    """A value as text; `Markup` stays as it is, None is a dash."""
    if isinstance(value, Markup):
        return value
    return Markup("–" if value is None or value == "" else html.escape(str(value), quote=True))


def percent(value: float | None) -> str | None:
    """A share of 1 in percent."""
    return None if value is None else f"{100 * value:.2f}"


def number(value: float | None, digits: int = 0) -> str | None:
    """A number with so many digits after the point."""
    return None if value is None else f"{value:,.{digits}f}"


def tag(name: str, *inside: object, **attributes: str) -> Markup:
    """An element with content and attributes; `class_` is class."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value, quote=True)}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{given}>{''.join(map(text, inside))}</{name}>")


def joined(*parts: Markup) -> Markup:
    """Elements one after the other."""
    return Markup("\n".join(part for part in parts if part))


def table(
    headings: Sequence[object], rows: Sequence[Sequence[object]], caption: str = ""
) -> Markup:
    """A table that scrolls sideways on its own where the page is narrow.

    Cells that look like figures are aligned to the right; the first column heads its row.
    """
    head = tag("tr", *(tag("th", heading, scope="col") for heading in headings))
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(_cell(value) for value in row[1:]))
        for row in rows
    ]
    parts = [tag("caption", caption)] if caption else []
    return tag(
        "div", tag("table", *parts, tag("thead", head), tag("tbody", *body)), class_="scroll"
    )


def table_of(rows: Sequence[Mapping[str, object]], caption: str = "") -> Markup:
    """A table of rows with the same headings; a heading that no row has a value for is left out."""
    headings = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)]
    return table(headings, [[row[name] for name in headings] for row in rows], caption)


def figure(charts: Sequence[Markup], caption: str) -> Markup:
    """Charts beside each other, where there is room, with their caption; nothing without charts."""
    if not charts:
        return Markup("")
    inside = tag("div", *(tag("div", chart) for chart in charts), class_="many")
    return tag("figure", inside, tag("figcaption", caption))


def details(summary: object, *inside: Markup) -> Markup:
    """A part that is shown on demand, and printed as it is shown."""
    return tag("details", tag("summary", summary), *inside)


def _cell(value: object) -> Markup:
    shown = text(value)
    return tag("td", shown, class_="n") if _FIGURES.fullmatch(shown) else tag("td", shown)
