"""Hold-outs by content: shares, strata, copies of a text, independence of order."""

import numpy as np

from jaxattn.data.corpora.holdout import hold_out, sample, text_keys

TEXTS = [f"text number {i}" for i in range(1000)]


def test_keys_belong_to_the_text_the_seed_and_the_purpose() -> None:
    keys = text_keys(TEXTS, 0, "test")
    assert keys.dtype == np.uint64 and len(np.unique(keys)) == 1000
    np.testing.assert_array_equal(text_keys(TEXTS[::-1], 0, "test"), keys[::-1])
    assert not np.intersect1d(keys, text_keys(TEXTS, 1, "test")).size
    assert not np.intersect1d(keys, text_keys(TEXTS, 0, "validation")).size
    assert len(text_keys([], 0, "test")) == 0


def test_each_stratum_gives_its_share() -> None:
    strata = ["a"] * 700 + ["b"] * 290 + ["c"] * 10
    held = hold_out(text_keys(TEXTS, 0, "test"), strata, 0.1)
    assert [held[:700].sum(), held[700:990].sum(), held[990:].sum()] == [70, 29, 1]
    order = np.random.default_rng(0).permutation(1000)
    again = hold_out(
        text_keys([TEXTS[i] for i in order], 0, "test"), [strata[i] for i in order], 0.1
    )
    np.testing.assert_array_equal(again, held[order])


def test_small_strata_keep_and_give_one() -> None:
    keys = text_keys(TEXTS, 0, "test")
    assert hold_out(keys[:1], ["a"], 0.5).tolist() == [False]
    assert hold_out(keys[:2], ["a", "a"], 0.001).sum() == 1
    assert hold_out(keys[:0], [], 0.1).shape == (0,)


def test_copies_of_a_text_stay_together() -> None:
    texts = [f"text {i % 100}" for i in range(1000)]
    held = hold_out(text_keys(texts, 0, "test"), [0] * 1000, 0.105)
    split = {
        text: {bool(held[j]) for j in range(i, 1000, 100)} for i, text in enumerate(texts[:100])
    }
    assert all(len(sides) == 1 for sides in split.values())
    # Ten copies each: 105 rows are rounded up to the whole text.
    assert held.sum() == 110
    assert hold_out(text_keys(["same"] * 5, 0, "test"), [0] * 5, 0.5).sum() == 0


def test_samples_are_spread_and_nested() -> None:
    keys = text_keys(TEXTS, 0, "train")
    small, large = sample(keys, 50), sample(keys, 200)
    assert len(small) == 50 and set(small) < set(large) and (np.diff(large) > 0).all()
    assert 60 <= (large < 500).sum() <= 140
    assert sample(keys, 5000).tolist() == list(range(1000))
