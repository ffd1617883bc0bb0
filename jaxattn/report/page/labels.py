"""Names beside the marks of a chart, where they cover nothing else if that can be."""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxattn.pictures import MUTED, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.text import Annotation
    from matplotlib.transforms import BboxBase

# Offsets of a label from its mark in points, with its alignment, in order of preference.
_OFFSETS = tuple(
    (dx * reach, dy * reach, "left" if dx > 0 else "right" if dx < 0 else "center")
    for reach in (1, 1.6, 2.4, 3.4, 5, 7)
    for dx, dy in ((10, 0), (0, 15), (0, -15), (-10, 0), (9, 10), (9, -10), (-9, 10), (-9, -10))
)

_NEAR = 20.0


def label_points(
    axes: "Axes",
    names: Sequence[str],
    points: Sequence[tuple[float, float]],
    renderer: "RendererBase",
) -> None:
    """Writes the name of each point next to it; the layout of the figure has to be settled."""
    marks = axes.transData.transform(points)
    obstacles = _obstacles(axes, marks, renderer)
    notes = [
        axes.annotate(
            name, point, xytext=(0, 0), textcoords="offset points", va="center", fontsize=11,
            linespacing=1.0, parse_math=False,
            # A halo: where a line does run through a label, the label stays readable.
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkB": 6},
        )
        for name, point in zip(names, points, strict=True)
    ]  # fmt: skip
    extents: dict[Annotation, BboxBase] = {}
    # The second and third pass let the first labels give way to those placed after them.
    for _ in range(3):
        for note, mark in zip(notes, marks, strict=True):
            taken = obstacles + [box for other, box in extents.items() if other is not note]
            extents[note] = _placed(note, mark, marks, taken, axes, renderer)


def _placed(
    note: "Annotation",
    mark: np.ndarray,
    marks: np.ndarray,
    taken: Sequence["BboxBase"],
    axes: "Axes",
    renderer: "RendererBase",
) -> "BboxBase":
    """Moves a label to the first offset with the fewest faults; returns its extent in pixels."""
    from matplotlib.text import Text

    def moved(offset: tuple[float, float, str]) -> "BboxBase":
        dx, dy, side = offset
        note.set(position=(dx, dy), horizontalalignment=side)
        note.update_positions(renderer)
        # The extent of the text alone: an annotation's own includes its leader line.
        return Text.get_window_extent(note, renderer)

    def faults(offset: tuple[float, float, str]) -> float:
        extent = moved(offset)
        inside = axes.bbox.contains(*extent.min) and axes.bbox.contains(*extent.max)
        covered = sum(extent.overlaps(other) for other in taken)
        # Next to another point's mark a label would be read as that point's.
        nearer = sum(_gap(extent, other) < _gap(extent, mark) for other in marks)
        return covered + 0.5 * nearer + (0 if inside else 3)

    best = min(_OFFSETS, key=faults)
    # A leader line only where the label had to go farther than next to its mark.
    if note.arrow_patch is not None:
        note.arrow_patch.set_visible(math.hypot(*best[:2]) > _NEAR)
    return moved(best)


def _gap(box: "BboxBase", point: np.ndarray) -> float:
    """Distance in pixels from a point to the nearest point of a box."""
    return math.hypot(*np.maximum(0, np.maximum(box.min - point, point - box.max)))


def _obstacles(axes: "Axes", marks: np.ndarray, renderer: "RendererBase") -> list["BboxBase"]:
    """Boxes in pixels that no label should cover: texts, marks and lines."""
    from matplotlib.transforms import Bbox

    boxes: list[BboxBase] = [note.get_window_extent(renderer) for note in axes.texts]
    reach = np.asarray(renderer.points_to_pixels(6))
    boxes += [Bbox([mark - reach, mark + reach]) for mark in marks]
    for line in axes.lines:
        # In pixels the staircase, the level lines and the intervals consist of upright and level
        # pieces, each of which is its own bounding box; a marker alone has none.
        path = line.get_transform().transform_path(line.get_path())
        for ends in itertools.pairwise(np.asarray(path.vertices)):
            boxes.append(Bbox([np.min(ends, axis=0) - 1, np.max(ends, axis=0) + 1]))
    return boxes
