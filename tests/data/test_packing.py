"""Packing: every text once an epoch, whole, hardly any padding; and what a packed batch holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxattn.data.batches.masking import Masking, mask_tokens
from jaxattn.data.batches.order import mlm_batch
from jaxattn.data.batches.packing import PackedPlan, best_fit
from jaxattn.data.tokens.arrays import SpecialIds, TokenArray

SPECIAL = SpecialIds(0, 1, 2, 3, 4)


def log_normal_lengths(count: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).lognormal(np.log(150), 0.7, count)
    return np.clip(drawn.astype(int), 3, 512)


def plan(lengths: list[int] | np.ndarray, **changes: int) -> PackedPlan:
    return PackedPlan(np.asarray(lengths), **{"length": 512, "batch_size": 8, "seed": 0} | changes)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=120), st.integers(1, 5))
def test_each_text_exactly_once_an_epoch_and_no_row_overflows(
    lengths: list[int], batch_size: int
) -> None:
    packed = plan(lengths, length=40, batch_size=batch_size)
    for epoch in range(2):
        seen = []
        for step in range(packed.steps_per_epoch):
            rows = packed.batch_rows(epoch * packed.steps_per_epoch + step)
            assert len(rows) == batch_size
            for row in rows:
                assert sum(lengths[text] for text in row) <= 40
                seen += row.tolist()
        assert sorted(seen) == list(range(len(lengths)))


def test_best_fit_decreasing() -> None:
    # Into the row with the least room that is enough; two rows of ten, in the best order.
    assert best_fit(np.array([7, 5, 4, 3, 1]), 10)[0].tolist() == [0, 1, 1, 0, 1]
    assert best_fit(np.array([10, 10]), 10)[1] == 2


def test_hardly_a_place_is_empty() -> None:
    packed = plan(log_normal_lengths(20_000), batch_size=1)
    print(f"useful share {packed.useful_share:.4f}")
    assert packed.useful_share > 0.998


def test_epochs_mix_the_texts_anew_and_a_batch_alone_is_the_one_of_the_sequence() -> None:
    lengths = log_normal_lengths(3000)
    running = plan(lengths)
    count = running.steps_per_epoch
    sequence = [running.batch_rows(step) for step in range(2 * count)]
    together = [{frozenset(row.tolist()) for rows in epoch for row in rows if len(row) > 1}
                for epoch in (sequence[:count], sequence[count:])]  # fmt: skip
    assert len(together[0] & together[1]) < 0.1 * len(together[0])
    for step in (0, 5, count - 1, count, 2 * count - 1):
        for row, expected in zip(plan(lengths).batch_rows(step), sequence[step], strict=True):
            np.testing.assert_array_equal(row, expected)
    other = plan(lengths, seed=1)
    assert any(a.tolist() != b.tolist() for a, b in zip(other.batch_rows(0), sequence[0]))  # noqa: B905


def test_the_order_is_frozen() -> None:
    packed = plan([9, 8, 7, 6, 5, 4, 3, 2], length=12, batch_size=2, seed=3)
    assert [[row.tolist() for row in packed.batch_rows(step)] for step in range(2)] == [
        [[0, 6], [2, 4]],
        [[3, 7], [1, 5]],
    ]


def test_too_long_and_none_are_refused() -> None:
    with pytest.raises(ValueError, match="513 tokens, a row holds 512"):
        plan([3, 513])
    with pytest.raises(ValueError, match="no examples"):
        plan([])


def texts_of(lengths: list[int]) -> TokenArray:
    rng = np.random.default_rng(0)
    rows = [rng.integers(5, 1000, length).astype(np.int32) for length in lengths]
    for row in rows:
        row[0], row[-1] = SPECIAL.cls, SPECIAL.sep
    return TokenArray.from_rows(rows)


def test_a_packed_batch_holds_each_text_as_it_is_hidden_alone() -> None:
    lengths = [20, 9, 30, 3, 12, 25]
    tokens, masking = texts_of(lengths), Masking(0.15, 1000, SPECIAL)
    packed = plan(lengths, length=50, batch_size=2)
    slots = packed.most_hidden(0.15)
    seen = 0
    for step in range(packed.steps_per_epoch):
        rows = packed.batch_rows(step)
        batch = mlm_batch(
            tokens, rows, 50, slots=slots, packed=True, masking=masking, seed=5, epoch=2
        )
        assert batch["positions"].shape == (2, slots)
        for row, texts in enumerate(rows):
            start, found = 0, []
            for number, text in enumerate(texts):
                inputs, places, hidden = mask_tokens(
                    tokens[text], masking, seed=5, epoch=2, index=int(text)
                )
                stop = start + len(inputs)
                np.testing.assert_array_equal(batch["ids"][row, start:stop], inputs)
                assert (batch["segments"][row, start:stop] == number).all()
                found += zip((start + places).tolist(), hidden.tolist(), strict=True)
                start, seen = stop, seen + 1
            used = batch["weights"][row] == 1
            pairs = zip(batch["positions"][row][used], batch["targets"][row][used], strict=True)
            assert [(int(a), int(b)) for a, b in pairs] == found
            assert batch["mask"][row].tolist() == [True] * start + [False] * (50 - start)
            assert (batch["segments"][row, start:] == len(texts)).all()
    assert seen == len(lengths)


def test_slots_hold_what_any_row_hides() -> None:
    """Many tiny texts hide more than a share of the row: one token each."""
    lengths = [3] * 40 + [50, 4, 2, 2]
    packed = plan(lengths, length=60)
    tokens, masking = texts_of(lengths), Masking(0.15, 1000, SPECIAL)
    hidden = [
        sum(len(mask_tokens(tokens[t], masking, seed=0, epoch=0, index=int(t))[1]) for t in row)
        for step in range(packed.steps_per_epoch)
        for row in packed.batch_rows(step)
    ]
    assert max(hidden) == packed.most_hidden(0.15)
