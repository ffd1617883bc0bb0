"""What to use: one sentence for a group of comparable runs, with how sure that is."""

import math

from jaxattn.evaluate.class_notes import unpredicted_in_runs
from jaxattn.report.comparison import Group
from jaxattn.report.setups import Setup, ratio

WITHIN_PP = 1.0
"""A cheaper configuration is preferred if it is shown to lose no more than this."""


_MOST_NOTES = 8
"""Of so many configurations it is told which classes they never predict."""


def choice(group: Group) -> Setup | None:
    """The configuration to use: the cheapest that is shown to be as good as the best.

    The best is chosen on validation. As good is one whose 95 % interval of the difference in test
    macro-F1 lies above -`WITHIN_PP` points. Cheap is a short epoch (of the baseline: its fit).
    """
    if not group.entries:
        return None
    best = group.entries[0]
    return min((s for s in group.entries if s is best or _as_good(s, best)), key=_time)


def answer(group: Group) -> list[str]:
    """The sentences: what to use and what it costs, against what, and how sure that is."""
    entries, chosen = group.entries, choice(group)
    if chosen is None:
        return ["No run has finished."]
    said = [
        f"Use {group.label(chosen)}: {_figures(chosen)}.{_unpredicted(chosen, ' {}.')}",
        _alternatives(group, chosen, [setup for setup in entries if setup is not chosen]),
    ]
    attention = next((setup for setup in entries if setup in group.setups), None)
    if chosen in group.baselines and attention is not None:
        said.append(f"Of the attentions {group.label(attention)} is best: {_figures(attention)}.")
    said += [
        f"{group.label(setup)}: {_unpredicted(setup, '{}.')}"
        for setup in entries[:_MOST_NOTES]
        if setup is not chosen and _unpredicted(setup, "{}")
    ]
    if any(setup.seeds == 1 for setup in entries if setup in group.setups):
        said.append(
            "Some configurations ran with one seed only: their intervals hold the chance of the "
            "test texts, not that of the seed."
        )
    return said


def _alternatives(group: Group, chosen: Setup, others: list[Setup]) -> str:
    """How the choice stands to the best, or the best to what is cheaper, or to the runner-up."""
    best = group.entries[0]
    if not others:
        return "There is nothing to compare it with."
    if chosen is not best:
        return (
            f"The best on validation is {group.label(best)} ({_figures(best)}); against it the "
            f"choice has {_difference(chosen, best)}."
        )
    cheaper = [setup for setup in others if _time(setup) < _time(chosen)]
    if not cheaper:
        rest = max(others, key=_f1)
        return (
            "It is the best on validation and the cheapest; "
            f"{group.label(rest)} has {_difference(rest, chosen)}."
        )
    listed = "; ".join(f"{group.label(s)} has {_difference(s, chosen)}" for s in cheaper[:4])
    return (
        "It is the best on validation, and nothing cheaper is shown to lose at most "
        f"{WITHIN_PP:g} pp: {listed}."
    )


def _figures(setup: Setup) -> str:
    """Test macro-F1 with its interval, time and memory in words."""
    said = f"test macro-F1 {100 * _f1(setup):.2f} %"
    if setup.interval is not None:
        sure = setup.interval.scaled(100)
        said += f" (95 % interval {sure.low:.2f} to {sure.high:.2f})"
    else:
        said += " (no interval: no saved predictions)"
    time = setup.mean("seconds_per_epoch")
    if time is not None:
        said += f", {time:,.1f} s {'to fit' if setup.kind == 'baseline' else 'per epoch'}"
    for field, name in (
        ("device_memory_mib", "of device memory"),
        ("resident_memory_mib", "of main memory"),
    ):
        memory = setup.mean(field)
        if memory is not None:
            said += f", {memory:,.0f} MiB {name}"
    return said


def _unpredicted(setup: Setup, form: str) -> str:
    """The classes that its runs never predict, as a sentence put into `form`; "" if none."""
    runs = [run.predictions for run in setup.finished if run.predictions is not None]
    note = unpredicted_in_runs(runs, "with {} of {} seeds") if runs else ""
    return form.format(note[0].upper() + note[1:]) if note else ""


def _f1(setup: Setup) -> float:
    return setup.mean("test_macro_f1") or 0.0


def _as_good(setup: Setup, best: Setup) -> bool:
    gap = setup.lead(best)
    return gap is not None and gap.low >= -WITHIN_PP


def _time(setup: Setup) -> float:
    time = setup.mean("seconds_per_epoch")
    return math.inf if time is None else time


def _difference(setup: Setup, other: Setup) -> str:
    """Macro-F1 gained or lost, and the time it takes in multiples of the other's."""
    gap = setup.lead(other)
    if gap is None:
        said = f"{100 * (_f1(setup) - _f1(other)):+z.2f} pp (no interval)"
    else:
        said = f"{gap.value:+z.2f} pp (95 % interval {gap.low:+z.2f} to {gap.high:+z.2f})"
    factor = ratio(setup.mean("seconds_per_epoch"), other.mean("seconds_per_epoch"))
    return said if factor is None else f"{said} at {factor:.2f} x its time"
