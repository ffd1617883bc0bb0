"""The part of the page about how much of a model was trained, and what that was worth."""

from jaxattn.report.answer import label
from jaxattn.report.charts import quality_charts
from jaxattn.report.groups import Group
from jaxattn.report.markup import Markup, figure, joined, table, tag
from jaxattn.report.plot import TRAINED


def trained_part(group: Group, salt: str) -> Markup:
    """Quality, time and memory against trained parameters; empty where all trained the same."""
    setups = [setup for setup in group.entries if setup.finished[0].peft is not None]
    if len({setup.finished[0].peft_label for setup in setups}) < 2:
        return Markup("")
    rows = []
    for setup in sorted(setups, key=lambda each: each.mean("trainable_parameters") or 0.0):
        first = setup.finished[0]
        trained, every = first.trainable_parameters, first.parameters
        shown = {
            name: setup.mean(name)
            for name in ("seconds_per_epoch", "device_memory_mib", "resident_memory_mib")
        }
        score = setup.mean("test_macro_f1")
        rows.append(
            (
                first.peft_label,
                label(setup, group),
                None if trained is None else f"{trained:,}",
                None if first.added_parameters is None else f"{first.added_parameters:,}",
                f"{trained / every:.2%}" if trained is not None and every else None,
                str(setup.seeds),
                None if score is None else f"{100 * score:.2f}",
                *(None if value is None else f"{value:,.1f}" for value in shown.values()),
            )
        )
    headings = (
        "method", "configuration", "trained", "added", "share of all", "seeds", "macro-F1 %",
        "s / epoch", "device MiB", "resident MiB",
    )  # fmt: skip
    kept = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    return joined(
        tag("h3", "How much was trained"),
        table(
            [headings[place] for place in kept],
            [[row[place] for place in kept] for row in rows],
            "Parameters; trained are the head and what a method adds to the encoder.",
        ),
        figure(
            quality_charts(group, f"{salt}t", (TRAINED,)),
            "Test macro-F1 against trained parameters, a mark a run.",
        ),
    )
