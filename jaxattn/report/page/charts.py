"""The charts of the page, each as one SVG element."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxattn.evaluate.calibration import calibration
from jaxattn.pictures import LINE, MUTED, OTHER_STYLE, STYLES
from jaxattn.report.page.plot import COSTS, Cost, draw_quality, label_runs
from jaxattn.report.page.svg import inline_svg, svg_style
from jaxattn.report.record import RunRecord
from jaxattn.report.setups import Group, Setup
from jaxattn.report.table import best_run
from jaxattn.runs.kinds import BASELINE_ATTENTION

NAMED = 12
"""Up to so many runs each has its name in a chart."""

_POINTS = 300


def quality_charts(group: Group, salt: str, costs: Sequence[Cost] = COSTS) -> list[str]:
    """Macro-F1 of the fine-tuned runs against each cost that was measured."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    runs = [run for run in group.runs if run.kind == "finetune" and run.test_macro_f1 is not None]
    scores = [setup.mean("test_macro_f1") for setup in group.baselines]
    level = max((score for score in scores if score is not None), default=None)
    charts = []
    for cost in costs:
        measured = [run for run in runs if getattr(run, cost[0]) is not None]
        if not measured:
            continue
        with svg_style(f"{salt}{cost[0]}"):
            figure, axes = _figure()
            canvas = FigureCanvasAgg(figure)
            draw_quality(axes, measured, level, cost)
            if len(measured) > NAMED:
                _legend(axes, [run.attention for run in measured])
            canvas.draw()
            figure.set_layout_engine("none")
            if len(measured) <= NAMED:
                label_runs(axes, measured, canvas.get_renderer(), cost)
            charts.append(inline_svg(figure))
    return charts


def learning_charts(group: Group, salt: str) -> list[str]:
    """Loss, then validation macro-F1, over epochs, from metrics.csv; none if no run has any."""
    found = [
        (run, points)
        for run in group.runs
        if (points := learning_curves(run.folder / "metrics.csv"))
    ]
    charts = []
    for name, factor, title in (
        ("loss", 1, "loss (nats)"), ("macro_f1", 100, "validation macro-F1 (%)"),
    ):  # fmt: skip
        if not any(metric == name for _, points in found for _, metric in points):
            continue
        with svg_style(f"{salt}{name}"):
            figure, axes = _figure()
            for run, points in found:
                for split, line, mark in (("train", ":", None), ("validation", "-", "o")):
                    curve = points.get((split, name), [])
                    axes.plot(
                        [x for x, _ in curve], [factor * y for _, y in curve],
                        color=_style(run.attention)[0],
                        linestyle=line, marker=mark, markersize=4, linewidth=1.3,
                    )  # fmt: skip
            _axes(axes, "epoch", title)
            _legend(axes, [run.attention for run, _ in found])
            charts.append(inline_svg(figure))
    return charts


def learning_curves(path: Path) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(split, metric) -> points (epoch, value) of a metrics.csv, at most about 300 of each.

    Rows and cells that are no numbers are left out; empty if the file cannot be read.
    """
    curves: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name in ("loss", "macro_f1"):
                    try:
                        point = float(row["epoch"]), float(row[name])
                    except (KeyError, TypeError, ValueError):
                        continue
                    curves[str(row.get("split")), name].append(point)
    except (OSError, ValueError, csv.Error):
        return {}
    return {key: points[:: max(1, len(points) // _POINTS)] for key, points in curves.items()}


def calibration_chart(group: Group, salt: str) -> str:
    """Reliability of the best run of each configuration; "" without predictions."""
    found = [(setup, best_run(setup)) for setup in group.entries]
    found = [(setup, run) for setup, run in found if run.predictions is not None]
    if not found:
        return ""
    with svg_style(salt):
        figure, axes = _figure()
        axes.plot([0, 100], [0, 100], color=LINE, linewidth=1.2)
        for _, run in found[:NAMED]:
            assert run.predictions is not None
            bins = calibration(run.predictions)
            colour, marker = _style(run.attention)
            axes.plot(
                [100 * x for x in bins.confidence], [100 * y for y in bins.right],
                color=colour, marker=marker, markersize=5, linewidth=1.3,
            )  # fmt: skip
        _axes(axes, "said probability (%)", "right (%)")
        _legend(axes, [run.attention for _, run in found[:NAMED]])
        return inline_svg(figure)


def effect_chart(values: Mapping[str, Sequence[float]], option: str, salt: str) -> str:
    """Test macro-F1 of each run by the value of an option, and the mean of each value."""
    with svg_style(salt):
        figure, axes = _figure()
        for place, scores in enumerate(values.values()):
            axes.plot(
                [place] * len(scores), [100 * score for score in scores],
                linestyle="none", marker="o", markersize=6, alpha=0.6, color="#0072B2",
            )  # fmt: skip
        means = [100 * sum(scores) / len(scores) for scores in values.values()]
        axes.plot(range(len(means)), means, color=MUTED, linewidth=1.2, marker="_", markersize=14)
        axes.set_xticks(range(len(values)), [name[:24] for name in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        _axes(axes, option, "test macro-F1 (%)")
        return inline_svg(figure)


def effects(setups: Sequence[Setup]) -> dict[tuple[str, str], dict[str, list[RunRecord]]]:
    """(attention, option) -> value -> finished runs, for each option that differs among them.

    Options of other attentions, seeds and names are none.
    """
    found: dict[tuple[str, str], dict[str, list[RunRecord]]] = {}
    for attention in dict.fromkeys(setup.attention for setup in setups):
        runs = [run for s in setups if s.attention == attention for run in s.finished]
        paths = [path for path in (runs[0].config if runs else {}) if _varies(path, attention)]
        for path in paths:
            values: dict[Any, list[RunRecord]] = {}
            for run in sorted(runs, key=lambda run: _sort_key(run.config.get(path))):
                values.setdefault(str(run.config.get(path)), []).append(run)
            if len(values) > 1:
                found[attention, path] = values
    return found


def _varies(path: str, attention: str) -> bool:
    """Whether an option is one that a sweep may study."""
    sections = ("model.", "head.", "data.", "train.", "finetune.", f"attention.{attention}.")
    if path == "peft.method":
        return True
    return path.startswith(sections) and path not in ("train.seed", "data.path", "data.name")


def _sort_key(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float)
    return not number, float(value) if number else 0.0, str(value)


def _style(attention: str | None) -> tuple[str, str]:
    if attention == BASELINE_ATTENTION:
        return MUTED, "x"
    return STYLES.get(attention or "", OTHER_STYLE)


def _figure() -> tuple[Any, Any]:
    """A figure with its axes, without pyplot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.9), layout="constrained")
    return figure, figure.add_subplot()


def _axes(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)


def _legend(axes: Any, attentions: Sequence[str | None]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for attention in dict.fromkeys(attentions):
        colour, marker = _style(attention)
        handles.append(
            Line2D([], [], color=colour, marker=marker, linestyle="none", label=str(attention))
        )
    axes.legend(handles=handles, fontsize=9, loc="best")
