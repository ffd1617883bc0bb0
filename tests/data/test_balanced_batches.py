"""Batches in which every class is met equally often."""

from collections import Counter

import numpy as np
import pytest

from jaxattn.data.batches.balanced import BalancedPlan

BUCKETS = (16, 32, 64)


def imbalanced(counts: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Lengths and labels of texts in a mixed order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return rng.integers(3, 65, len(labels)), labels


def plan(lengths: np.ndarray, labels: np.ndarray, **changes: int) -> BalancedPlan:
    options = {"buckets": BUCKETS, "batch_size": 32, "seed": 0}
    return BalancedPlan(lengths, labels, **{**options, **changes})


def epoch_rows(batches: BalancedPlan, epoch: int) -> list[tuple[int, np.ndarray]]:
    first = epoch * batches.steps_per_epoch
    found = [batches.batch_indices(first + step) for step in range(batches.steps_per_epoch)]
    return [(length, indices[indices >= 0]) for length, indices in found]


@pytest.mark.parametrize("counts", [(500, 20), (400, 90, 7), (1, 1), (1, 300), (50, 0, 51), (9,)])
def test_every_class_has_its_share_of_every_epoch(counts: tuple[int, ...]) -> None:
    """Whatever it has; the padded lengths hold their texts and are the same in every epoch."""
    lengths, labels = imbalanced(counts)
    batches = plan(lengths, labels)
    classes = np.count_nonzero(counts)
    assert batches.steps_per_epoch == -(-len(labels) // 32)
    for epoch in range(4):
        found = epoch_rows(batches, epoch)
        rows = np.concatenate([indices for _, indices in found])
        assert len(rows) == len(labels)
        met = np.bincount(labels[rows], minlength=len(counts))[np.array(counts) > 0]
        assert met.sum() == len(labels) and met.max() - met.min() <= 1
        assert len(met) == classes
        assert all(lengths[indices].max() <= length for length, indices in found)
        assert Counter(length for length, _ in found) == batches.steps_by_length
    assert batches.shapes == tuple(batches.steps_by_length)


def test_every_text_has_its_turn() -> None:
    """A frequent class's texts once each in two epochs; a rare one's equally often."""
    lengths, labels = imbalanced((900, 300))
    batches = plan(lengths, labels)
    rows = np.concatenate([r for epoch in range(3) for _, r in epoch_rows(batches, epoch)])
    times = np.bincount(rows, minlength=1200)
    # 600 of 900 an epoch: twice in three; 600 of 300: six times. Rounding moves a few by one.
    assert set(times[labels == 0]) <= {1, 2, 3} and set(times[labels == 1]) <= {5, 6, 7}
    assert (times[labels == 0] == 2).mean() > 0.95 and (times[labels == 1] == 6).mean() > 0.95


def test_a_class_of_few_long_texts_is_met_too() -> None:
    """Rows whose share of an epoch is less than one are padded further, not left out."""
    labels = np.array([0] * 200 + [1] * 40 + [2] * 3)
    lengths = np.array([10] * 199 + [60] + [10] * 20 + [30] * 20 + [10, 30, 60])
    batches = plan(lengths, labels, batch_size=8)
    seen = {int(row) for epoch in range(5) for _, r in epoch_rows(batches, epoch) for row in r}
    assert seen == set(range(243))


def test_a_batch_is_a_function_of_its_number_and_the_seed() -> None:
    lengths, labels = imbalanced((300, 40, 12))
    one, other = plan(lengths, labels), plan(lengths, labels)
    steps = np.random.default_rng(0).permutation(5 * one.steps_per_epoch)
    found = {step: other.batch_indices(int(step)) for step in steps}
    for step in range(5 * one.steps_per_epoch):
        length, rows = one.batch_indices(step)
        assert found[step][0] == length
        np.testing.assert_array_equal(found[step][1], rows)
    different = [
        (plan(lengths, labels, seed=1).batch_indices(0)[1] != one.batch_indices(0)[1]).any(),
        (one.batch_indices(one.steps_per_epoch)[1] != one.batch_indices(0)[1]).any(),
    ]
    assert all(different)
