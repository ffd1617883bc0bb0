"""What each option that differs among the runs of an attention goes with."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from jaxattn.pictures import MUTED
from jaxattn.report.comparison import Group
from jaxattn.report.page.markup import Markup, figure, joined, number, percent, table_of, tag
from jaxattn.report.page.svg import added_chart
from jaxattn.report.record import RunRecord
from jaxattn.report.setups import Setup

_CHARTED = 6
"""Options of a sweep that get a chart; all get a table."""

_VALUES = 40
"""Of an option that is charted: more find no room beside each other."""

Effects = Mapping[tuple[str, str], Mapping[str, Sequence[RunRecord]]]
"""(attention, option) -> value -> finished runs."""


def effects(setups: Sequence[Setup]) -> Effects:
    """For each option that differs among the runs of an attention, these by its value.

    Options of other attentions, seeds and names are none.
    """
    effects: dict[tuple[str, str], dict[str, list[RunRecord]]] = {}
    for attention in dict.fromkeys(setup.attention for setup in setups):
        runs = [run for s in setups if s.attention == attention for run in s.finished]
        for path in runs[0].config if runs else ():
            if not _varies(path, attention):
                continue
            values: dict[str, list[RunRecord]] = {}
            for run in sorted(runs, key=lambda run: _order(run.config.get(path))):
                values.setdefault(str(run.config.get(path)), []).append(run)
            if len(values) > 1:
                effects[attention, path] = values
    return effects


def _varies(path: str, attention: str) -> bool:
    """Whether an option is one that a sweep may study."""
    sections = ("model.", "head.", "data.", "train.", "finetune.", f"attention.{attention}.")
    if path == "peft.method":
        return True
    return path.startswith(sections) and path not in ("train.seed", "data.path", "data.name")


def _order(value: object) -> tuple[bool, float, str]:
    """Numbers in their order, then words."""
    if isinstance(value, int | float):
        return False, float(value), str(value)
    return True, 0.0, str(value)


def effects_section(group: Group, salt: str) -> Markup:
    """A table of all these options, and charts of the first; empty where nothing differs."""
    rows: list[dict[str, object]] = []
    charts: list[Markup] = []
    for index, ((attention, option), values) in enumerate(effects(group.setups).items()):
        scores = {value: _known(runs, "test_macro_f1") for value, runs in values.items()}
        for value, runs in values.items():
            times = _known(runs, "seconds_per_epoch")
            rows.append(
                {
                    "option": option,
                    "attention": attention,
                    "value": value,
                    "runs": str(len(scores[value])),
                    "mean macro-F1 %": percent(fmean(scores[value])),
                    "best %": percent(max(scores[value])),
                    "s / epoch": number(fmean(times) if times else None, 1),
                }
            )
        if index < _CHARTED and len(values) <= _VALUES:
            _add_chart(charts, scores, f"{attention}: {option}", f"{salt}{index}")
    if not rows:
        return Markup("")
    return joined(
        tag("h3", "What differed, and what it went with"),
        tag("p", "Means over all runs with a value; where a grid is not full, other options may "
            "differ too.", class_="small"),
        figure(charts, "A mark a run; the line joins the means."),
        table_of(rows),
    )  # fmt: skip


def _known(runs: Sequence[RunRecord], field: str) -> list[float]:
    values = (getattr(run, field) for run in runs)
    return [value for value in values if value is not None]


def _add_chart(
    charts: list[Markup], scores: Mapping[str, Sequence[float]], option: str, salt: str
) -> None:
    """Test macro-F1 of each run by the value of an option, and the mean of each value."""
    with added_chart(charts, salt) as axes:
        for x, each in enumerate(scores.values()):
            axes.plot(
                [x] * len(each), [100 * score for score in each],
                linestyle="none", marker="o", markersize=6, alpha=0.6, color="#0072B2",
            )  # fmt: skip
        means = [100 * fmean(each) for each in scores.values()]
        axes.plot(range(len(means)), means, color=MUTED, linewidth=1.2, marker="_", markersize=14)
        axes.set_xticks(range(len(scores)), [name[:24] for name in scores])
        axes.set_xlim(-0.5, len(scores) - 0.5)
        axes.set(xlabel=option, ylabel="test macro-F1 (%)")
