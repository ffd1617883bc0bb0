"""Matplotlib figures as SVG that stands inside a page and takes the page's colours."""

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any

from jaxattn.pictures import INK, LINE, MUTED, PAPER

_COLOURS = {
    INK: "currentColor",
    PAPER: "var(--paper)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
}


@contextlib.contextmanager
def svg_style(salt: str) -> Iterator[None]:
    """Inside, figures are drawn for `inline_svg`; `salt` keeps the names in two charts apart.

    Labels stay text and are never read as mathematics.
    """
    import matplotlib

    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    settings: Any = dict.fromkeys(ink, INK) | {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "legend.frameon": False,
        "font.family": "sans-serif",
        "text.parse_math": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings):
        yield


def inline_svg(figure: Any) -> str:
    """The `<svg>` element: scaled to the page's width, without addresses, metadata or group names.

    Texts are escaped by matplotlib.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    width, height = (f"{72 * inches:g}" for inches in figure.get_size_inches())
    head = (
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}pt" '
        'role="img" focusable="false">'
    )
    text = head + text[text.index(">") + 1 :]
    # Between "<" and ">" there is no text of a label, so that no label is changed.
    return re.sub(r"<[^>]*>", lambda found: _own(found[0]), text).strip()


def _own(tag: str) -> str:
    """A tag without what is only for a file of its own, with the page's colours."""
    tag = tag.replace("xlink:href", "href")
    if tag.startswith("<g "):
        tag = re.sub(r' id="[^"]*"', "", tag, count=1)
    if tag.startswith("<!--"):
        return ""
    for colour, name in _COLOURS.items():
        tag = tag.replace(colour, name)
    return tag
