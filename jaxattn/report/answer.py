"""What to use: one sentence for a group of comparable runs, with how sure that is."""

import math

from jaxattn.evaluate.intervals import macro_f1_interval
from jaxattn.report.setups import Group, Setup, lead, ratio
from jaxattn.runs.kinds import BASELINE_ATTENTION

WITHIN_PP = 1.0
"""A cheaper configuration is preferred if it is shown to lose no more than this."""


def choice(group: Group) -> Setup | None:
    """The configuration to use: the cheapest that is shown to be as good as the best.

    The best is chosen on validation. As good is one whose 95 % interval of the difference in test
    macro-F1 lies above -`WITHIN_PP` points. Cheap is a short epoch (of the baseline: its fit).
    """
    entries = group.entries
    if not entries:
        return None
    best = entries[0]
    fit = [setup for setup in entries if setup is best or _as_good(setup, best)]
    return min(fit, key=_time)


def answer(group: Group) -> list[str]:
    """The sentences: what to use and what it costs, against what, and how sure that is."""
    entries, chosen = group.entries, choice(group)
    if chosen is None:
        return ["No run has finished."]
    best = entries[0]
    said = [f"Use {label(chosen, group)}: {figures(chosen)}."]
    others = [setup for setup in entries if setup is not chosen]
    if not others:
        said.append("There is nothing to compare it with.")
    elif chosen is not best:
        said.append(
            f"The best on validation is {label(best, group)} ({figures(best)}); against it the "
            f"choice has {_difference(chosen, best)}{_times(chosen, best)}."
        )
    else:
        cheaper = [setup for setup in others if _time(setup) < _time(chosen)]
        if cheaper:
            listed = "; ".join(
                f"{label(setup, group)} has {_difference(setup, chosen)}{_times(setup, chosen)}"
                for setup in cheaper[:4]
            )
            said.append(
                "It is the best on validation, and nothing cheaper is shown to lose at most "
                f"{WITHIN_PP:g} pp: {listed}."
            )
        else:
            rest = max(others, key=lambda setup: setup.mean("test_macro_f1") or 0.0)
            said.append(
                "It is the best on validation and the cheapest; "
                f"{label(rest, group)} has {_difference(rest, chosen)}{_times(rest, chosen)}."
            )
    if chosen in group.baselines and group.setups:
        attention = next((setup for setup in entries if setup in group.setups), None)
        if attention is not None:
            said.append(
                f"Of the attentions {label(attention, group)} is best: {figures(attention)}."
            )
    if any(setup.seeds == 1 for setup in entries if setup in group.setups):
        said.append(
            "Some configurations ran with one seed only: their intervals hold the chance of the "
            "test texts, not that of the seed."
        )
    return said


def label(setup: Setup, group: Group) -> str:
    """The attention, with the experiment where the group has it more than once."""
    same = [
        other for other in (*group.setups, *group.baselines) if other.attention == setup.attention
    ]
    name = setup.attention.replace(BASELINE_ATTENTION, "TF-IDF + LogReg")
    return name if len(same) == 1 else f"{name} ({setup.runs[0].exp})"


def figures(setup: Setup) -> str:
    """Test macro-F1 with its interval, time and memory in words."""
    f1 = setup.mean("test_macro_f1") or 0.0
    said = f"test macro-F1 {100 * f1:.2f} %"
    if setup.predictions:
        sure = macro_f1_interval(setup.predictions).scaled(100)
        said += f" (95 % interval {sure.low:.2f} to {sure.high:.2f})"
    else:
        said += " (no interval: no saved predictions)"
    time = setup.mean("seconds_per_epoch")
    if time is not None:
        said += f", {time:,.1f} s " + (
            "to fit" if setup.runs[0].kind == "baseline" else "per epoch"
        )
    for field, name in (
        ("device_memory_mib", "of device memory"),
        ("resident_memory_mib", "of main memory"),
    ):
        memory = setup.mean(field)
        if memory is not None:
            said += f", {memory:,.0f} MiB {name}"
    return said


def _as_good(setup: Setup, best: Setup) -> bool:
    gap = lead(setup.predictions, best.predictions)
    return gap is not None and gap.low >= -WITHIN_PP


def _time(setup: Setup) -> float:
    time = setup.mean("seconds_per_epoch")
    return math.inf if time is None else time


def _difference(setup: Setup, other: Setup) -> str:
    gap = lead(setup.predictions, other.predictions)
    if gap is None:
        value = 100 * ((setup.mean("test_macro_f1") or 0) - (other.mean("test_macro_f1") or 0))
        return f"{value:+.2f} pp (no interval)"
    return f"{gap.value:+.2f} pp (95 % interval {gap.low:+.2f} to {gap.high:+.2f})"


def _times(setup: Setup, other: Setup) -> str:
    factor = ratio(setup.mean("seconds_per_epoch"), other.mean("seconds_per_epoch"))
    return "" if factor is None else f" at {factor:.2f} x its time"
