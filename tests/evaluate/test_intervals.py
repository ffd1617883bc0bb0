"""Intervals against a bootstrap of rows, and against what is known exactly."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import f1_score

from jaxattn.evaluate.intervals import (
    macro_f1,
    macro_f1_difference,
    macro_f1_interval,
    macro_f1_of_all,
    mcnemar,
    pooled_difference,
    pooled_interval,
)
from jaxattn.runs.predictions import Predictions

Guesses = Callable[..., Predictions]


def scored(predictions: Predictions, rows: np.ndarray) -> float:
    """Macro-F1 of some rows; every class occurs in them."""
    labels, predicted = predictions.labels[rows], predictions.predicted[rows]
    hits, true, said = (
        np.bincount(x, minlength=3) for x in (labels[labels == predicted], labels, predicted)
    )
    return (2 * hits / (true + said)).mean()


def test_it_is_the_bootstrap_of_rows(guesses: Guesses) -> None:
    """The ends agree with 1,000 draws of rows within what such draws vary themselves."""
    one, other = guesses(0.8), guesses(0.7, 1)
    rng = np.random.default_rng(0)
    rows = [rng.integers(400, size=400) for _ in range(1000)]
    alone = np.quantile([scored(one, some) for some in rows], [0.025, 0.975])
    found = macro_f1_interval((one,))
    np.testing.assert_allclose([found.low, found.high], alone, atol=0.006)
    reference = f1_score(one.labels, one.predicted, average="macro")
    assert found.value == pytest.approx(reference, abs=1e-15)
    paired = np.quantile([scored(one, some) - scored(other, some) for some in rows], [0.025, 0.975])
    found = macro_f1_difference((one,), (other,))
    np.testing.assert_allclose([found.low, found.high], paired, atol=0.008)


def test_the_same_model_differs_by_nothing(guesses: Guesses) -> None:
    """Pairing: its errors are the same texts in every resample."""
    found = macro_f1_difference((guesses(0.8),), (guesses(0.8),))
    assert (found.value, found.low, found.high) == (0, 0, 0)
    assert mcnemar(guesses(0.8), guesses(0.8)) == 1


def test_equal_predictions_give_equal_intervals(guesses: Guesses) -> None:
    """From one process to the next: no state is drawn from."""
    one, two = macro_f1_interval((guesses(0.8),)), macro_f1_interval((guesses(0.8),))
    assert one == two and one is not two


def test_seeds_that_differ_widen_the_interval(guesses: Guesses) -> None:
    """Between 0.9 and 0.5 the seed decides more than the texts."""
    apart = macro_f1_interval((guesses(0.9), guesses(0.5, 1)))
    alone = macro_f1_interval((guesses(0.7),))
    assert apart.high - apart.low > 2 * (alone.high - alone.low)


def test_a_class_of_one_text_does_not_pull_the_interval_down() -> None:
    """Perfect predictions are perfect in every resample, also in one without that text."""
    labels = np.array([0] * 30 + [1] * 30 + [2])
    perfect = Predictions(("a", "b", "c"), labels, labels, np.eye(3)[labels])
    found = macro_f1_interval((perfect,))
    assert (found.value, found.low, found.high) == (1, 1, 1)
    more = Predictions(("a", "b", "c", "never"), labels, labels, np.eye(4)[labels])
    found = macro_f1_interval((more,))
    assert macro_f1(more) == found.low == found.high == 1
    assert macro_f1_of_all(more) == 0.75


def test_a_class_that_is_never_found_is_so_in_every_resample() -> None:
    """30 to 2, all said to be the first: no resample can give more than half of its F1."""
    labels = np.array([0] * 30 + [1] * 2)
    said = np.zeros(32, int)
    majority = Predictions(("common", "rare"), labels, said, np.eye(2)[said])
    found = macro_f1_interval((majority,))
    assert found.value == pytest.approx((2 * 30 / 62) / 2)
    # Binomial(32, 15/16): 27 of 32 hits at the lower end, all of them at the upper one.
    assert found.low == pytest.approx((2 * 27 / 59) / 2) and found.high == 0.5
    other = macro_f1_difference((majority,), (majority,))
    assert (other.value, other.low, other.high) == (0, 0, 0)


def test_a_class_is_in_the_mean_of_the_model_that_predicts_it() -> None:
    """Each has its own union of labels and predictions, as scikit-learn scores each alone."""
    labels = np.array([0, 1] * 100)
    right = Predictions(("a", "b", "c"), labels, labels, np.eye(3)[labels])
    said = labels.copy()
    said[:2] = 2
    wrong = Predictions(("a", "b", "c"), labels, said, np.eye(3)[said])
    assert macro_f1(wrong) == pytest.approx(f1_score(labels, said, average="macro"))
    found = macro_f1_difference((right,), (wrong,))
    assert found.value == pytest.approx(1 - macro_f1(wrong)) and found.low > 0.32


def test_mcnemar_is_the_sign_test_of_the_texts_that_differ() -> None:
    """8 to 1: 2 * (C(9, 0) + C(9, 1)) / 2**9."""
    labels = np.zeros(20, int)
    one, other = labels.copy(), labels.copy()
    one[:8], other[8] = 1, 1
    table = np.full((20, 2), 0.5)
    first, second = (Predictions(("a", "b"), labels, each, table) for each in (one, other))
    assert mcnemar(first, second) == pytest.approx(2 * (math.comb(9, 0) + 9) / 2**9)


def test_other_texts_are_not_paired(guesses: Guesses) -> None:
    """A programming error: who compares has to ask first."""
    with pytest.raises(ValueError, match="same texts"):
        macro_f1_difference((guesses(0.8),), (guesses(0.8, size=399),))


def joined(parts: list[Predictions]) -> Predictions:
    fields = ("labels", "predicted", "probabilities")
    return Predictions(
        parts[0].names, *(np.concatenate([getattr(p, f) for p in parts]) for f in fields)
    )


def test_a_pooled_interval_draws_folds_then_their_texts(guesses: Guesses) -> None:
    """Against 1,000 draws of rows in two stages; wider than texts alone where folds differ."""
    shares = (0.9, 0.5, 0.85, 0.6, 0.95)
    ours = joined([guesses(share, seed, size=80) for seed, share in enumerate(shares)])
    theirs = joined([guesses(0.7, seed + 9, size=80) for seed in range(5)])
    rng = np.random.default_rng(0)
    draws = [
        np.concatenate([80 * fold + rng.integers(80, size=80) for fold in rng.integers(5, size=5)])
        for _ in range(1000)
    ]
    found, folds = pooled_interval((ours,), (80,) * 5), (80,) * 5
    wanted = np.quantile([scored(ours, rows) for rows in draws], [0.025, 0.975])
    np.testing.assert_allclose([found.low, found.high], wanted, atol=0.015)
    assert found.value == macro_f1(ours)
    alone = macro_f1_interval((ours,))
    assert found.high - found.low > 1.5 * (alone.high - alone.low)
    gap = pooled_difference((ours,), (theirs,), folds)
    paired = [scored(ours, rows) - scored(theirs, rows) for rows in draws]
    np.testing.assert_allclose([gap.low, gap.high], np.quantile(paired, [0.025, 0.975]), atol=0.02)
    assert gap.value == pytest.approx(macro_f1(ours) - macro_f1(theirs))
