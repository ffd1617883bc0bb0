"""Batches of a classifier in use: every row once, of few shapes, and none in vain on a CPU."""

import numpy as np
import pytest

from jaxattn.classifier.serving import SIZES, serving_batches, serving_lengths
from jaxattn.data.tokens.arrays import SpecialIds, TokenArray
from jaxattn.data.tokens.encode import cut_rows, window_rows

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)


def test_lengths_are_two_an_octave() -> None:
    assert serving_lengths(512) == (32, 48, 64, 96, 128, 192, 256, 384, 512)
    assert serving_lengths(100) == (32, 48, 64, 96, 100)
    assert serving_lengths(20) == (20,)


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5, 12, 100])
def test_every_row_is_run_once(count: int, fill: bool) -> None:
    lengths = np.random.default_rng(0).integers(2, 65, count)
    batches = serving_batches(lengths, (32, 64), fill=fill)
    rows = np.concatenate([np.zeros(0, int), *(indices for _, indices in batches)])
    assert sorted(rows[rows >= 0]) == list(range(count))
    assert {len(indices) for _, indices in batches} <= set(SIZES)
    for padded, indices in batches:
        own = lengths[indices[indices >= 0]]
        assert own.max() <= padded
        assert fill or len(indices) * padded <= 2048
        assert own.min() > {32: 0, 64: 32}[padded]
    if not fill:
        assert (rows >= 0).all()
    else:
        assert len(batches) <= 2 * (count // SIZES[-1] + 1)


@pytest.mark.parametrize(
    ("length", "sizes"),
    [(64, [32, 8]), (65, [8] * 5), (256, [8] * 5), (257, [1] * 40), (4000, [1] * 40)],
)
def test_a_batch_on_a_cpu_is_small_where_rows_are_long(length: int, sizes: list[int]) -> None:
    padded = (64, 256, 512, 4096)
    batches = serving_batches(np.full(40, length), padded, fill=False)
    assert [len(indices) for _, indices in batches] == sizes
    filled = serving_batches(np.full(40, length), padded, fill=True)
    assert [len(indices) for _, indices in filled] == [32, 8]


def test_windows_hold_all_of_a_text() -> None:
    """Texts of 0, 6, 7 and 20 tokens, windows of 6 that share 2 (or more, at the end)."""
    sizes = (0, 6, 7, 20)
    flat = TokenArray.from_rows([np.arange(10, 10 + size, dtype=np.int32) for size in sizes])
    rows, text_r, long = window_rows(flat, SPECIAL, 8, 2)
    assert text_r.tolist() == [0, 1, 2, 2, 3, 3, 3, 3, 3]
    assert long.tolist() == [False, False, True, True]
    found = [rows[i][1:-1].tolist() for i in range(len(rows))]
    assert found[0] == []
    assert found[1] == list(range(10, 16))
    assert found[2:4] == [list(range(10, 16)), list(range(11, 17))]
    starts = [each[0] - 10 for each in found[4:]]
    assert starts == [0, 4, 8, 12, 14]
    assert all(len(each) == 6 for each in found[1:])


def test_cutting_keeps_what_was_asked_for() -> None:
    flat = TokenArray.from_rows([np.arange(10, 22, dtype=np.int32)])
    kept = {}
    for how in ("head", "tail", "head_tail"):
        rows, long = cut_rows(flat, SPECIAL, 10, how)
        assert long.all()
        kept[how] = rows[0][1:-1].tolist()
    assert kept["head"] == list(range(10, 18))
    assert kept["tail"] == list(range(14, 22))
    assert kept["head_tail"] == [10, 11, *range(16, 22)]
