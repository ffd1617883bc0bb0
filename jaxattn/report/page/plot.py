"""Quality against cost as a picture."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxattn.pictures import DPI, LINE, MUTED, OTHER_STYLE, STYLES, save_png
from jaxattn.report.comparison import Comparison
from jaxattn.report.page.labels import label_points
from jaxattn.report.record import RunRecord
from jaxattn.report.setups import Setup
from jaxattn.runs.kinds import BASELINE_LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase


class Cost(NamedTuple):
    """A cost that a panel can have on its axis: field of `RunRecord`, and title with unit."""

    field: str
    title: str


TIME = Cost("seconds_per_epoch", "time per epoch (s)")

COSTS = (
    TIME,
    Cost("device_memory_mib", "peak device memory (MiB)"),
    Cost("resident_memory_mib", "peak resident memory (MiB)"),
    Cost("milliseconds_a_text", "latency of one text (ms)"),
    Cost("joules_per_epoch", "energy per epoch (J)"),
)

TRAINED = Cost("trainable_parameters", "trained parameters")

NAMED = 12
"""Up to so many runs each has its name in a chart: of more, names would cover the marks."""

PANEL_INCHES = (7.0, 4.8)

DRAWN = 10
"""Of so many groups there are charts: of those with the most runs."""

LOG_SPREAD = 10.0
"""The axis of costs is logarithmic where the dearest run takes more than this times the least."""


def quality_against_cost(comparison: Comparison, path: Path) -> bool:
    """Draws test macro-F1 against seconds per epoch of the finished fine-tuning runs, as PNG.

    One panel for each data set and device, of more than `DRAWN` those with the most runs, drawn by
    `draw_quality`. Written whole or not at all.
    Returns False, and writes nothing, if no finished run has both values.
    """
    panels: dict[tuple[str, str], list[Setup]] = {}
    for setup in comparison.setups:
        if setup.kind == "finetune" and with_cost([setup], TIME):
            panels.setdefault((setup.data, setup.device), []).append(setup)
    if not panels:
        return False
    # A picture has at most 65,535 points a side, and a reader no use of more than these.
    kept = sorted(panels, key=lambda name: -_runs(panels[name]))[:DRAWN]
    panels = {name: setups for name, setups in panels.items() if name in kept}
    # The object interface without pyplot: no global state, and no display is ever looked for.
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * rows), dpi=DPI, layout="constrained")
    drawn = []
    for index, ((data, device), setups) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, index)
        draw_quality(axes, setups, comparison.baseline(data))
        # As text, not as mathematics: a "$" in a name must not be interpreted.
        axes.set_title(f"{data}\n{device}", fontsize=12, parse_math=False)
        runs = with_cost(setups, TIME)
        if len(runs) > NAMED:
            legend(axes, [run.attention for run in runs])
        drawn.append((axes, runs))
    renderer = settled(axes)
    for axes, runs in drawn:
        if len(runs) <= NAMED:
            label_runs(axes, runs, renderer)
    save_png(figure, path)
    return True


def style(attention: str | None) -> tuple[str, str]:
    """Colour and marker."""
    if attention in BASELINE_LABELS:
        return MUTED, "x"
    return STYLES.get(attention or "", OTHER_STYLE)


def by_look(attentions: Iterable[str | None]) -> dict[tuple[str, str], list[int]]:
    """Colour and marker -> the places of the attentions that have both, in their order."""
    places: dict[tuple[str, str], list[int]] = {}
    for place, attention in enumerate(attentions):
        places.setdefault(style(attention), []).append(place)
    return places


def apart(
    curves: Iterable[tuple[Sequence[float], Sequence[float]]],
) -> tuple[list[float], list[float]]:
    """Several curves (xs, ys) as one line with gaps, which is drawn much faster."""
    xs: list[float] = []
    ys: list[float] = []
    for x, y in curves:
        gap = [math.nan] if xs else []
        xs += [*gap, *x]
        ys += [*gap, *y]
    return xs, ys


def settled(axes: "Axes") -> "RendererBase":
    """Fixes the layout of the figure: labels are placed by their extent in pixels, known then."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = axes.figure
    assert isinstance(figure, Figure)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    renderer: RendererBase = canvas.get_renderer()
    return renderer


def with_cost(setups: Sequence[Setup], cost: Cost) -> list[RunRecord]:
    """The finished runs that have a test macro-F1 and this cost."""
    return [
        run
        for setup in setups
        for run in setup.finished
        if run.test_macro_f1 is not None and getattr(run, cost.field) is not None
    ]


def _runs(setups: Sequence[Setup]) -> int:
    return sum(len(setup.runs) for setup in setups)


def _point(run: RunRecord, cost: Cost) -> tuple[float, float]:
    """The cost and macro-F1 in percent."""
    assert run.test_macro_f1 is not None
    return getattr(run, cost.field), 100 * run.test_macro_f1


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, quality) points that no other matches or beats in both, from cheap to dear."""
    front: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((cost, quality))
    return front


def _staircase(front: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The border of what is reached: a quality is kept until the next better run is paid for."""
    xs, ys = [front[0][0]], [front[0][1]]
    for cost, quality in front[1:]:
        xs += [cost, cost]
        ys += [ys[-1], quality]
    return xs, ys


def draw_quality(
    axes: "Axes", setups: Sequence[Setup], baseline: Setup | None, cost: Cost = TIME
) -> None:
    """Draws test macro-F1 against a cost, without names: a mark for each run with both values.

    An upright line through the mean of each setup is its 95 % interval, as in the tables. A light
    staircase joins the runs that no other beats in both; the level of the baseline is a dashed line
    in a band, its interval.
    """
    from matplotlib.ticker import LogLocator, ScalarFormatter

    runs = with_cost(setups, cost)
    points = [_point(run, cost) for run in runs]
    costs, heights = [x for x, _ in points], [y for _, y in points]
    front = pareto_front(points)
    if len(front) > 1:
        axes.plot(*_staircase(front), color=LINE, linewidth=1.5, zorder=1)
    # One line for all marks of a look: a thousand lines take a quarter of a minute to draw.
    for look, own in by_look(run.attention for run in runs).items():
        axes.plot(
            [costs[i] for i in own], [heights[i] for i in own], marker=look[1], color=look[0],
            markersize=9, linestyle="none", zorder=3,
        )  # fmt: skip
    intervals = []
    for setup in setups:
        middle = setup.mean(cost.field)
        if middle is not None and setup.interval is not None:
            ends = (100 * setup.interval.low, 100 * setup.interval.high)
            heights += ends
            intervals.append((setup.attention, (middle, middle), ends))
    for (colour, _), own in by_look(attention for attention, _, _ in intervals).items():
        axes.plot(
            *apart([intervals[i][1:] for i in own]), color=colour, alpha=0.6, linewidth=1.3,
            marker="_", markersize=8, zorder=2,
        )  # fmt: skip
    if min(costs) > 0 and max(costs) > LOG_SPREAD * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter("")
        axes.set_xlim(min(costs) / 2, max(costs) * 2)
    else:
        margin = 0.25 * (max(costs) - min(costs)) or 0.5 * max(costs) or 1.0
        axes.set_xlim(max(0.0, min(costs) - margin), max(costs) + margin)
    if baseline is not None:
        heights += _draw_baseline(axes, baseline)
    margin = max(0.15 * (max(heights) - min(heights)), 0.3)
    axes.set_ylim(min(heights) - margin, max(heights) + margin)
    axes.set_xlabel(cost.title, fontsize=12)
    axes.set_ylabel("test macro-F1 (%)", fontsize=12)
    axes.tick_params(labelsize=11)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_baseline(axes: "Axes", baseline: Setup) -> list[float]:
    """Draws the level of the baseline with its name and interval; returns their heights."""
    level = 100 * (baseline.mean("test_macro_f1") or 0.0)
    axes.axhline(level, color=MUTED, linestyle="--", linewidth=1.2, zorder=1)
    axes.annotate(
        f"TF-IDF + logistic regression {level:.2f} %", (1, level),
        xycoords=("axes fraction", "data"), xytext=(-4, 4), textcoords="offset points",
        horizontalalignment="right", verticalalignment="bottom", fontsize=10, color=MUTED,
    )  # fmt: skip
    if baseline.interval is not None:
        low, high = 100 * baseline.interval.low, 100 * baseline.interval.high
        axes.axhspan(low, high, color=MUTED, alpha=0.1, linewidth=0, zorder=0)
        return [level, low, high]
    return [level]


def label_runs(
    axes: "Axes", runs: Sequence[RunRecord], renderer: "RendererBase", cost: Cost = TIME
) -> None:
    """Writes each run's attention next to its mark, and the run's name where several have it."""
    attentions = [run.attention or "unknown" for run in runs]
    names = [
        f"{name}\n({run.exp})" if attentions.count(name) > 1 else name
        for run, name in zip(runs, attentions, strict=True)
    ]
    label_points(axes, names, [_point(run, cost) for run in runs], renderer)


def legend(axes: "Axes", attentions: Sequence[str | None]) -> None:
    """Names each attention by its colour and marker."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=str(attention))
        for attention in dict.fromkeys(attentions)
        for colour, marker in [style(attention)]
    ]
    axes.legend(handles=handles, fontsize=9, loc="best")
