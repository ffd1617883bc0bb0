"""Cross-validated runs are one result, from their predictions together."""

import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxattn.evaluate.intervals import macro_f1
from jaxattn.report.comparison import Comparison
from jaxattn.report.csv_files import folds_rows
from jaxattn.report.page.page import page
from jaxattn.report.record import RunRecord
from jaxattn.report.terminal import print_comparison
from jaxattn.runs.predictions import Predictions

Guesses = Callable[..., Predictions]
Record = Callable[..., RunRecord]
Folded = Callable[..., list[RunRecord]]


@pytest.fixture
def folded(record: Record, guesses: Guesses) -> Folded:
    """Builds the runs of a configuration, a fold each, of the cut by `split_seed`."""

    def build(
        name: str, attention: str, shares: Sequence[float], split_seed: int = 0, **fields: Any
    ) -> list[RunRecord]:
        return [
            record(
                f"{name}{fold}", attention, macro_f1(found), predictions=found,
                data_hash=f"hash {fold} by {split_seed}", **fields,
                options={
                    "data.folds": len(shares), "data.fold": fold, "data.split_seed": split_seed,
                }
                | ({} if fields.get("kind") == "baseline" else {"train.epochs": 5}),
            )
            for fold, share in enumerate(shares)
            for found in [guesses(share, fold + 10 * split_seed)]
        ]  # fmt: skip

    return build


def test_the_folds_are_pooled_and_set_against_each_other(folded: Folded) -> None:
    exact = folded("s", "sdpa", (0.9, 0.7, 0.8), validation_macro_f1=0.9)
    favor = folded("f", "performer_favor", (0.6, 0.7, 0.5), validation_macro_f1=0.6)
    tfidf = folded("t", "tfidf+logreg", (0.7, 0.8, 0.8), kind="baseline", validation_macro_f1=0.7)
    comparison = Comparison([*favor, *exact, *tfidf])
    (group,) = comparison.folded
    assert [entry.label for entry in group.entries] == [
        "sdpa", "TF-IDF + LogReg", "performer_favor",
    ]  # fmt: skip
    best = group.entries[0]
    hits = [(run.predictions.predicted == run.predictions.labels).mean() for run in exact]
    assert best.macro_f1 == pytest.approx(np.mean(hits), abs=0.02)
    (cut,) = best.repeats.values()
    assert cut.texts == (300,) * 3 and len(cut.predictions[0].labels) == 900
    assert (best.macro_f1, best.interval) == (cut.macro_f1, cut.interval)
    assert best.interval.low < min(best.scores) + 0.05 < best.interval.high
    gap = best.lead(group.entries[2])
    assert 0 <= gap.low < gap.value < gap.high
    # What follows from single folds stands nowhere.
    assert comparison.groups == [] and comparison.criteria == []
    rows = group.rows()
    assert rows[0]["folds"] == "3 of 3" and rows[0]["against sdpa, pp"] is None
    assert rows[0]["repeats"] is None
    assert str(rows[2]["against sdpa, pp"]).startswith("-")
    (first, *_) = folds_rows(comparison)
    assert first["pooled_macro_f1"] == best.macro_f1 and first["runs"] == "s0 s1 s2"
    text = io.StringIO()
    print_comparison(comparison, text)
    assert "imdb, 3 folds: Use sdpa: macro-F1" in text.getvalue()
    assert "pooled macro-F1 %" in text.getvalue() and "fold 1 of 3" not in text.getvalue()
    assert "Cross-validation: every labelled training text" in page(comparison, Path("runs"))


def test_seeds_and_missing_folds(folded: Folded) -> None:
    """A seed whose folds are not all there is left out; without a whole one nothing is pooled."""
    one = folded("a", "sdpa", (0.9, 0.7, 0.8))
    two = folded("b", "sdpa", (0.8, 0.6, 0.9), seed=1)
    (group,) = Comparison([*one, *two[:2]]).folded
    (entry,) = group.entries
    assert len(entry.repeats[0].predictions) == 1
    (entry,) = Comparison([*one, *two]).folded[0].entries
    assert len(entry.repeats[0].predictions) == 2 and len(entry.scores) == 6
    (group,) = Comparison(two[:2]).folded
    assert group.entries[0].macro_f1 is None and group.rows()[0]["folds"] == "2 of 3"
    assert group.answer == "2 of 3 folds have finished, all are needed."


def test_other_folds_are_not_compared_and_a_blind_fold_is_said(
    folded: Folded, record: Record, guesses: Guesses
) -> None:
    three, two = folded("a", "sdpa", (0.9, 0.7, 0.8)), folded("b", "sdpa", (0.9, 0.9))
    single = record("c", "sdpa", 0.9)
    comparison = Comparison([*three, *two, single])
    assert [group.heading for group in comparison.folded] == ["imdb, 2 folds", "imdb, 3 folds"]
    assert [run.exp for group in comparison.groups for run in group.runs] == ["c"]
    blind = dataclasses.replace(guesses(0.9), predicted=np.zeros(300, int))
    three[1] = dataclasses.replace(
        three[1], predictions=blind, test_macro_f1=macro_f1(blind)
    )  # fmt: skip
    (group,) = Comparison(three).folded
    assert group.answer.endswith("In 1 of 3 runs it predicts one class only, 'neg'.")


def test_encoders_and_pretrainings_are_not_mixed(folded: Folded) -> None:
    """What fine-tuning began with is part of the setting: a published encoder, or longer MLMs."""
    one = folded("a", "sdpa", (0.9, 0.7, 0.8), pretrain="minilm")
    two = folded("b", "sdpa", (0.6, 0.5, 0.7), pretrain="bert")
    (group,) = Comparison([*one, *two]).folded
    assert {entry.label: entry.macro_f1 for entry in group.entries} == {
        "sdpa (a0)": Comparison(one).folded[0].entries[0].macro_f1,
        "sdpa (b0)": Comparison(two).folded[0].entries[0].macro_f1,
    }
    # The better of them on validation is what the others are set against.
    assert group.rows()[1]["against sdpa, pp"] is not None

    def after(name: str, steps: int) -> list[RunRecord]:
        runs = folded(name, "sdpa", (0.9, 0.7))
        mlms = folded(f"{name}_mlm", "sdpa", (0.0, 0.0), kind="pretrain")
        for fold, mlm in enumerate(mlms):
            mlms[fold] = dataclasses.replace(
                mlm, predictions=None, config={**mlm.config, "train.max_steps": steps}
            )
            runs[fold] = dataclasses.replace(runs[fold], pretrain=mlm.exp)
        return [*mlms, *runs]

    (group,) = Comparison([*after("a", 10), *after("b", 20), *after("c", 10)]).folded
    assert [(entry.done, len(entry.runs)) for entry in group.entries] == [(2, 4), (2, 2)]


def test_folds_of_other_texts_are_apart(folded: Folded) -> None:
    """Another column or selection gives other folds, even where their labels are alike."""
    one, two = folded("a", "sdpa", (0.9, 0.7)), folded("b", "sdpa", (0.6, 0.5))
    other = [
        dataclasses.replace(run, config={**run.config, "data.text_column": "title"}) for run in two
    ]
    assert len(Comparison([*one, *other]).folded) == 2
    # Files that changed under the same options: nothing is paired.
    edited = [dataclasses.replace(run, data_hash="new", attention="performer_favor") for run in two]
    (group,) = Comparison([*one, *edited]).folded
    assert group.entries[0].lead(group.entries[1]) is None
    assert group.rows()[1]["against sdpa, pp"] is None
    seeds = [dataclasses.replace(run, data_hash="new", seed=1) for run in two]
    (group,) = Comparison([*one, *seeds]).folded
    assert group.entries[0].repeats == {}


def test_every_baseline_has_its_name(folded: Folded) -> None:
    """As in the tables of runs that are no folds."""
    kinds = ("tfidf+logreg", "chars+logreg", "nb+logreg", "tfidf+svm")
    runs = [
        run
        for kind in kinds
        for run in folded(kind[:2], kind, (0.9, 0.7), kind="baseline")
    ]  # fmt: skip
    few = [
        dataclasses.replace(run, config={**run.config, "baseline.words": 60})
        for run in folded("few", "tfidf+logreg", (0.6, 0.7), kind="baseline")
    ]
    (group,) = Comparison([*runs, *few]).folded
    assert sorted(entry.label for entry in group.entries) == [
        "NB-weighted words + LogReg", "TF-IDF + LogReg", "TF-IDF + LogReg, first 60 words",
        "TF-IDF + SVM", "characters + LogReg",
    ]  # fmt: skip


def test_repeats_are_means_over_the_cuts(folded: Folded) -> None:
    """Estimates and ends of intervals, so that more cuts of the same texts feign no certainty."""
    shares = (0.9, 0.7), (0.8, 0.8), (0.7, 0.8)
    worse = (0.7, 0.6), (0.6, 0.7), (0.6, 0.6)
    exact = [r for s, each in enumerate(shares) for r in folded(f"s{s}", "sdpa", each, s)]
    favor = [r for s, each in enumerate(worse) for r in folded(f"f{s}", "performer_favor", each, s)]
    comparison = Comparison([*favor, *exact])
    (group,) = comparison.folded
    assert group.heading == "imdb, 3 x 2 folds"
    best, other = group.entries
    assert (best.label, best.done, len(best.scores)) == ("sdpa", 6, 6)
    cuts = [best.cuts[seed] for seed in range(3)]
    assert best.macro_f1 == pytest.approx(np.mean([cut.macro_f1 for cut in cuts]))
    assert best.interval.low == pytest.approx(np.mean([cut.interval.low for cut in cuts]))
    assert best.interval.high == pytest.approx(np.mean([cut.interval.high for cut in cuts]))
    gap, gaps = best.lead(other), [best.cuts[s].lead(other.cuts[s]) for s in range(3)]
    assert gap.value == pytest.approx(100 * (best.macro_f1 - other.macro_f1))
    assert gap.low == pytest.approx(np.mean([each.low for each in gaps]))
    assert best.spread == pytest.approx(np.std(best.scores, ddof=1))
    rows = group.rows()
    assert [(row["repeats"], row["folds"]) for row in rows] == [("3 of 3", "6 of 6")] * 2
    assert group.answer.startswith(f"Use sdpa: macro-F1 {100 * best.macro_f1:.2f} %")
    assert "repeats" not in group.answer + str(rows[1]["against sdpa, pp"])
    (first, _) = folds_rows(comparison)
    assert (first["repeats"], first["finished_folds"]) == (3, 6)
    assert "predicted once in each repeat" in page(comparison, Path("runs"))
    # A fold of another cut is of other texts: they are not ranked together.
    assert comparison.headings[exact[0].folder] == "imdb, fold 0 of 2 by data.split_seed 0"


def test_only_repeats_that_both_have_whole_are_compared(folded: Folded) -> None:
    exact = [r for s in range(2) for r in folded(f"s{s}", "sdpa", (0.9, 0.7), s)]
    favor = [r for s in range(2) for r in folded(f"f{s}", "performer_favor", (0.6, 0.5), s)][:3]
    (group,) = Comparison([*exact, *favor]).folded
    best, other = group.entries
    assert list(other.repeats) == [0] and other.macro_f1 == other.cuts[0].macro_f1
    assert best.lead(other) == best.cuts[0].lead(other.cuts[0])
    row = group.rows()[1]
    assert (row["repeats"], row["folds"]) == ("1 of 2", "3 of 4")
    assert str(row["against sdpa, pp"]).endswith("; 1 of 2 repeats)")
    assert group.answer.endswith("; 1 of 2 repeats).")
    # Of other cuts, and so of other texts: nothing is set against each other.
    apart = [*exact[:2], *folded("f1", "performer_favor", (0.6, 0.5), 1)]
    (group,) = Comparison(apart).folded
    assert group.entries[0].lead(group.entries[1]) is None


def test_pretrainings_of_other_cuts_make_one_entry(folded: Folded) -> None:
    """Each repeat has a pretraining of its own, which differs in its cut alone."""
    runs = []
    for seed in range(2):
        mlms = folded(f"m{seed}", "sdpa", (0.0, 0.0), seed, kind="pretrain")
        tuned = folded(f"a{seed}", "sdpa", (0.9, 0.7), seed)
        runs += mlms
        runs += [
            dataclasses.replace(run, pretrain=mlm.exp)
            for run, mlm in zip(tuned, mlms, strict=True)
        ]  # fmt: skip
    (group,) = Comparison(runs).folded
    assert [len(entry.repeats) for entry in group.entries] == [2]
