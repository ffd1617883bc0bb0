"""Cost against length, and error by layer, as pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxattn.console import MIB
from jaxattn.pictures import DPI, OTHER_STYLE, STYLES, save_png
from jaxattn.profile.errors import LayerError
from jaxattn.profile.rows import Row, points
from jaxattn.profile.variants import FORWARD_BACKWARD, STEP

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = (6.0, 4.4)

NARROW_INCHES = (4.4, 4.0)

# Line and marker face of the implementations of exact attention, which share a colour.
_WAYS = {"": ("-", None), "xla": ("-", None), "blockwise": ("--", "white"), "cudnn": (":", "white")}

_TITLES = {
    FORWARD_BACKWARD: "attention, forward + backward",
    STEP: "training step, whole model",
}

_COLUMNS = (("seconds", 1e3, "time (ms)"), ("temporary_bytes", 1 / MIB, "temporary memory (MiB)"))

_ERRORS = (
    ("output_error", "error of the output / exact output"),
    ("mass_kept", "attention mass kept"),
    ("recall", "recall of the 8 largest weights"),
)


def _figure(rows: int, columns: int, panel: tuple[float, float]) -> "Figure":
    # The object interface without pyplot: no global state, and no display is ever looked for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = panel
    figure = Figure(figsize=(width * columns, height * rows + 0.6), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _line(axes: "Axes", label: str, values: Mapping[int, float]) -> None:
    attention, _, way = label.partition(" ")
    colour, marker = STYLES.get(attention, OTHER_STYLE)
    line, face = _WAYS.get(way, ("-", None))
    axes.plot(
        list(values), list(values.values()), linestyle=line, marker=marker, color=colour,
        markerfacecolor=face or colour, markersize=7, linewidth=1.8, label=label,
    )  # fmt: skip


def _finish(axes: "Axes", xlabel: str, ylabel: str) -> None:
    axes.set_xlabel(xlabel, fontsize=12)
    axes.set_ylabel(ylabel, fontsize=12)
    axes.tick_params(labelsize=11)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legend(figure: "Figure") -> None:
    """One legend for all panels, below them: it can cover nothing there."""
    lines: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            lines.setdefault(label, handle)
    figure.legend(
        lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines), fontsize=11,
        frameon=False,
    )  # fmt: skip


def cost_against_length(table: Sequence[Row], title: str, path: Path) -> bool:
    """Draws time and temporary memory against the length, both logarithmic, as PNG.

    The upper panels are the attention alone, the lower ones the whole training step if any was
    measured. Returns False, and writes nothing, if nothing was measured.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    shown = [
        what
        for what in (FORWARD_BACKWARD, STEP)
        if any(row.what == what and row.seconds is not None for row in table)
    ]
    if not shown:
        return False
    lengths = sorted({row.length for row in table})
    labels = list(dict.fromkeys(row.name for row in table))
    figure = _figure(len(shown), len(_COLUMNS), PANEL_INCHES)
    for place, what in enumerate(shown):
        for side, (column, factor, ylabel) in enumerate(_COLUMNS):
            axes = figure.add_subplot(len(shown), len(_COLUMNS), place * len(_COLUMNS) + side + 1)
            for label in labels:
                values = points(table, label, what, column)
                if values:
                    _line(axes, label, {x: factor * y for x, y in values.items()})
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.xaxis.set_major_locator(FixedLocator(lengths))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
            low, high = axes.get_ylim()
            axes.yaxis.set_major_locator(LogLocator(subs=(1,) if high > 1000 * low else (1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
            axes.yaxis.set_minor_formatter("")
            axes.set_xlim(lengths[0] / 1.15, lengths[-1] * 1.15)
            axes.set_title(_TITLES[what], fontsize=12)
            _finish(axes, "length (tokens)", ylabel)
    # As text, not as mathematics: a "$" in a name must not be interpreted.
    figure.suptitle(title, fontsize=12, parse_math=False)
    _legend(figure)
    save_png(figure, path)
    return True


def error_by_layer(table: Sequence[LayerError], title: str, path: Path) -> bool:
    """Draws output error, mass kept and recall against the layer, as PNG.

    Args:
      table: one row for each attention and layer.
      title: what was measured.
      path: of the picture.

    Returns:
      False, and nothing is written, where the table is empty.
    """
    from matplotlib.ticker import MaxNLocator

    if not table:
        return False
    figure = _figure(1, len(_ERRORS), NARROW_INCHES)
    for place, (column, ylabel) in enumerate(_ERRORS, start=1):
        axes = figure.add_subplot(1, len(_ERRORS), place)
        for attention in dict.fromkeys(row.attention for row in table):
            errors = {r.layer: getattr(r, column) for r in table if r.attention == attention}
            _line(axes, attention, errors)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        # Shares end at 1; an error may be larger.
        top = max(1.0, *(row.output_error for row in table)) if column == "output_error" else 1.0
        axes.set_ylim(-0.03 * top, 1.03 * top)
        _finish(axes, "layer", ylabel)
    figure.suptitle(title, fontsize=12, parse_math=False)
    _legend(figure)
    save_png(figure, path)
    return True
