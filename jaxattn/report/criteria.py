"""The criteria of cost and of quality, judged on what was measured.

Cost is asked of attentions that are not exact, on texts of 512 tokens and longer: less time per
epoch or less memory than exact attention, by the limits below, for at most 1 pp of macro-F1.
Quality is asked of all: a lead over TF-IDF + logistic regression, at most 1 pp lost against exact
attention, seeds that agree, and no run that failed. The user's documents call them WNF-1 and WNF-2,
hence the column PASS_WNF.
"""

import dataclasses
import math
from typing import NamedTuple

from jaxattn.evaluate.intervals import Interval
from jaxattn.report.setups import Setup, ratio

PASS, FAIL, NOT_MEASURED, INCONCLUSIVE = "PASS", "FAIL", "NOT MEASURED", "INCONCLUSIVE"

EXACT_BASELINES = {
    "xla": "sdpa (plain XLA)",
    "blockwise": "sdpa (blockwise)",
    "cudnn": "sdpa (cuDNN)",
}
"""How the exact attention that is compared with was computed -> its name in the report."""


class Limits(NamedTuple):
    """What is asked of an attention.

    `time` and `memory`: the largest time per epoch and peak memory as shares of the exact
    attention's, of which one suffices; `margin_pp`: the smallest lead in macro-F1 over TF-IDF +
    logistic regression, percentage points.
    """

    margin_pp: float
    time: float = math.inf
    memory: float = math.inf


LIMITS = {
    "sdpa": Limits(5.0),
    "performer_favor": Limits(3.0, time=0.80, memory=0.70),
    "reformer_lsh": Limits(3.0, time=0.85, memory=0.75),
}

LOSS_PP = 1.0
"""Largest macro-F1 lost against the exact attention, percentage points."""

SEEDS = 3

SPREAD_PP = 1.0
"""Largest difference between the best and the worst seed, percentage points."""

SHORTEST = 512
"""The criterion of cost speaks of sequences of this length and longer."""

ASKED = (
    f"Cost, at {SHORTEST} tokens and longer: does the attention save time or memory against exact "
    f"attention, for at most {LOSS_PP:g} pp of macro-F1? Quality: does it lead TF-IDF + logistic "
    f"regression, lose at most {LOSS_PP:g} pp against exact attention, agree over {SEEDS} seeds "
    "and never fail?"
)

# Room for rounding in the last place: 0.90 - 0.89 is 0.010000000000000009.
_EPSILON = 1e-9


@dataclasses.dataclass(frozen=True)
class Criterion:
    """One criterion for one setup: the limit, what was measured, and the verdict."""

    setup: Setup
    criterion: str
    limit: str
    measured: str
    verdict: str


class _Judged(NamedTuple):
    limit: str
    measured: str
    verdict: str


def judge(setup: Setup, exact: Setup | None, baseline: Setup | None) -> list[Criterion]:
    """The criteria for a fine-tuned setup (runs that differ by their seed only).

    Values are means over the finished seeds. A verdict needs its measurement: without a
    comparable exact run, a baseline or enough seeds it is NOT MEASURED, unless what was measured
    rules a pass out already. Where the 95 % interval of a difference in macro-F1 crosses the limit,
    it is INCONCLUSIVE; without saved predictions there is no interval, which is said.

    Args:
      exact: the comparable exact attention.
      baseline: the TF-IDF + logistic regression run on the same data.
    """
    if setup.attention not in LIMITS:
        return []  # an attention that was added later: the user has set no limits for it
    judged = {"quality: lead over baseline": _lead(setup, baseline)}
    if setup.attention != "sdpa":
        lost = _lost(setup, exact)
        judged = {
            "cost: time or memory": _if_long(setup, _saved(setup, exact)),
            "cost: macro-F1 lost": _if_long(setup, lost),
            **judged,
            "quality: macro-F1 lost": lost,
        }
    judged |= {
        f"quality: spread over {SEEDS} seeds": _spread(setup),
        "quality: no NaN, no OOM": _no_failure(setup),
    }
    return [Criterion(setup, name, *each) for name, each in judged.items()]


def _exact_name(exact: Setup | None) -> str:
    """The exact attention with the implementation its runs used, if that is one and recorded."""
    used = set() if exact is None else {run.implementation for run in exact.finished}
    name = used.pop() if len(used) == 1 else None
    return EXACT_BASELINES.get(str(name), "sdpa")


def _seeds(setup: Setup) -> str:
    return f"{setup.seeds} seed" + ("" if setup.seeds == 1 else "s")


def _if_long(setup: Setup, judged: _Judged) -> _Judged:
    """A criterion that speaks of long sequences: not measured on shorter ones, which is said."""
    length = setup.runs[0].settings["max_length"]
    if not isinstance(length, int):
        short = "the sequence length is unknown"
    elif length < SHORTEST:
        short = f"sequences of {length}, the criterion speaks of {SHORTEST} and longer"
    else:
        return judged
    return _Judged(judged.limit, f"{judged.measured}; {short}", NOT_MEASURED)


def _saved(setup: Setup, exact: Setup | None) -> _Judged:
    asked = LIMITS[setup.attention]
    limit = (
        f"time/epoch <= {asked.time:.2f} x or peak memory <= {asked.memory:.2f} x "
        f"{_exact_name(exact)}"
    )
    if not setup.finished or exact is None:
        return _Judged(limit, _missing(setup, exact), NOT_MEASURED)
    seconds, of_exact = setup.mean("seconds_per_epoch"), exact.mean("seconds_per_epoch")
    time = ratio(seconds, of_exact)
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
        parts.append(f"{seconds:.1f} s against {of_exact:.1f} s")
    measured = f"{', '.join(parts)} ({_seeds(setup)}, sdpa {_seeds(exact)})"
    passed = [
        value <= bound + _EPSILON
        for value, bound in ((time, asked.time), (memory, asked.memory))
        if value is not None
    ]
    if any(passed):
        return _Judged(limit, measured, PASS)
    # One of the two is missing: the other alone cannot fail an "or".
    return _Judged(limit, measured, FAIL if len(passed) == 2 else NOT_MEASURED)


def _lost(setup: Setup, exact: Setup | None) -> _Judged:
    limit = f"<= {LOSS_PP:g} pp below {_exact_name(exact)}"
    ours = setup.mean("test_macro_f1")
    theirs = exact.mean("test_macro_f1") if exact is not None else None
    if exact is None or ours is None or theirs is None:
        return _Judged(limit, _missing(setup, exact), NOT_MEASURED)
    lost, gain = 100 * (theirs - ours), setup.lead(exact)
    sure = gain.scaled(-1) if gain is not None else None
    measured = (
        f"{lost:+z.2f} pp, {_range(sure)} ({100 * ours:.2f} against {100 * theirs:.2f}; "
        f"{_seeds(setup)}, sdpa {_seeds(exact)})"
    )
    return _Judged(limit, measured, _verdict(lost <= LOSS_PP + _EPSILON, LOSS_PP, sure))


def _lead(setup: Setup, baseline: Setup | None) -> _Judged:
    margin = LIMITS[setup.attention].margin_pp
    limit = f">= {margin:g} pp above TF-IDF+LogReg"
    ours = setup.mean("test_macro_f1")
    theirs = baseline.mean("test_macro_f1") if baseline is not None else None
    if ours is None:
        return _Judged(limit, "no finished run", NOT_MEASURED)
    if baseline is None or theirs is None:
        measured = f"{100 * ours:.2f}, no finished TF-IDF+LogReg run on this data"
        return _Judged(limit, measured, NOT_MEASURED)
    gain, sure = 100 * (ours - theirs), setup.lead(baseline)
    measured = (
        f"{gain:+z.2f} pp, {_range(sure)} ({100 * ours:.2f} against {100 * theirs:.2f}; "
        f"{_seeds(setup)})"
    )
    return _Judged(limit, measured, _verdict(gain >= margin - _EPSILON, margin, sure))


def _spread(setup: Setup) -> _Judged:
    limit = f"{SEEDS} seeds, max - min <= {SPREAD_PP:g} pp macro-F1"
    scores = setup.values("test_macro_f1")
    if setup.seeds < 2:
        return _Judged(limit, _seeds(setup), NOT_MEASURED)
    spread = 100 * (max(scores) - min(scores))
    measured = f"{spread:.2f} pp ({_seeds(setup)})"
    if spread > SPREAD_PP + _EPSILON:
        # With too few seeds as well: more of them cannot make the range smaller.
        return _Judged(limit, measured, FAIL)
    return _Judged(limit, measured, PASS if setup.seeds >= SEEDS else NOT_MEASURED)


def _no_failure(setup: Setup) -> _Judged:
    failed = [f"{run.exp}: {run.reason}" for run in setup.runs if run.state == "failed"]
    if failed:
        return _Judged("no failed run", "; ".join(failed), FAIL)
    done = len(setup.finished)
    measured = f"{done} of {len(setup.runs)} runs finished"
    return _Judged("no failed run", measured, PASS if done else NOT_MEASURED)


def _verdict(passed: bool, limit: float, sure: Interval | None) -> str:
    """The verdict on a figure, unless its interval holds values on both sides of the limit."""
    if sure is not None and sure.low < limit < sure.high:
        return INCONCLUSIVE
    return PASS if passed else FAIL


def _range(sure: Interval | None) -> str:
    if sure is None:
        return "no interval: predictions are missing or of other texts"
    return f"95 % interval {sure.low:+z.2f} to {sure.high:+z.2f}"


def _missing(setup: Setup, exact: Setup | None) -> str:
    if not setup.finished:
        return "no finished run"
    if exact is None:
        return f"no finished {_exact_name(exact)} run of the same data, device and model"
    return "not recorded"
