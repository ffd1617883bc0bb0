"""Quality against cost as a picture."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxattn.pictures import DPI, LINE, MUTED, OTHER_STYLE, PAPER, STYLES, save_png
from jaxattn.report.record import RunRecord
from jaxattn.report.setups import best_baselines, data_headings

TIME = ("seconds_per_epoch", "time per epoch (s)")

DEVICE_MEMORY = ("device_memory_mib", "peak device memory (MiB)")

RESIDENT_MEMORY = ("resident_memory_mib", "peak resident memory (MiB)")

LATENCY = ("milliseconds_a_text", "latency of one text (ms)")

ENERGY = ("joules_per_epoch", "energy per epoch (J)")

TRAINED = ("trainable_parameters", "trained parameters")

Cost = tuple[str, str]
"""A cost that a panel can have on its axis: field of `RunRecord`, and title with unit."""

COSTS: tuple[Cost, ...] = (TIME, DEVICE_MEMORY, RESIDENT_MEMORY, LATENCY, ENERGY)

PANEL_INCHES = (7.0, 4.8)

LOG_SPREAD = 10.0
"""The time axis is logarithmic where the slowest run takes more than this times the fastest."""

# Offsets of a label from its marker in points, with its alignment, in order of preference.
_PLACES = tuple(
    (dx * reach, dy * reach, "left" if dx > 0 else "right" if dx < 0 else "center")
    for reach in (1, 1.6, 2.4, 3.4, 5, 7)
    for dx, dy in ((10, 0), (0, 15), (0, -15), (-10, 0), (9, 10), (9, -10), (-9, 10), (-9, -10))
)

_NEAR = 20.0


def quality_against_cost(records: Sequence[RunRecord], path: Path) -> bool:
    """Draws test macro-F1 against seconds per epoch of the finished fine-tuning runs, as PNG.

    One panel for each data set and device; the TF-IDF baseline of the data is a dashed line, and
    a light staircase joins the runs that no other beats in both. Written whole or not at all.
    Returns False, and writes nothing, if no finished run has both values.
    """
    headings, baselines = data_headings(records), best_baselines(records)
    panels: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        measured = record.test_macro_f1 is not None and record.seconds_per_epoch is not None
        if record.kind == "finetune" and record.finished and measured:
            key = headings[record.folder], record.device or "unknown device"
            panels.setdefault(key, []).append(record)
    if not panels:
        return False
    # The object interface without pyplot: no global state, and no display is ever looked for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * rows), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    drawn = []
    for index, ((data, device), runs) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, index)
        draw_quality(axes, runs, baselines[data].test_macro_f1 if data in baselines else None)
        # As text, not as mathematics: a "$" in a name must not be interpreted.
        axes.set_title(f"{data}\n{device}", fontsize=12, parse_math=False)
        drawn.append((axes, runs))
    # Labels are placed by their extent in pixels, known only when the layout is settled.
    canvas.draw()
    figure.set_layout_engine("none")
    for axes, runs in drawn:
        label_runs(axes, runs, canvas.get_renderer())
    save_png(figure, path)
    return True


def _point(run: RunRecord, cost: Cost) -> tuple[float, float]:
    """The cost and macro-F1 in percent."""
    value = getattr(run, cost[0])
    assert value is not None and run.test_macro_f1 is not None
    return value, 100 * run.test_macro_f1


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
    axes: Any, runs: Sequence[RunRecord], baseline: float | None, cost: Cost = TIME
) -> None:
    """Draws test macro-F1 of `runs`, which all have both values, against a cost, without names."""
    from matplotlib.ticker import LogLocator, ScalarFormatter

    points = [_point(run, cost) for run in runs]
    costs = [x for x, _ in points]
    front = pareto_front(points)
    if len(front) > 1:
        axes.plot(*_staircase(front), color=LINE, linewidth=1.5, zorder=1)
    for run, (x, y) in zip(runs, points, strict=True):
        colour, marker = STYLES.get(run.attention or "", OTHER_STYLE)
        axes.plot(x, y, marker=marker, color=colour, markersize=9, linestyle="none", zorder=3)
    if min(costs) > 0 and max(costs) > LOG_SPREAD * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter("")
        axes.set_xlim(min(costs) / 2, max(costs) * 2)
    else:
        margin = 0.25 * (max(costs) - min(costs)) or 0.5 * max(costs) or 1.0
        axes.set_xlim(max(0.0, min(costs) - margin), max(costs) + margin)
    heights = [y for _, y in points]
    if baseline is not None:
        heights.append(_draw_baseline(axes, 100 * baseline))
    margin = max(0.15 * (max(heights) - min(heights)), 0.3)
    axes.set_ylim(min(heights) - margin, max(heights) + margin)
    axes.set_xlabel(cost[1], fontsize=12)
    axes.set_ylabel("test macro-F1 (%)", fontsize=12)
    axes.tick_params(labelsize=11)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_baseline(axes: Any, level: float) -> float:
    """Draws the level of the baseline, in percent, with its name; returns the level."""
    axes.axhline(level, color=MUTED, linestyle="--", linewidth=1.2, zorder=1)
    axes.annotate(
        f"TF-IDF + logistic regression {level:.2f} %",
        (1, level),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 4),
        textcoords="offset points",
        horizontalalignment="right",
        verticalalignment="bottom",
        fontsize=10,
        color=MUTED,
    )
    return level


def label_runs(axes: Any, runs: Sequence[RunRecord], renderer: Any, cost: Cost = TIME) -> None:
    """Writes each run's name next to its marker, where it covers nothing else if that can be."""
    names = [run.attention or "unknown" for run in runs]
    points = [_point(run, cost) for run in runs]
    markers = axes.transData.transform(points)
    obstacles = _obstacles(axes, markers, renderer)
    notes = [
        axes.annotate(
            f"{name}\n({run.exp})" if names.count(name) > 1 else name,
            point,
            xytext=(0, 0),
            textcoords="offset points",
            va="center",
            fontsize=11,
            linespacing=1.0,
            parse_math=False,
            # A halo: where a line does run through a label, the label stays readable.
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
            arrowprops={
                "arrowstyle": "-",
                "color": MUTED,
                "linewidth": 0.6,
                "shrinkB": 6,
            },
        )
        for run, name, point in zip(runs, names, points, strict=True)
    ]
    extents: dict[Any, Any] = {}
    # The second and third pass let the first labels give way to those placed after them.
    for _ in range(3):
        for note, own in zip(notes, markers, strict=True):
            taken = obstacles + [box for other, box in extents.items() if other is not note]
            extents[note] = _best_place(note, own, markers, axes, taken, renderer)


def _best_place(
    note: Any, own: Any, markers: Any, axes: Any, taken: Sequence[Any], renderer: Any
) -> Any:
    """Moves a label to the first place with the fewest faults; returns its extent in pixels."""
    from matplotlib.text import Text

    best: tuple[float, tuple, Any] | None = None
    for place in _PLACES:
        dx, dy, side = place
        note.set(position=(dx, dy), horizontalalignment=side)
        note.update_positions(renderer)
        # The extent of the text alone: an annotation's own includes its leader line.
        extent = Text.get_window_extent(note, renderer)
        inside = all(
            axes.bbox.contains(x, y) for x, y in ((extent.x0, extent.y0), (extent.x1, extent.y1))
        )
        faults = 0.0 if inside else 3.0
        faults += sum(extent.overlaps(other) for other in taken)
        # Next to another run's marker a label would be read as that run's.
        faults += 0.5 * sum(_gap(extent, m) < _gap(extent, own) for m in markers)
        if best is None or faults < best[0]:
            best = faults, place, extent
    assert best is not None
    dx, dy, side = best[1]
    note.set(position=(dx, dy), horizontalalignment=side)
    # A leader line only where the label had to go farther than next to its marker.
    note.arrow_patch.set_visible(math.hypot(dx, dy) > _NEAR)
    return best[2]


def _gap(box: Any, point: Any) -> float:
    """Distance in pixels from a point to the nearest point of a box."""
    dx = max(box.x0 - point[0], point[0] - box.x1, 0.0)
    dy = max(box.y0 - point[1], point[1] - box.y1, 0.0)
    return math.hypot(dx, dy)


def _obstacles(axes: Any, markers: Any, renderer: Any) -> list[Any]:
    """Boxes in pixels that no label should cover: texts, markers and lines."""
    from matplotlib.transforms import Bbox

    boxes = [note.get_window_extent(renderer) for note in axes.texts]
    reach = 6 * renderer.points_to_pixels(1)
    for x, y in markers:
        boxes.append(Bbox([[x - reach, y - reach], [x + reach, y + reach]]))
    for line in axes.lines:
        # In pixels the staircase and the level lines consist of upright and level pieces, each
        # of which is its own bounding box; a marker alone has none.
        path = line.get_transform().transform_path(line.get_path())
        ends = path.vertices
        for (x0, y0), (x1, y1) in itertools.pairwise(ends):
            left, right, low, high = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
            boxes.append(Bbox([[left - 1, low - 1], [right + 1, high + 1]]))
    return boxes
