"""One cut into folds: its runs as one result, from their predictions put together."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from statistics import fmean

import numpy as np

from jaxattn.evaluate.intervals import (
    Interval,
    comparable,
    macro_f1,
    pooled_difference,
    pooled_interval,
)
from jaxattn.report.record import RunRecord
from jaxattn.runs.predictions import Predictions


def folds_of(run: RunRecord) -> int:
    """Into how many folds the data of a run are cut; 0 where it is no cross-validation."""
    folds = run.config.get("data.folds")
    return folds if isinstance(folds, int) else 0


def cut_of(run: RunRecord) -> int:
    """The seed by which its folds were cut: each repeat of a cross-validation has its own."""
    seed = run.config.get("data.split_seed")
    return seed if isinstance(seed, int) else 0


@dataclasses.dataclass(frozen=True, eq=False)
class Pooled:
    """Runs that differ in their fold and seed only, of one cut."""

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
    def done(self) -> int:
        """Of how many folds a run has finished."""
        return len({_fold(run) for run in self.runs if run.finished})

    @cached_property
    def predictions(self) -> tuple[Predictions, ...]:
        """Those of all folds, one after the other, for each seed; empty where a fold is missing."""
        pooled = [_together([saved(run) for run in runs]) for runs in self.by_seed]
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
        return tuple(len(saved(run).labels) for run in self.by_seed[0])

    @cached_property
    def macro_f1(self) -> float | None:
        """Of the pooled predictions, the mean over seeds; None without `predictions`."""
        return fmean(map(macro_f1, self.predictions)) if self.predictions else None

    @cached_property
    def interval(self) -> Interval | None:
        """Its 95 % interval, over folds, texts and seeds."""
        return pooled_interval(self.predictions, self.texts) if self.predictions else None

    def lead(self, other: "Pooled") -> Interval | None:
        """Pooled macro-F1 minus that of `other`, percentage points; None where they do not pair."""
        ours, theirs = self.predictions, other.predictions
        if not ours or not theirs or self.hashes != other.hashes:
            return None
        if self.texts != other.texts or not comparable(*ours, *theirs):
            return None
        return pooled_difference(ours, theirs, self.texts).scaled(100)


def saved(run: RunRecord) -> Predictions:
    """The predictions of a run that is known to have them."""
    assert run.predictions is not None
    return run.predictions


def _fold(run: RunRecord) -> int:
    fold = run.config.get("data.fold")
    return fold if isinstance(fold, int) else 0


def _together(parts: Sequence[Predictions]) -> Predictions | None:
    """One after the other; None where their classes differ."""
    if len({part.names for part in parts}) > 1:
        return None
    labels, predicted, probabilities = (
        np.concatenate([getattr(part, field) for part in parts])
        for field in ("labels", "predicted", "probabilities")
    )
    return Predictions(parts[0].names, labels, predicted, probabilities)
