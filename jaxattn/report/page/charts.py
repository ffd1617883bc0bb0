"""Quality against cost, and learning curves, of a group of comparable runs."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from jaxattn.report.comparison import Group
from jaxattn.report.page.markup import Markup
from jaxattn.report.page.plot import (
    COSTS,
    NAMED,
    Cost,
    apart,
    by_look,
    draw_quality,
    label_runs,
    legend,
    settled,
    with_cost,
)
from jaxattn.report.page.provenance import metrics_rows
from jaxattn.report.page.svg import added_chart
from jaxattn.report.setups import yardstick

_POINTS = 300


def quality_charts(group: Group, salt: str, costs: Sequence[Cost] = COSTS) -> list[Markup]:
    """Macro-F1 of the fine-tuned runs against each cost that was measured."""
    baseline = yardstick(group.baselines)
    charts: list[Markup] = []
    for cost in costs:
        runs = with_cost(group.setups, cost)
        if not runs:
            continue
        with added_chart(charts, f"{salt}{cost.field}") as axes:
            draw_quality(axes, group.setups, baseline, cost)
            if len(runs) <= NAMED:
                label_runs(axes, runs, settled(axes), cost)
            else:
                legend(axes, [run.attention for run in runs])
    return charts


def learning_charts(group: Group, salt: str) -> list[Markup]:
    """Loss, then validation macro-F1, over epochs, from metrics.csv; none if no run has any."""
    curves = [(run.attention, learning_curves(run.folder / "metrics.csv")) for run in group.runs]
    curves = [(attention, points) for attention, points in curves if points]
    charts: list[Markup] = []
    for name, factor, title in (
        ("loss", 1, "loss (nats)"), ("macro_f1", 100, "validation macro-F1 (%)"),
    ):  # fmt: skip
        if not any(metric == name for _, points in curves for _, metric in points):
            continue
        with added_chart(charts, f"{salt}{name}") as axes:
            for (colour, _), own in by_look(attention for attention, _ in curves).items():
                for split, line, mark in (("train", ":", None), ("validation", "-", "o")):
                    drawn = [curves[place][1].get((split, name), []) for place in own]
                    axes.plot(
                        *apart(([x for x, _ in c], [factor * y for _, y in c]) for c in drawn if c),
                        color=colour, linestyle=line, marker=mark, markersize=4, linewidth=1.3,
                    )  # fmt: skip
            axes.set(xlabel="epoch", ylabel=title)
            legend(axes, [attention for attention, _ in curves])
    return charts


def learning_curves(path: Path) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(split, metric) -> points (epoch, value) of a metrics.csv, at most about 300 of each.

    Rows and cells that are no numbers are left out.
    """
    curves: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in metrics_rows(path):
        for name in ("loss", "macro_f1"):
            try:
                point = float(row["epoch"]), float(row[name])
            except (KeyError, TypeError, ValueError):
                continue
            curves[str(row.get("split")), name].append(point)
    return {key: points[:: max(1, len(points) // _POINTS)] for key, points in curves.items()}
