"""How sure a macro-F1 is: bootstrap intervals, of one model and of the difference of two.

A resample of n texts is a multinomial draw over the different combinations of a text's label and
what each model predicted for it: the same distribution as drawing n texts with replacement, at a
cost that does not grow with n. All models that are compared are resampled together (paired).
Where there are several seeds, these are drawn with replacement too.

The mean over classes is taken over those that are labelled or predicted in the whole set, in every
resample. A class that a resample lacks has there the F1 that it has in the whole set: left out, it
would make a resample without a rare class, which the model never finds, look like a perfect one.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from jaxattn.runs.predictions import Predictions

RESAMPLES = 2000

LEVEL = 0.95

SEED = 20
"""Of the resampling: equal predictions give equal intervals."""

_BATCH = 100

Runs = tuple[Predictions, ...]
"""Predictions of one configuration, one for each seed."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its 95 % bootstrap interval (percentiles)."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Interval":
        """All three times a factor; with a negative one the ends change places."""
        low, high = sorted((factor * self.low, factor * self.high))
        return Interval(factor * self.value, low, high)


def macro_f1(predictions: Predictions) -> float:
    """The mean of 2 TP / (labelled + predicted) over the classes that are either."""
    scores = [2 * hit / (a + b) for hit, a, b in _class_counts(predictions) if a + b]
    return math.fsum(scores) / len(scores)


def macro_f1_of_all(predictions: Predictions) -> float:
    """As versions before 0.3 had it: a class that is neither labelled nor predicted counts as 0."""
    scores = [2 * hit / (a + b) for hit, a, b in _class_counts(predictions) if a + b]
    return math.fsum(scores) / len(predictions.names)


@functools.lru_cache(maxsize=4096)
def macro_f1_interval(runs: Runs) -> Interval:
    """Mean macro-F1 over `runs` (one or more seeds on the same texts) with its interval.

    Raises:
      ValueError: no runs, or not of the same texts.
    """
    draws = _mean_over_seeds(_resampled(runs), np.random.default_rng(SEED + 1))
    return _interval(float(np.mean([macro_f1(run) for run in runs])), draws)


@functools.lru_cache(maxsize=4096)
def macro_f1_difference(ours: Runs, theirs: Runs) -> Interval:
    """Mean macro-F1 of `ours` minus that of `theirs` with its interval, paired by text.

    Raises:
      ValueError: no runs, or not of the same texts.
    """
    return _difference(ours, theirs)


def _difference(ours: Runs, theirs: Runs, folds: tuple[int, ...] = ()) -> Interval:
    rng = np.random.default_rng(SEED + 1)
    f1_Bk = _resampled((*ours, *theirs), folds)
    first = _mean_over_seeds(f1_Bk[:, : len(ours)], rng)
    second = _mean_over_seeds(f1_Bk[:, len(ours) :], rng)
    value = np.mean([macro_f1(run) for run in ours]) - np.mean([macro_f1(run) for run in theirs])
    return _interval(float(value), first - second)


@functools.lru_cache(maxsize=4096)
def pooled_interval(runs: Runs, folds: tuple[int, ...]) -> Interval:
    """As `macro_f1_interval`, of predictions that `folds` models made together, fold by fold.

    `folds` are the numbers of texts of each fold, one after the other. Folds are drawn with
    replacement, and texts within each that is drawn: the interval holds what differs from fold to
    fold (other training texts, another run) beside the chance of the texts.

    Raises:
      ValueError: no runs, or not of the same texts.
    """
    draws = _mean_over_seeds(_resampled(runs, folds), np.random.default_rng(SEED + 1))
    return _interval(float(np.mean([macro_f1(run) for run in runs])), draws)


@functools.lru_cache(maxsize=4096)
def pooled_difference(ours: Runs, theirs: Runs, folds: tuple[int, ...]) -> Interval:
    """As `macro_f1_difference`, of pooled predictions; `folds` as in `pooled_interval`."""
    return _difference(ours, theirs, folds)


def comparable(*runs: Predictions) -> bool:
    """Whether all are predictions of the same texts."""
    return all(runs[0].paired_with(other) for other in runs[1:])


def mcnemar(one: Predictions, other: Predictions) -> float:
    """Exact two-sided p of McNemar's test: do both models err equally often on the same texts?"""
    from scipy.stats import binomtest

    right, also = one.predicted == one.labels, other.predicted == other.labels
    only_one, only_other = int((right & ~also).sum()), int((also & ~right).sum())
    if only_one + only_other == 0:
        return 1.0
    return float(binomtest(only_one, only_one + only_other).pvalue)


def _class_counts(predictions: Predictions) -> list[tuple[int, int, int]]:
    """Of every class: texts that are hit, labelled and predicted."""
    count = len(predictions.names)
    hits = predictions.labels[predictions.labels == predictions.predicted]
    columns = (hits, predictions.labels, predictions.predicted)
    return list(
        zip(*(np.bincount(each, minlength=count).tolist() for each in columns), strict=True)
    )


def _drawn(rng: np.random.Generator, counts: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
    """`_BATCH` draws of texts over cells of int [m] `counts`, float64 [_BATCH, m].

    `fold_of` int [m] is the fold of each cell. Where there is more than one, folds are drawn first.
    """
    texts = int(counts.sum())
    folds = int(fold_of.max()) + 1
    if folds == 1:
        return rng.multinomial(texts, counts / texts, size=_BATCH).astype(np.float64)
    drawn = np.zeros((_BATCH, len(counts)))
    times = rng.multinomial(folds, np.full(folds, 1 / folds), size=_BATCH)
    for fold in range(folds):
        here = fold_of == fold
        size = int(counts[here].sum())
        drawn[:, here] = rng.multinomial(times[:, fold] * size, counts[here] / size)
    return drawn


def _resampled(runs: Sequence[Predictions], folds: tuple[int, ...] = ()) -> np.ndarray:
    """Macro-F1 of each of k runs on `RESAMPLES` resamples of the texts, float64 [resamples, k].

    `folds`: numbers of texts of each fold, where the texts are drawn by folds.
    """
    if not runs or not comparable(*runs):
        raise ValueError("expected predictions of the same texts")
    labels, classes = runs[0].labels, np.arange(len(runs[0].names))
    fold_of = np.repeat(np.arange(len(folds)), folds) if folds else np.zeros(len(labels), int)
    table = np.stack([labels, *(run.predicted for run in runs), fold_of], axis=1)
    cells, counts = np.unique(table, axis=0, return_counts=True)
    labelled = (cells[:, :1] == classes).astype(np.float64)
    predicted = [(cells[:, [k]] == classes).astype(np.float64) for k in range(1, len(runs) + 1)]
    hits = [labelled * found for found in predicted]
    wholes = [counts @ (labelled + found) for found in predicted]
    # F1 in the whole set; NaN for a class that is in it nowhere.
    nowhere = np.full(len(classes), np.nan)
    observed = [
        np.divide(2.0 * (counts @ hit), whole, where=whole > 0, out=nowhere.copy())
        for hit, whole in zip(hits, wholes, strict=True)
    ]
    means = [np.nanmean if np.isnan(each).any() else np.mean for each in observed]
    rng = np.random.default_rng(SEED)
    result = np.empty((RESAMPLES, len(runs)))
    for begin in range(0, RESAMPLES, _BATCH):
        drawn = _drawn(rng, counts, cells[:, -1])
        true = drawn @ labelled
        for k, found in enumerate(predicted):
            total = true + drawn @ found
            f1 = np.divide(2 * (drawn @ hits[k]), total, where=total > 0,
                           out=observed[k] * np.ones_like(total))  # fmt: skip
            result[begin : begin + _BATCH, k] = means[k](f1, axis=1)
    return result


def _mean_over_seeds(f1_Bk: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mean over the k seeds of each resample, these drawn with replacement, [resamples]."""
    count = f1_Bk.shape[1]
    chosen = rng.integers(count, size=f1_Bk.shape)
    result: np.ndarray = np.take_along_axis(f1_Bk, chosen, axis=1).mean(axis=1)
    return result


def _interval(value: float, draws: np.ndarray) -> Interval:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
