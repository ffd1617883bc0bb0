"""The user's criteria WNF-1 (cost) and WNF-2 (quality), judged on what was measured."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxattn.evaluate.intervals import Interval
from jaxattn.report.record import RunRecord
from jaxattn.report.setups import (
    Setup,
    best_baselines,
    data_headings,
    group_setups,
    lead,
    ratio,
    sdpa_reference,
)

PASS, FAIL, NOT_MEASURED, INCONCLUSIVE = "PASS", "FAIL", "NOT MEASURED", "INCONCLUSIVE"

EXACT_BASELINES = {
    "xla": "sdpa (plain XLA)",
    "blockwise": "sdpa (blockwise)",
    "cudnn": "sdpa (cuDNN)",
}
"""How the exact attention that is compared with was computed -> its name in the report."""

TIME_LIMIT = {"performer_favor": 0.80, "reformer_lsh": 0.85}
"""Largest time per epoch as a share of the exact baseline's (WNF-1)."""

MEMORY_LIMIT = {"performer_favor": 0.70, "reformer_lsh": 0.75}
"""Largest peak memory as a share of the exact baseline's (WNF-1); either limit suffices."""

MARGIN_PP = {"sdpa": 5.0, "performer_favor": 3.0, "reformer_lsh": 3.0}
"""Smallest lead in macro-F1 over TF-IDF + logistic regression, percentage points (WNF-2)."""

LOSS_PP = 1.0
"""Largest macro-F1 lost against the exact baseline, percentage points (WNF-1 and WNF-2)."""

SEEDS = 3

SPREAD_PP = 1.0
"""Largest difference between the best and the worst seed, percentage points (WNF-2)."""

SHORTEST = 512
"""WNF-1 speaks of sequences of this length and longer."""

# Room for rounding in the last place: 0.90 - 0.89 is 0.010000000000000009.
_EPSILON = 1e-9


@dataclasses.dataclass(frozen=True)
class Criterion:
    """One criterion for one setup. `runs` are the experiments it was judged on."""

    criterion: str
    data: str
    attention: str
    runs: tuple[str, ...]
    limit: str
    measured: str
    verdict: str


def criteria(records: Sequence[RunRecord]) -> list[Criterion]:
    """WNF-1 and WNF-2 for every fine-tuned setup (runs that differ by their seed only).

    Values are means over the finished seeds. A verdict needs its measurement: without a
    comparable exact run, a baseline or enough seeds it is NOT MEASURED, unless what was measured
    rules a pass out already. Where the 95 % interval of a difference in macro-F1 crosses the limit,
    it is INCONCLUSIVE; without saved predictions there is no interval, which is said.
    """
    setups = [setup for setup in group_setups(records) if setup.runs[0].kind == "finetune"]
    return judged(setups, best_baselines(records))


def judged(setups: Sequence[Setup], baselines: Mapping[str, RunRecord]) -> list[Criterion]:
    """The criteria of these setups; `baselines`: name of the data -> the baseline's run."""
    rows = []
    for setup in setups:
        if setup.attention not in MARGIN_PP:
            continue  # an attention that was added later: the user has set no limits for it
        exact = sdpa_reference(setup, setups)
        if setup.attention != "sdpa":
            rows += [_cost(setup, exact), _lost(setup, exact, "WNF-1 macro-F1 lost", SHORTEST)]
        rows.append(_lead(setup, baselines.get(setup.data)))
        if setup.attention != "sdpa":
            rows.append(_lost(setup, exact, "WNF-2 macro-F1 lost", 0))
        rows += [_spread(setup), _no_failure(setup)]
    return rows


def pass_wnf(records: Sequence[RunRecord]) -> dict[Path, str]:
    """Folder of each judged fine-tuning run -> FAIL if a criterion of its setup failed, PASS if all
    passed, else NOT MEASURED if one was not, else INCONCLUSIVE. Runs that no criterion speaks of
    are left out.
    """
    headings = data_headings(records)
    verdicts: dict[tuple[str, str], set[str]] = {}
    for row in criteria(records):
        for exp in row.runs:
            verdicts.setdefault((row.data, exp), set()).add(row.verdict)
    summary = {}
    for record in records:
        key = headings[record.folder], record.exp
        if record.kind == "finetune" and key in verdicts:
            found = verdicts[key]
            order = (FAIL, NOT_MEASURED, INCONCLUSIVE, PASS)
            summary[record.folder] = next(verdict for verdict in order if verdict in found)
    return summary


def _row(criterion: str, setup: Setup, limit: str, measured: str, verdict: str) -> Criterion:
    runs = tuple(run.exp for run in setup.runs)
    return Criterion(criterion, setup.data, setup.attention, runs, limit, measured, verdict)


def _baseline_name(exact: Setup | None) -> str:
    """The exact attention with the implementation its runs used, if that is one and recorded."""
    used = set() if exact is None else {run.implementation for run in exact.finished}
    name = used.pop() if len(used) == 1 else None
    return EXACT_BASELINES.get(str(name), "sdpa")


def _seeds(setup: Setup) -> str:
    return f"{setup.seeds} seed" + ("" if setup.seeds == 1 else "s")


def _too_short(setup: Setup, shortest: int) -> str:
    """'' or why the setup is outside a criterion for long sequences."""
    length = setup.runs[0].settings["max_length"]
    if shortest and not isinstance(length, int):
        return "; the sequence length is unknown"
    if shortest and length < shortest:
        return f"; sequences of {length}, the criterion speaks of {shortest} and longer"
    return ""


def _cost(setup: Setup, exact: Setup | None) -> Criterion:
    time_limit, memory_limit = TIME_LIMIT[setup.attention], MEMORY_LIMIT[setup.attention]
    name = "WNF-1 time or memory"
    baseline = _baseline_name(exact)
    limit = f"time/epoch <= {time_limit:.2f} x or peak memory <= {memory_limit:.2f} x {baseline}"
    if not setup.finished or exact is None:
        return _row(name, setup, limit, _missing(setup, exact), NOT_MEASURED)
    time = ratio(setup.mean("seconds_per_epoch"), exact.mean("seconds_per_epoch"))
    # Resident and accelerator memory are different things and never compared.
    ratios = [
        ratio(setup.mean(field), exact.mean(field))
        for field in ("device_memory_mib", "resident_memory_mib")
    ]
    memory = next((value for value in ratios if value is not None), None)
    parts = [
        f"{label} {value:.3f} x" if value is not None else f"{label} not measured"
        for label, value in (("time", time), ("memory", memory))
    ]
    if time is not None:
        parts.append(
            f"{setup.mean('seconds_per_epoch'):.1f} s against "
            f"{exact.mean('seconds_per_epoch'):.1f} s"
        )
    measured = f"{', '.join(parts)} ({_seeds(setup)}, sdpa {_seeds(exact)})"
    short = _too_short(setup, SHORTEST)
    passed = [
        value <= bound + _EPSILON
        for value, bound in ((time, time_limit), (memory, memory_limit))
        if value is not None
    ]
    if short:
        verdict = NOT_MEASURED
    elif any(passed):
        verdict = PASS
    else:
        # One of the two is missing: the other alone cannot fail an "or".
        verdict = FAIL if len(passed) == 2 else NOT_MEASURED
    return _row(name, setup, limit, measured + short, verdict)


def _lost(setup: Setup, exact: Setup | None, name: str, shortest: int) -> Criterion:
    limit = f"<= {LOSS_PP:g} pp below {_baseline_name(exact)}"
    ours = setup.mean("test_macro_f1")
    theirs = exact.mean("test_macro_f1") if exact is not None else None
    if exact is None or ours is None or theirs is None:
        return _row(name, setup, limit, _missing(setup, exact), NOT_MEASURED)
    lost = 100 * (theirs - ours)
    gain = lead(setup.predictions, exact.predictions)
    sure = gain.scaled(-1) if gain is not None else None
    measured = (
        f"{lost:+.2f} pp, {_range(sure)} ({100 * ours:.2f} against {100 * theirs:.2f}; "
        f"{_seeds(setup)}, sdpa {_seeds(exact)})"
    )
    short = _too_short(setup, shortest)
    verdict = _judged(lost <= LOSS_PP + _EPSILON, LOSS_PP, sure)
    return _row(name, setup, limit, measured + short, NOT_MEASURED if short else verdict)


def _lead(setup: Setup, baseline: RunRecord | None) -> Criterion:
    margin = MARGIN_PP[setup.attention]
    name, limit = "WNF-2 lead over baseline", f">= {margin:g} pp above TF-IDF+LogReg"
    ours = setup.mean("test_macro_f1")
    if ours is None:
        return _row(name, setup, limit, "no finished run", NOT_MEASURED)
    if baseline is None or baseline.test_macro_f1 is None:
        measured = f"{100 * ours:.2f}, no finished TF-IDF+LogReg run on this data"
        return _row(name, setup, limit, measured, NOT_MEASURED)
    gain = 100 * (ours - baseline.test_macro_f1)
    known = () if baseline.predictions is None else (baseline.predictions,)
    sure = lead(setup.predictions, known)
    measured = (
        f"{gain:+.2f} pp, {_range(sure)} ({100 * ours:.2f} against "
        f"{100 * baseline.test_macro_f1:.2f}; {_seeds(setup)})"
    )
    verdict = _judged(gain >= margin - _EPSILON, margin, sure)
    return _row(name, setup, limit, measured, verdict)


def _spread(setup: Setup) -> Criterion:
    name = f"WNF-2 spread over {SEEDS} seeds"
    limit = f"{SEEDS} seeds, max - min <= {SPREAD_PP:g} pp macro-F1"
    scores = setup.values("test_macro_f1")
    if setup.seeds < 2:
        return _row(name, setup, limit, _seeds(setup), NOT_MEASURED)
    spread = 100 * (max(scores) - min(scores))
    measured = f"{spread:.2f} pp ({_seeds(setup)})"
    if spread > SPREAD_PP + _EPSILON:
        verdict = FAIL  # with too few seeds as well: more of them cannot make the range smaller
    else:
        verdict = PASS if setup.seeds >= SEEDS else NOT_MEASURED
    return _row(name, setup, limit, measured, verdict)


def _no_failure(setup: Setup) -> Criterion:
    failed = [run for run in setup.runs if run.state == "failed"]
    done = len(setup.finished)
    if failed:
        measured = "; ".join(f"{run.exp}: {run.reason}" for run in failed)
        verdict = FAIL
    else:
        measured = f"{done} of {len(setup.runs)} runs finished"
        verdict = PASS if done else NOT_MEASURED
    return _row("WNF-2 no NaN, no OOM", setup, "no failed run", measured, verdict)


def _judged(passed: bool, limit: float, sure: Interval | None) -> str:
    """The verdict on a figure, unless its interval holds values on both sides of the limit."""
    if sure is not None and sure.low < limit < sure.high:
        return INCONCLUSIVE
    return PASS if passed else FAIL


def _range(sure: Interval | None) -> str:
    if sure is None:
        return "no interval: predictions are missing or of other texts"
    return f"95 % interval {sure.low:+.2f} to {sure.high:+.2f}"


def _missing(setup: Setup, exact: Setup | None) -> str:
    if not setup.finished:
        return "no finished run"
    if exact is None:
        return f"no finished {_baseline_name(exact)} run of the same data, device and model"
    return "not recorded"
