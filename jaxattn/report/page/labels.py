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
    choices = [_extents(note, renderer) for note in notes]
    taken = np.full((len(notes), 4), np.nan)
    chosen = np.zeros(len(notes), int)
    # The second and third pass let the first labels give way to those placed after them.
    for _ in range(3):
        for i, mark in enumerate(marks):
            others = np.concatenate([obstacles, np.delete(taken, i, axis=0)])
            faults = _overlaps(choices[i], others).sum(axis=1) + _misplaced(
                choices[i], mark, marks, np.asarray(axes.bbox.extents)
            )
            chosen[i] = faults.argmin()
            taken[i] = choices[i][chosen[i]]
    for note, (dx, dy, side) in zip(notes, (_OFFSETS[i] for i in chosen), strict=True):
        note.set(position=(dx, dy), horizontalalignment=side)
        # A leader line only where the label had to go farther than next to its mark.
        if note.arrow_patch is not None:
            note.arrow_patch.set_visible(math.hypot(dx, dy) > _NEAR)


def _extents(note: "Annotation", renderer: "RendererBase") -> np.ndarray:
    """Where a label lies at each of `_OFFSETS`, pixels [offsets, (x0, y0, x1, y1)]."""
    from matplotlib.text import Text

    at_mark = {}
    for side in ("left", "center", "right"):
        note.set(horizontalalignment=side)
        note.update_positions(renderer)
        # The extent of the text alone: an annotation's own includes its leader line.
        at_mark[side] = Text.get_window_extent(note, renderer).extents
    pixel = np.asarray(renderer.points_to_pixels(1))
    return np.array(
        [at_mark[side] + pixel * np.array([dx, dy, dx, dy]) for dx, dy, side in _OFFSETS]
    )


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether boxes [n, 4] touch others [m, 4], bool [n, m]; one that is NaN touches nothing."""
    one, other = boxes[:, None], others[None]
    touching = (one[..., :2] <= other[..., 2:]) & (other[..., :2] <= one[..., 2:])
    return np.asarray(touching.all(axis=-1))


def _misplaced(
    boxes: np.ndarray, mark: np.ndarray, marks: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """What speaks against boxes [n, 4] for a label of `mark`, [n].

    Next to another point's mark a label would be read as that point's; and it has to be `inside`.
    """
    nearer = (_gaps(boxes, marks) < _gaps(boxes, mark[None])).sum(axis=1)
    out = (boxes[:, :2] < inside[:2]).any(axis=1) | (boxes[:, 2:] > inside[2:]).any(axis=1)
    return np.asarray(0.5 * nearer + 3.0 * out)


def _gaps(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distances in pixels from points [m, 2] to the nearest point of boxes [n, 4], [n, m]."""
    low, high = boxes[:, None, :2] - points, points - boxes[:, None, 2:]
    return np.asarray(np.hypot(*np.moveaxis(np.maximum(0, np.maximum(low, high)), -1, 0)))


def _obstacles(axes: "Axes", marks: np.ndarray, renderer: "RendererBase") -> np.ndarray:
    """Boxes in pixels that no label should cover, [n, 4]: texts, marks and lines."""
    boxes = [np.asarray(note.get_window_extent(renderer).extents) for note in axes.texts]
    reach = np.asarray(renderer.points_to_pixels(6))
    boxes += [np.concatenate([mark - reach, mark + reach]) for mark in marks]
    for line in axes.lines:
        if line.get_linestyle() == "None":
            continue  # marks, which are in already
        # In pixels the staircase, the level lines and the intervals consist of upright and level
        # pieces, each of which is its own bounding box; what is next to a gap overlaps nothing.
        path = line.get_transform().transform_path(line.get_path())
        for ends in itertools.pairwise(np.asarray(path.vertices)):
            boxes.append(np.concatenate([np.min(ends, axis=0) - 1, np.max(ends, axis=0) + 1]))
    return np.array(boxes).reshape(-1, 4)
