"""What all pictures share: the look of each attention, and files written whole or not at all."""

from pathlib import Path
from typing import Any

from jaxattn.files import whole

DPI = 150

# Okabe and Ito's colours, which colour-blind readers can tell apart; the marker tells as well.
STYLES = {
    "sdpa": ("#0072B2", "o"),
    "reformer_lsh": ("#D55E00", "s"),
    "performer_favor": ("#009E73", "^"),
    "local": ("#E69F00", "v"),
}
"""Attention -> colour and marker."""

OTHER_STYLE = ("#CC79A7", "D")
"""Of an attention that is not among `STYLES`."""

INK, PAPER = "#010203", "#fdfcfb"
"""Text and background; inside a page the page's own take their place."""

MUTED, LINE = "#555555", "#bbbbbb"
"""What is less important, and what only guides the eye."""


def save_png(figure: Any, path: Path) -> None:
    """Writes a matplotlib figure whole or not at all."""
    with whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
