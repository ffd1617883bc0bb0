"""Cross-validation: the runs of all folds as one result, from their predictions put together."""

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property
from statistics import fmean, stdev

import numpy as np

from jaxattn.evaluate.class_notes import unpredicted_in_runs
from jaxattn.evaluate.intervals import (
    Interval,
    comparable,
    macro_f1,
    pooled_difference,
    pooled_interval,
)
from jaxattn.report.record import RunRecord
from jaxattn.report.setups import Key, group_setups, in_setup, options_key
from jaxattn.runs.predictions import Predictions

_TOKENS = frozenset(
    f"data.{name}"
    for name in (
        "max_length", "length_buckets", "truncate", "mlm_splits", "mask_rate", "whole_words",
        "packing",
    )
)  # fmt: skip
"""Options of the data that do not decide which texts are in which fold."""


def folds_of(run: RunRecord) -> int:
    """Into how many folds the data of a run are cut; 0 where it is no cross-validation."""
    folds = run.config.get("data.folds")
    return folds if isinstance(folds, int) else 0


@dataclasses.dataclass(frozen=True, eq=False)
class Pooled:
    """Runs that differ in their fold and seed only; `label` names them within their data."""

    label: str
    folds: int
    runs: tuple[RunRecord, ...]

    @cached_property
    def by_seed(self) -> tuple[tuple[RunRecord, ...], ...]:
        """Of every seed whose folds have all finished: its runs, in the order of the folds."""
        found: dict[object, dict[int, RunRecord]] = {}
        for run in self.runs:
            if run.finished and run.predictions is not None:
                found.setdefault(run.seed, {})[_fold(run)] = run
        return tuple(
            tuple(runs[fold] for fold in range(self.folds))
            for runs in found.values()
            if set(runs) == set(range(self.folds))
        )

    @property
    def is_exact(self) -> bool:
        """Whether exact attention was cross-validated."""
        return self.runs[0].attention == "sdpa"

    @property
    def done(self) -> int:
        """Of how many folds a run has finished."""
        return len({_fold(run) for run in self.runs if run.finished})

    @cached_property
    def predictions(self) -> tuple[Predictions, ...]:
        """Those of all folds, one after the other, for each seed; empty where a fold is missing."""
        pooled = [_together([_saved(run) for run in runs]) for runs in self.by_seed]
        whole = all(each is not None for each in pooled) and len(self.hashes) == 1
        kept = [each for each in pooled if each is not None]
        return tuple(kept) if kept and whole and comparable(*kept) else ()

    @property
    def hashes(self) -> set[tuple[str | None, ...]]:
        """Those of the data of each fold; more than one where the seeds had other data."""
        return {tuple(run.data_hash for run in runs) for runs in self.by_seed}

    @property
    def texts(self) -> tuple[int, ...]:
        """Test texts of each fold."""
        return tuple(len(_saved(run).labels) for run in self.by_seed[0])

    @cached_property
    def macro_f1(self) -> float | None:
        """Of the pooled predictions, the mean over seeds; None without `predictions`."""
        return fmean(map(macro_f1, self.predictions)) if self.predictions else None

    @cached_property
    def interval(self) -> Interval | None:
        """Its 95 % interval, over folds, texts and seeds."""
        return pooled_interval(self.predictions, self.texts) if self.predictions else None

    @property
    def scores(self) -> list[float]:
        """Test macro-F1 of the finished runs."""
        values = (run.test_macro_f1 for run in self.runs if run.finished)
        return [value for value in values if value is not None]

    @property
    def seconds(self) -> float:
        """Seconds of an epoch (of a baseline: its fit), the mean over runs; infinite if unknown."""
        values = [run.seconds_per_epoch for run in self.runs if run.seconds_per_epoch is not None]
        return fmean(values) if values else math.inf

    @property
    def spread(self) -> float | None:
        """Standard deviation of `scores`; None of fewer than two."""
        return stdev(self.scores) if len(self.scores) > 1 else None

    def lead(self, other: "Pooled") -> Interval | None:
        """Pooled macro-F1 minus that of `other`, percentage points; None where they do not pair."""
        ours, theirs = self.predictions, other.predictions
        if not ours or not theirs or self.hashes != other.hashes:
            return None
        if self.texts != other.texts or not comparable(*ours, *theirs):
            return None
        return pooled_difference(ours, theirs, self.texts).scaled(100)


@dataclasses.dataclass(frozen=True, eq=False)
class FoldedGroup:
    """What was cross-validated on the same folds: best validation first, baselines among it."""

    data: str
    folds: int
    entries: tuple[Pooled, ...]

    @property
    def heading(self) -> str:
        """Data and folds in words."""
        return f"{self.data}, {self.folds} folds"

    @property
    def answer(self) -> str:
        """The best by validation, what it reaches, and how sure that is; or what is missing."""
        whole = [entry for entry in self.entries if entry.predictions]
        if not whole:
            done = max(entry.done for entry in self.entries)
            return f"{done} of {self.folds} folds have finished, all are needed."
        best, sure = whole[0], whole[0].interval
        said = f"Use {best.label}: macro-F1 {100 * (best.macro_f1 or 0):.2f} % of the folds' texts"
        if sure is not None:
            low, high = 100 * sure.low, 100 * sure.high
            said += f" together (95 % interval {low:.2f} to {high:.2f}"
            said += f"; single folds {100 * min(best.scores):.2f} to {100 * max(best.scores):.2f})"
        others = [entry for entry in whole if entry is not best]
        gaps = [(entry, best.lead(entry)) for entry in others[:4]]
        listed = [
            f"{gap.value:+z.2f} pp to {entry.label} ({gap.low:+z.2f} to {gap.high:+z.2f})"
            for entry, gap in gaps
            if gap is not None
        ]
        said += f"{': ' if listed else ''}{', '.join(listed)}."
        saved = [_saved(run) for runs in best.by_seed for run in runs]
        note = unpredicted_in_runs(saved, "in {} of {} runs")
        return f"{said} {note[0].upper()}{note[1:]}." if note else said

    def rows(self) -> list[dict[str, object]]:
        """Heading -> value of every entry, in percent and percentage points."""
        exact = next((e for e in self.entries if e.is_exact and e.predictions), None)
        return [_row(entry, exact) for entry in self.entries]


def folded_groups(records: Sequence[RunRecord]) -> list[FoldedGroup]:
    """The cross-validated runs among `records`, by data and folds."""
    folded = [run for run in records if folds_of(run)]
    # Setups, but for the fold; each fold has other data, and so its own hash.
    headings = {run.folder: run.data or "unknown data" for run in folded}
    settings = [setup.runs for setup in group_setups(folded, headings) if setup.kind == "finetune"]
    baselines: dict[Key, list[RunRecord]] = {}
    for run in folded:
        if run.kind == "baseline":
            # It reads nothing of the options of training.
            own = options_key(run, lambda name: name.startswith("baseline."))
            baselines.setdefault((_texts(run), run.label, own), []).append(run)
    groups: dict[Key, list[tuple[RunRecord, ...]]] = {}
    for runs in [*settings, *map(tuple, baselines.values())]:
        groups.setdefault(_texts(runs[0]), []).append(runs)
    found = []
    for settings in groups.values():
        names = [runs[0].label for runs in settings]
        folds = folds_of(settings[0][0])
        entries = [
            Pooled(name if names.count(name) == 1 else f"{name} ({runs[0].exp})", folds, runs)
            for name, runs in zip(names, settings, strict=True)
        ]
        entries.sort(key=_on_validation, reverse=True)
        found.append(FoldedGroup(headings[settings[0][0].folder], folds, tuple(entries)))
    return sorted(found, key=lambda group: group.heading)


def _row(entry: Pooled, exact: Pooled | None) -> dict[str, object]:
    sure = entry.interval.scaled(100) if entry.interval else None
    gap = entry.lead(exact) if exact is not None and entry is not exact else None
    score, spread = entry.macro_f1, entry.spread
    return {
        "attention": entry.label,
        "seeds": str(len({run.seed for run in entry.runs if run.finished})),
        "folds": f"{entry.done} of {entry.folds}",
        "pooled macro-F1 %": None if score is None else f"{100 * score:.2f}",
        "95 % interval": f"{sure.low:.2f} to {sure.high:.2f}" if sure else None,
        "mean of folds %": f"{100 * fmean(entry.scores):.2f}" if entry.scores else None,
        "sd of folds, pp": None if spread is None else f"{100 * spread:.2f}",
        "against sdpa, pp": (
            f"{gap.value:+z.2f} ({gap.low:+z.2f} to {gap.high:+z.2f})" if gap else None
        ),
        "s / epoch": f"{entry.seconds:,.1f}" if math.isfinite(entry.seconds) else None,
    }


def _fold(run: RunRecord) -> int:
    fold = run.config.get("data.fold")
    return fold if isinstance(fold, int) else 0


def _saved(run: RunRecord) -> Predictions:
    assert run.predictions is not None
    return run.predictions


def _together(parts: Sequence[Predictions]) -> Predictions | None:
    """One after the other; None where their classes differ."""
    if len({part.names for part in parts}) > 1:
        return None
    labels, predicted, probabilities = (
        np.concatenate([getattr(part, field) for part in parts])
        for field in ("labels", "predicted", "probabilities")
    )
    return Predictions(parts[0].names, labels, predicted, probabilities)


def _texts(run: RunRecord) -> Key:
    """What decides which texts are in which fold."""

    def kept(name: str) -> bool:
        return name.startswith("data.") and name not in _TOKENS and in_setup(name)

    return run.data, folds_of(run), options_key(run, kept)


def _on_validation(entry: Pooled) -> float:
    values = (run.validation_macro_f1 for run in entry.runs if run.finished)
    known = [value for value in values if value is not None]
    return fmean(known) if known else -math.inf
