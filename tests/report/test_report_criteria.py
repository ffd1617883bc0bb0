"""The criteria of cost and of quality at and around their limits."""

import dataclasses
import html
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from jaxattn.evaluate.intervals import macro_f1
from jaxattn.report.comparison import Comparison
from jaxattn.report.criteria import Criterion
from jaxattn.report.page.sections import group_section
from jaxattn.report.record import RunRecord
from jaxattn.report.terminal import not_measured
from jaxattn.runs.predictions import Predictions

Guesses = Callable[..., Predictions]
Record = Callable[..., RunRecord]


def criteria(records: Sequence[RunRecord]) -> Sequence[Criterion]:
    return Comparison(records).criteria


def pass_wnf(records: Sequence[RunRecord]) -> dict[str, str]:
    """Experiment -> what its row says, for those that are judged."""
    return {row.record.exp: row.pass_wnf for row in Comparison(records).ranking if row.pass_wnf}


def verdicts(records: Sequence[RunRecord], attention: str) -> dict[str, str]:
    """Criterion -> verdict of the one setup of an attention."""
    rows = [row for row in criteria(records) if row.setup.attention == attention]
    assert len({row.setup for row in rows}) == 1
    return {row.criterion: row.verdict for row in rows}


COST, LOST1, LOST2 = "cost: time or memory", "cost: macro-F1 lost", "quality: macro-F1 lost"
LEAD, SPREAD = "quality: lead over baseline", "quality: spread over 3 seeds"
FAILURE = "quality: no NaN, no OOM"


@pytest.mark.parametrize(
    ("attention", "seconds", "memory", "verdict"),
    [
        ("performer_favor", 80.0, 1000.0, "PASS"),
        ("performer_favor", 80.1, 700.0, "PASS"),
        ("performer_favor", 80.1, 700.1, "FAIL"),
        ("reformer_lsh", 85.0, 2000.0, "PASS"),
        ("reformer_lsh", 85.1, 750.0, "PASS"),
        ("reformer_lsh", 85.1, 750.1, "FAIL"),
        ("reformer_lsh", 90.0, None, "NOT MEASURED"),
        ("reformer_lsh", 80.0, None, "PASS"),
        ("reformer_lsh", None, 800.0, "NOT MEASURED"),
    ],
)
def test_cost_needs_one_of_the_two_savings(
    record: Record, attention: str, seconds: float | None, memory: float | None, verdict: str
) -> None:
    """-20 % time or -30 % memory (Performer), -15 % or -25 % (Reformer), inclusive."""
    runs = [record("s", "sdpa", 0.9), record("x", attention, 0.9, seconds, memory)]
    assert verdicts(runs, attention)[COST] == verdict


@pytest.mark.parametrize(("f1", "verdict"), [(0.89, "PASS"), (0.8899, "FAIL"), (0.95, "PASS")])
def test_one_point_may_be_lost(record: Record, f1: float, verdict: str) -> None:
    """0.90 - 0.89 is a hair more than 0.01 in floating point and still within the limit."""
    runs = [record("s", "sdpa", 0.90), record("x", "reformer_lsh", f1)]
    found = verdicts(runs, "reformer_lsh")
    assert found[LOST1] == found[LOST2] == verdict


@pytest.mark.parametrize(
    ("attention", "f1", "verdict"),
    [
        ("sdpa", 0.95, "PASS"),
        ("sdpa", 0.9499, "FAIL"),
        ("reformer_lsh", 0.93, "PASS"),
        ("performer_favor", 0.9299, "FAIL"),
    ],
)
def test_lead_over_the_baseline(record: Record, attention: str, f1: float, verdict: str) -> None:
    """+5 pp for sdpa, +3 pp for the others; without a baseline nothing is measured."""
    baseline = record("b", "tfidf+logreg", 0.90, kind="baseline")
    assert verdicts([record("x", attention, f1), baseline], attention)[LEAD] == verdict
    assert verdicts([record("x", attention, f1)], attention)[LEAD] == "NOT MEASURED"
    elsewhere = record("b", "tfidf+logreg", 0.1, kind="baseline", data="agnews")
    assert verdicts([record("x", attention, f1), elsewhere], attention)[LEAD] == "NOT MEASURED"


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ([0.90], "NOT MEASURED"),
        ([0.90, 0.905], "NOT MEASURED"),
        ([0.90, 0.92], "FAIL"),
        ([0.90, 0.905, 0.91], "PASS"),
        ([0.90, 0.905, 0.9101], "FAIL"),
    ],
)
def test_the_spread_needs_three_seeds_to_pass(
    record: Record, scores: list[float], verdict: str
) -> None:
    """Two seeds can fail already: a third cannot make their range smaller."""
    runs = [record(f"s{i}", "sdpa", score, seed=i) for i, score in enumerate(scores)]
    assert verdicts(runs, "sdpa")[SPREAD] == verdict


def test_the_same_seed_three_times_is_one_seed(record: Record) -> None:
    """A repetition says nothing about the spread over seeds."""
    runs = [record(f"s{i}", "sdpa", 0.9) for i in range(3)]
    assert verdicts(runs, "sdpa")[SPREAD] == "NOT MEASURED"


def test_a_failed_seed_fails_its_setup_and_is_left_out_of_the_means(record: Record) -> None:
    """It has neither data hash nor results, and is found by its configuration."""
    lost = record("x1", "reformer_lsh", None, None, None, seed=1, data_hash=None)
    lost = type(lost)(**{**vars(lost), "state": "failed", "reason": "non-finite loss"})
    runs = [record("s", "sdpa", 0.9), record("x", "reformer_lsh", 0.9, 80.0), lost]
    found = verdicts(runs, "reformer_lsh")
    assert (found[FAILURE], found[COST], found[LOST1]) == ("FAIL", "PASS", "PASS")
    (row,) = [r for r in criteria(runs) if r.criterion == FAILURE and r.setup.attention != "sdpa"]
    assert row.measured == "x1: non-finite loss" and [run.exp for run in row.setup.runs] == [
        "x",
        "x1",
    ]
    only = verdicts([runs[0], lost], "reformer_lsh")
    assert only[FAILURE] == "FAIL" and only[COST] == only[LEAD] == "NOT MEASURED"


def test_short_sequences_are_reported_but_their_cost_is_not_judged(record: Record) -> None:
    """The cost is asked at 512 tokens and longer; the quality everywhere."""
    short = {"data.max_length": 511}
    runs = [
        record("s", "sdpa", 0.9, options=short),
        record("x", "performer_favor", 0.9, 50.0, options=short),
    ]
    found = verdicts(runs, "performer_favor")
    assert found[COST] == found[LOST1] == "NOT MEASURED" and found[LOST2] == "PASS"
    row = next(row for row in criteria(runs) if row.criterion == COST)
    assert row.measured.startswith("time 0.500 x, memory 1.000 x") and "511" in row.measured


@pytest.mark.parametrize(
    "other", [{"device": "H200"}, {"data": "agnews"}, {"options": {"model.hidden_dim": 256}}]
)
def test_only_a_comparable_exact_run_is_compared_with(
    record: Record, other: dict[str, Any]
) -> None:
    """Another device, data set or model is none."""
    runs = [record("s", "sdpa", 0.9, **other), record("x", "performer_favor", 0.9, 50.0)]
    found = verdicts(runs, "performer_favor")
    assert found[COST] == found[LOST1] == found[LOST2] == "NOT MEASURED"


def test_the_exact_run_is_chosen_on_validation_and_named(record: Record) -> None:
    """The better test score of the other sdpa setup plays no part."""
    runs = [
        record("good", "sdpa", 0.90, 100.0, validation_macro_f1=0.91, implementation="blockwise"),
        record("lucky", "sdpa", 0.99, 50.0, validation_macro_f1=0.89,
               options={"train.learning_rate": 1e-4}),
        record("x", "performer_favor", 0.90, 80.0),
    ]  # fmt: skip
    rows = [row for row in criteria(runs) if row.setup.attention == "performer_favor"]
    assert {row.criterion: row.verdict for row in rows}[COST] == "PASS"
    assert rows[0].limit.endswith("x sdpa (blockwise)")


def test_values_are_means_over_seeds(record: Record) -> None:
    """70 and 90 s against 100: 0.80 in the mean."""
    runs = [
        record("s", "sdpa", 0.9),
        record("x0", "performer_favor", 0.88, 70.0),
        record("x1", "performer_favor", 0.90, 90.0, seed=1),
    ]
    row = next(row for row in criteria(runs) if row.criterion == COST)
    assert row.verdict == "PASS" and row.measured.startswith("time 0.800 x")
    assert verdicts(runs, "performer_favor")[LOST1] == "PASS"


def test_pass_wnf_sums_up(record: Record) -> None:
    """FAIL if any failed, PASS if all passed, else NOT MEASURED; nothing for a baseline."""
    runs = [record("b", "tfidf+logreg", 0.80, kind="baseline")]
    runs += [record(f"s{i}", "sdpa", 0.90, seed=i) for i in range(3)]
    runs += [record(f"f{i}", "performer_favor", 0.90, 50.0, seed=i) for i in range(3)]
    runs += [record("l0", "reformer_lsh", 0.90, 50.0)]
    runs += [record("new", "linformer", 0.1)]
    summary = pass_wnf(runs)
    assert summary == dict.fromkeys(["s0", "s1", "s2", "f0", "f1", "f2"], "PASS") | {
        "l0": "NOT MEASURED"
    }
    runs += [record("l1", "reformer_lsh", 0.85, 50.0, seed=1)]
    assert pass_wnf(runs)["l0"] == "FAIL"


def test_an_interval_that_holds_the_limit_decides_nothing(record: Record, guesses: Guesses) -> None:
    """Three errors more on 300 texts may be none or six; on equal predictions it is none."""
    exact = guesses(0.90)
    wrong = exact.predicted.copy()
    changed = np.flatnonzero(exact.predicted == exact.labels)[:3]
    wrong[changed] = 1 - wrong[changed]
    close = dataclasses.replace(exact, predicted=wrong)
    first = record("s", "sdpa", macro_f1(exact), predictions=exact)
    runs = [first, record("x", "reformer_lsh", macro_f1(close), predictions=close)]
    found = verdicts(runs, "reformer_lsh")
    assert found[LOST1] == found[LOST2] == "INCONCLUSIVE"
    row = next(row for row in criteria(runs) if row.criterion == LOST2)
    assert row.measured.startswith("+1.01 pp, 95 % interval ") and "against" in row.measured
    same = [first, record("x", "reformer_lsh", macro_f1(exact), predictions=exact)]
    assert verdicts(same, "reformer_lsh")[LOST2] == "PASS"
    bare = [first, record("x", "reformer_lsh", macro_f1(exact))]
    row = next(row for row in criteria(bare) if row.criterion == LOST2)
    assert row.verdict == "PASS" and "no interval" in row.measured


def test_inconclusive_is_told_after_what_failed_or_was_not_measured(
    record: Record, guesses: Guesses
) -> None:
    """Three seeds that pass all else."""
    baseline = record("b", "tfidf+logreg", 0.80, kind="baseline")
    runs = [baseline]
    for seed in range(3):
        runs.append(record(f"s{seed}", "sdpa", 0.90, seed=seed, predictions=guesses(0.90, seed)))
        close = guesses(0.89, 9 + seed)
        runs.append(
            record(f"f{seed}", "performer_favor", 0.895, 50.0, seed=seed, predictions=close)
        )
    summary = pass_wnf(runs)
    assert summary["s0"] == "PASS" and summary["f0"] == "INCONCLUSIVE"
    assert pass_wnf(runs[1:])["f0"] == "NOT MEASURED"


def test_the_page_judges_seeds_together_as_the_table_does(record: Record) -> None:
    """Each seed has a pretraining of its own, which is what makes them seeds of one setup."""
    runs = []
    for attention, f1 in (("sdpa", 0.90), ("performer_favor", 0.85)):
        for seed in range(3):
            name = f"{attention}{seed}"
            runs.append(record(name, attention, None, kind="pretrain", seed=seed))
            runs.append(record(name, attention, f1 + seed / 1000, seed=seed, pretrain=name))
    comparison = Comparison(runs)
    found = comparison.criteria
    assert {len(row.setup.runs) for row in found} == {3}
    (group,) = comparison.groups
    shown = group_section(group, "x")
    for row in found:
        assert html.escape(row.measured) in shown
    assert shown.count("cost: time or memory") == 1


def test_what_was_not_measured_is_one_line(record: Record) -> None:
    """It counts the criteria; those with a verdict are rows of a table."""
    rows = criteria([record("x", "performer_favor", 0.9)])
    assert not_measured(rows) == (
        "Not measured, 5 of 6 (the page says why): cost: time or memory (1), cost: macro-F1 lost "
        "(1), quality: lead over baseline (1), quality: macro-F1 lost (1), quality: spread over 3 "
        "seeds (1)."
    )
    assert not_measured([row for row in rows if row.criterion == FAILURE]) == ""
