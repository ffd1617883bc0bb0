"""Batches by length: every example once, resumable by number, little padding; and collation."""

from collections import Counter

import numpy as np
import pytest

from jaxattn.config import DataConfig
from jaxattn.data.batches.masking import Masking, mask_tokens, num_slots
from jaxattn.data.batches.order import (
    BatchPlan,
    batches_in_order,
    classification_batch,
    mlm_batch,
    order_seed,
    singly,
)
from jaxattn.data.tokens.arrays import SpecialIds, TokenArray

SPECIAL = SpecialIds(0, 1, 2, 3, 4)


def log_normal_lengths(count: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).lognormal(np.log(150), 0.7, count)
    return np.clip(drawn.astype(int), 3, 512)


def plan(lengths: np.ndarray, **changes: int) -> BatchPlan:
    options = {"buckets": DataConfig().buckets, "batch_size": 32, "seed": 0}
    return BatchPlan(lengths, **{**options, **changes})


def in_order(lengths: np.ndarray, batch_size: int = 32) -> list[tuple[int, np.ndarray]]:
    return batches_in_order(
        lengths, buckets=DataConfig(max_length=512).buckets, batch_size=batch_size
    )


def test_default_buckets() -> None:
    assert DataConfig(max_length=512).buckets == (32, 64, 128, 256, 512)
    assert DataConfig(max_length=500).buckets == (32, 64, 128, 256, 500)
    assert DataConfig(max_length=32).buckets == (32,) and DataConfig(max_length=10).buckets == (10,)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 1000, 1024])
def test_each_example_exactly_once_an_epoch(count: int) -> None:
    lengths = log_normal_lengths(count)
    batches = plan(lengths)
    assert batches.steps_per_epoch == -(-count // 32)
    for epoch in range(3):
        seen, partial, shapes = [], 0, set()
        for step in range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch):
            padded, indices = batches.batch_indices(step)
            real = indices[indices >= 0]
            assert indices.shape == (32,) and indices.dtype == np.int64
            assert len(real) >= 1 and lengths[real].max() <= padded
            partial += len(real) < 32
            shapes.add(padded)
            seen += real.tolist()
        assert sorted(seen) == list(range(count))
        assert partial == (count % 32 > 0)
        assert tuple(sorted(shapes)) == batches.shapes
    found = Counter(batches.batch_indices(step)[0] for step in range(batches.steps_per_epoch))
    assert dict(found) == batches.steps_by_length


def test_epochs_differ_and_seeds_differ_but_evaluation_is_in_order() -> None:
    lengths = log_normal_lengths(500)
    batches = plan(lengths)
    orders = [
        np.concatenate([p.batch_indices(s)[1] for s in range(start, start + p.steps_per_epoch)])
        for p, start in (
            (batches, 0),
            (batches, batches.steps_per_epoch),
            (plan(lengths, seed=1), 0),
        )
    ]
    assert all((orders[a] != orders[b]).any() for a, b in ((0, 1), (0, 2), (1, 2)))
    ordered = in_order(lengths)
    padded = [length for length, _ in ordered]
    assert padded == sorted(padded)
    rows = np.concatenate([indices for _, indices in ordered])
    assert sorted(rows[rows >= 0].tolist()) == list(range(500))
    assert (ordered[-1][1] == -1).sum() == 32 - 500 % 32 and (rows[:-32] >= 0).all()
    for length in set(padded):
        own = [row for n, indices in ordered[:-1] for row in indices if n == length]
        first = [row for row in own if lengths[row] > length // 2]
        assert first == sorted(first)


def test_epochs_of_neighbouring_seeds_are_not_the_same_orders() -> None:
    """Grain adds the epoch to the seed: seeds 0 and 1 must not share their epochs 1 and 0."""
    lengths = log_normal_lengths(500)
    count = plan(lengths).steps_per_epoch
    second = [plan(lengths).batch_indices(count + s)[1].tolist() for s in range(count)]
    first = [plan(lengths, seed=1).batch_indices(s)[1].tolist() for s in range(count)]
    assert second != first
    assert len({order_seed(seed, p) for seed in range(1000) for p in ("a", "b")}) == 2000


def test_batches_of_all_lengths_are_mixed() -> None:
    batches = plan(log_normal_lengths(4000))
    padded = [batches.batch_indices(step)[0] for step in range(batches.steps_per_epoch)]
    middle = len(padded) // 2
    assert {64, 128, 256, 512} <= set(padded[:middle]) & set(padded[middle:])


def test_a_batch_computed_alone_is_the_one_of_the_sequence() -> None:
    lengths = log_normal_lengths(300)
    running = plan(lengths)
    sequence = [running.batch_indices(step) for step in range(5 * running.steps_per_epoch)]
    for step in (0, 7, 23, 38, 49):
        padded, indices = plan(lengths).batch_indices(step)
        assert padded == sequence[step][0]
        np.testing.assert_array_equal(indices, sequence[step][1])
    # Going back gives the same again.
    np.testing.assert_array_equal(running.batch_indices(3)[1], sequence[3][1])


def test_the_order_is_frozen() -> None:
    batches = plan(np.array([5, 40, 6, 41, 7, 42, 8]), batch_size=2, seed=3)
    found = [(length, i.tolist()) for length, i in map(batches.batch_indices, range(4))]
    assert found == [(32, [0, 2]), (64, [5, 3]), (32, [4, 6]), (64, [1, -1])]


def test_the_tail_of_a_bucket_goes_into_the_next_larger_one() -> None:
    # 3 short, 1 of middle length, 4 long, in twos: one short example is carried to the middle.
    lengths = np.array([10, 10, 10, 50, 500, 500, 500, 500])
    found = [(length, i.tolist()) for length, i in in_order(lengths, 2)]
    assert found == [(32, [0, 1]), (64, [2, 3]), (512, [4, 5]), (512, [6, 7])]
    batches = plan(lengths, batch_size=2)
    assert batches.shapes == (32, 64, 512)
    assert batches.steps_by_length == {32: 1, 64: 1, 512: 2}
    for step in range(8):
        length, indices = batches.batch_indices(step)
        assert (
            sorted(lengths[indices]) in {32: [[10, 10]], 64: [[10, 50]], 512: [[500, 500]]}[length]
        )
    # An only short text is not padded to a length that no text has.
    assert plan(np.array([10, 12]), batch_size=4).shapes == (32,)


def test_buckets_save_padding() -> None:
    lengths = log_normal_lengths(5000)
    batches = plan(lengths)
    slots = sum(32 * batches.batch_indices(s)[0] for s in range(batches.steps_per_epoch))
    bucketed, static = 1 - lengths.sum() / slots, 1 - lengths.sum() / (5000 * 512)
    print(f"padded share: buckets {bucketed:.3f}, static {static:.3f}")
    assert static == pytest.approx(0.64, abs=0.02)
    assert bucketed < 0.29
    # 2.0 times fewer token slots than padding everything to 512.
    assert 5000 * 512 / slots > 1.9


def test_too_long_and_empty_are_refused_with_numbers() -> None:
    with pytest.raises(ValueError, match="513 tokens, the longest bucket holds 512"):
        plan(np.array([10, 513]))
    with pytest.raises(ValueError, match="no examples"):
        plan(np.array([], int))


def tokens_of(lengths: list[int], seed: int = 0) -> TokenArray:
    rng = np.random.default_rng(seed)
    rows = []
    for length in lengths:
        row = rng.integers(5, 1000, length).astype(np.int32)
        row[0], row[-1] = SPECIAL.cls, SPECIAL.sep
        rows.append(row)
    return TokenArray.from_rows(rows)


def test_token_array() -> None:
    tokens = TokenArray.from_rows([np.array([2, 7, 3]), np.array([2, 3]), np.array([2, 8, 9, 3])])
    assert len(tokens) == 3 and tokens.lengths.tolist() == [3, 2, 4]
    assert tokens[2].tolist() == [2, 8, 9, 3]
    assert tokens.ids.dtype == np.int32 and tokens.offsets.dtype == np.int64
    with pytest.raises(IndexError):
        tokens[3]
    with pytest.raises(IndexError):
        tokens[-1]
    assert len(TokenArray.from_rows([])) == 0


def test_classification_batch() -> None:
    tokens = tokens_of([3, 5, 8])
    batch = classification_batch(tokens, np.array([4, 5, 6], np.int32), np.array([2, 0, -1]), 8, 0)
    assert batch["ids"][0].tolist() == tokens[2].tolist()
    assert batch["ids"][1].tolist() == [*tokens[0].tolist(), 0, 0, 0, 0, 0]
    assert batch["mask"].sum(1).tolist() == [8, 3, 0] and batch["mask"][1, :3].all()
    assert batch["ids"][2].tolist() == [0] * 8
    assert batch["labels"].tolist() == [6, 4, 0] and batch["weights"].tolist() == [1, 1, 0]
    assert [batch[k].dtype for k in ("ids", "mask", "labels", "weights")] == [
        np.int32, np.bool_, np.int32, np.float32,
    ]  # fmt: skip
    assert classification_batch(tokens, None, np.array([1]), 8, 0)["labels"].tolist() == [0]
    with pytest.raises(ValueError, match="example 2 needs 8 tokens, the batch is padded to 7"):
        classification_batch(tokens, None, np.array([2]), 7, 0)


def test_mlm_batch_holds_what_mask_tokens_hides() -> None:
    tokens, masking = tokens_of([20, 64, 50, 30]), Masking(0.15, 1000, SPECIAL)
    key = {"seed": 5, "epoch": 2}
    options = {"slots": num_slots(64, 0.15), "packed": False, "masking": masking, **key}
    indices = np.array([3, -1, 1])
    batch = mlm_batch(tokens, singly(indices), 64, **options)
    assert batch["positions"].shape == (3, 10) and "segments" not in batch
    assert batch["weights"].sum(1).tolist() == [4, 0, 9]
    assert batch["mask"].sum(1).tolist() == [30, 0, 64]
    for row in (0, 2):
        inputs, positions, targets = mask_tokens(
            tokens[indices[row]], masking, index=indices[row], **key
        )
        used = batch["weights"][row] == 1
        assert batch["ids"][row, : len(inputs)].tolist() == inputs.tolist()
        assert batch["positions"][row][used].tolist() == positions.tolist()
        assert batch["targets"][row][used].tolist() == targets.tolist()
        assert (batch["positions"][row][~used] == 0).all()
    # What is hidden in an example does not depend on its batch or on the padding.
    alone = mlm_batch(tokens, singly(np.array([3])), 32, **options)
    assert alone["ids"][0].tolist() == batch["ids"][0, :32].tolist()
    with pytest.raises(ValueError, match="example 1 needs 64 tokens, the batch is padded to 63"):
        mlm_batch(tokens, singly(np.array([1])), 63, **options)
    with pytest.raises(ValueError, match="a row hides 9 tokens, it has 8 slots"):
        mlm_batch(tokens, singly(np.array([1])), 64, **options | {"slots": 8})


def test_the_order_is_that_of_shuffled_rows_of_each_bucket() -> None:
    """As Grain shuffles the row numbers themselves, over three epochs: a resumed run has it too."""
    import grain

    lengths = np.random.default_rng(4).integers(1, 65, 50)
    made = BatchPlan(lengths, buckets=(16, 32, 64), batch_size=4, seed=11)
    parts = [
        grain.MapDataset.source(
            [n for n, length in enumerate(lengths.tolist()) if low < length <= high]
        ).shuffle(order_seed(11, f"rows {high}"))
        for low, high in ((0, 16), (16, 32), (32, 64))
    ]
    rows = grain.MapDataset.concatenate(parts).batch(4, drop_remainder=False)
    batches = rows.shuffle(order_seed(11, "batches")).repeat()
    for step in range(3 * 13):
        found = made.batch_indices(step)[1]
        assert found[found >= 0].tolist() == batches[step].tolist()
