"""Matplotlib charts as SVG that stands inside a page and takes the page's colours."""

import contextlib
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jaxattn.pictures import INK, LINE, MUTED, PAPER
from jaxattn.report.page.markup import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES = (5.4, 3.9)

_COLOURS = {
    INK: "currentColor",
    PAPER: "var(--paper)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
}


@contextlib.contextmanager
def added_chart(charts: list[Markup], salt: str) -> Iterator["Axes"]:
    """Axes to draw on; when the block ends, the chart is added to `charts`, as an `<svg>` element.

    `salt` keeps the names in two charts apart. Labels stay text and are never read as mathematics.
    """
    import matplotlib
    from matplotlib.figure import Figure

    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    settings: dict[Any, Any] = dict.fromkeys(ink, INK) | {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "legend.frameon": False,
        "font.family": "sans-serif",
        "text.parse_math": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=INCHES, layout="constrained")
        yield figure.add_subplot()
        charts.append(_inline(figure))


def _inline(figure: "Figure") -> Markup:
    """The `<svg>` element: scaled to the page's width, without addresses, metadata or group names.

    Texts are escaped by matplotlib.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    width, height = (f"{72 * inches:g}" for inches in INCHES)
    head = (
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}pt" '
        'role="img" focusable="false">'
    )
    text = head + text[text.index(">") + 1 :]
    # Between "<" and ">" there is no text of a label, so that no label is changed.
    return Markup(re.sub(r"<[^>]*>", lambda match: _of_the_page(match[0]), text).strip())


def _of_the_page(tag: str) -> str:
    """A tag without what is only for a file of its own, with the page's colours."""
    if tag.startswith("<!--"):
        return ""
    tag = tag.replace("xlink:href", "href")
    if tag.startswith("<g "):
        tag = re.sub(r' id="[^"]*"', "", tag, count=1)
    for colour, name in _COLOURS.items():
        tag = tag.replace(colour, name)
    return tag
