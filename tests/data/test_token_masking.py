"""BERT masking: exact counts, BERT's proportions, and a pure function of its key."""

import math

import numpy as np
import pytest

from jaxattn.data.batches.masking import Masking, mask_tokens, num_slots
from jaxattn.data.batches.order import mlm_batch, singly
from jaxattn.data.tokens.arrays import SpecialIds, TokenArray

SPECIAL = SpecialIds(0, 100, 101, 102, 103)
VOCAB = 1000


def hidden(
    ids: np.ndarray, *, seed: int = 0, epoch: int = 0, index: int = 0, rate: float = 0.15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    masking = Masking(rate, VOCAB, SPECIAL)
    return mask_tokens(ids, masking, seed=seed, epoch=epoch, index=index)


def example(length: int, seed: int = 0) -> np.ndarray:
    """[CLS] text [SEP] with some [UNK] in it."""
    ids = np.random.default_rng(seed).integers(104, VOCAB, length).astype(np.int32)
    ids[0], ids[-1], ids[5:10] = SPECIAL.cls, SPECIAL.sep, SPECIAL.unk
    return ids


def test_counts_are_exact_and_targets_are_the_old_ids() -> None:
    for length in (12, 40, 333, 512):
        ids = example(length)
        inputs, positions, targets = hidden(ids)
        assert len(positions) == max(1, round(0.15 * (length - 7)))
        assert len(set(positions.tolist())) == len(positions)
        assert (np.diff(positions) > 0).all()
        np.testing.assert_array_equal(targets, ids[positions])
        untouched = np.setdiff1d(np.arange(length), positions)
        np.testing.assert_array_equal(inputs[untouched], ids[untouched])
        assert inputs.dtype == positions.dtype == targets.dtype == np.int32


def test_a_short_text_hides_one_token_and_an_empty_one_none() -> None:
    inputs, positions, targets = hidden(np.array([101, 500, 102], np.int32))
    assert positions.tolist() == [1] and targets.tolist() == [500]
    inputs, positions, targets = hidden(np.array([101, 102], np.int32))
    assert inputs.tolist() == [101, 102] and len(positions) == len(targets) == 0


def test_proportions_are_berts() -> None:
    ids = example(512)
    masked = kept = swapped = total = 0
    drawn = np.zeros(VOCAB, int)
    times = np.zeros(512, int)
    for index in range(4000):
        inputs, positions, targets = hidden(ids, index=index)
        new = inputs[positions]
        is_mask, is_kept = new == SPECIAL.mask, new == targets
        masked, kept = masked + is_mask.sum(), kept + is_kept.sum()
        swapped += (~is_mask & ~is_kept).sum()
        total += len(positions)
        drawn += np.bincount(new[~is_mask & ~is_kept], minlength=VOCAB)
        times[positions] += 1
    # 304,000 draws: four standard deviations of a share of 0.1 are 0.0022.
    assert total == 4000 * 76
    assert masked / total == pytest.approx(0.8, abs=0.003)
    assert kept / total == pytest.approx(0.1 + 0.1 / (VOCAB - 5), abs=0.0022)
    assert swapped / total == pytest.approx(0.1, abs=0.0022)
    special = list(SPECIAL)
    assert times[np.isin(ids, special)].sum() == 0 and drawn[special].sum() == 0
    # Every ordinary id is drawn, the first and the last too, and evenly: 30.5 each on average.
    ordinary = np.delete(drawn, special)
    expected = swapped / len(ordinary)
    assert ordinary.min() > 0 and drawn[[1, VOCAB - 1]].min() > 0
    chi_square = ((ordinary - expected) ** 2 / expected).sum()
    assert abs(chi_square - len(ordinary)) < 5 * math.sqrt(2 * len(ordinary))
    # Every token is chosen equally often.
    chosen = times[~np.isin(ids, special)]
    assert chosen.mean() == pytest.approx(4000 * 76 / 505)
    assert abs(chosen - chosen.mean()).max() < 5 * math.sqrt(4000 * 0.15 * 0.85)


def test_it_is_a_pure_function_of_seed_epoch_and_index() -> None:
    ids = example(200)
    first = hidden(ids, seed=3, epoch=2, index=7)
    hidden(ids, seed=9, epoch=9, index=9)
    for a, b in zip(first, hidden(ids, seed=3, epoch=2, index=7), strict=True):
        np.testing.assert_array_equal(a, b)
    for other in ({"seed": 4}, {"epoch": 3}, {"index": 8}):
        _, positions, _ = hidden(ids, **{"seed": 3, "epoch": 2, "index": 7, **other})
        assert positions.tolist() != first[1].tolist()


def test_the_stream_is_frozen() -> None:
    # A run must resume with the same masks under another version of NumPy or of this package.
    _, positions, _ = hidden(np.arange(200, 240, dtype=np.int32), seed=1, epoch=2, index=3)
    assert positions.tolist() == [11, 12, 19, 20, 26, 38]


@pytest.mark.parametrize("rate", [0.01, 0.15, 0.3, 0.9])
def test_targets_always_fit_their_slots(rate: float) -> None:
    for length in range(3, 300):
        assert num_slots(length, rate) >= max(1, round(rate * (length - 2)))
    assert num_slots(512, 0.15) == 77 and num_slots(3, 0.01) == 1


# Ids from 900 on continue a word.
CONTINUES = np.arange(VOCAB) >= 900


def hidden_words(
    ids: np.ndarray, index: int = 0, rate: float = 0.15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return mask_tokens(ids, Masking(rate, VOCAB, SPECIAL, CONTINUES), seed=0, epoch=0, index=index)


def words_of(ids: np.ndarray) -> list[list[int]]:
    """Lists of the positions of each word, in plain Python."""
    words = []
    for place, token in enumerate(ids.tolist()):
        if token in SPECIAL:
            continue
        inside = words and words[-1][-1] == place - 1 and token >= 900
        words[-1].append(place) if inside else words.append([place])
    return words


def test_whole_words_are_hidden_whole_and_fill_the_number() -> None:
    rng = np.random.default_rng(0)
    left_out = 0
    for index in range(300):
        ids = np.where(rng.random(120) < 0.4, rng.integers(900, VOCAB, 120), example(120, index))
        ids = ids.astype(np.int32)
        ids[0], ids[-1], ids[50] = SPECIAL.cls, SPECIAL.sep, SPECIAL.unk
        count = max(1, round(0.15 * (~np.isin(ids, list(SPECIAL))).sum()))
        _, positions, targets = hidden_words(ids, index)
        chosen = set(positions.tolist())
        np.testing.assert_array_equal(targets, ids[positions])
        assert all(chosen >= set(word) or not chosen & set(word) for word in words_of(ids))
        assert 0 < len(positions) <= count
        left_out += count - len(positions)
    # Words of one token are never far: almost always the number is met.
    assert left_out / 300 < 0.05


def test_every_word_is_hidden_equally_often() -> None:
    ids = np.array([101, *[500, 950, 951] * 10, *[600] * 20, 102], np.int32)
    words = words_of(ids)
    times = np.zeros(len(words))
    for index in range(4000):
        positions = set(hidden_words(ids, index)[1].tolist())
        times += [word[0] in positions for word in words]
    # 8 of 50 tokens; words of one token fill the room in which no long one fits any more.
    assert times[:10].mean() / 4000 == pytest.approx(0.135, abs=0.015)
    assert times[10:].mean() / 4000 == pytest.approx(0.2, abs=0.015)
    assert (3 * times[:10].sum() + times[10:].sum()) / 4000 == pytest.approx(8, abs=0.1)
    assert abs(times[:10] - times[:10].mean()).max() < 5 * math.sqrt(4000 * 0.16 * 0.84)


def test_a_text_that_is_one_long_word_hides_its_beginning() -> None:
    ids = np.array([101, 500, *[950] * 39, 102], np.int32)
    assert hidden_words(ids)[1].tolist() == [1, 2, 3, 4, 5, 6]


def test_whole_words_are_replaced_in_berts_proportions() -> None:
    ids = np.array([101, *[500, 950] * 100, 102], np.int32)
    kinds = np.zeros(3)
    for index in range(1500):
        inputs, positions, targets = hidden_words(ids, index)
        new = inputs[positions]
        kinds += [(new == SPECIAL.mask).sum(), (new == targets).sum(), len(new)]
    assert kinds[0] / kinds[2] == pytest.approx(0.8, abs=0.008)
    assert kinds[1] / kinds[2] == pytest.approx(0.1, abs=0.006)


def by_the_rule(
    ids: np.ndarray, masking: Masking, seed: int, epoch: int, index: int
) -> tuple[list[int], dict[int, int]]:
    """What `mask_tokens` describes, token by token: the inputs, and the old ids by place."""
    special, rate = masking.special, masking.rate
    free = [place for place, token in enumerate(ids.tolist()) if token not in special]
    if not free:
        return ids.tolist(), {}
    count = max(1, round(rate * len(free)))
    # The salt is that of jaxattn/data/batches/masking.py: "mask".
    stream = np.random.Philox(
        key=np.array([seed, 0x6D61736B], np.uint64),
        counter=np.array([0, 0, index, epoch], np.uint64),
    )
    bits = stream.random_raw(len(free) + 2 * count).tolist()
    ranks = dict(zip(free, bits, strict=False))
    words = []
    for place in free:
        piece = masking.continues is not None and masking.continues[ids[place]]
        if piece and words and words[-1][-1] == place - 1:
            words[-1].append(place)
        else:
            words.append([place])
    words.sort(key=lambda word: ranks[word[0]])
    chosen = []
    for word in words:
        if len(chosen) + len(word) <= count:
            chosen += word
    chosen = sorted(chosen or words[0][:count])
    ordinary = [token for token in range(masking.vocab_size) if token not in special]
    inputs = ids.tolist()
    for number, place in enumerate(chosen):
        action, drawn = bits[len(free) + number], bits[len(free) + count + number]
        if action < int(0.8 * 2**64):
            inputs[place] = special.mask
        elif action < int(0.9 * 2**64):
            inputs[place] = ordinary[drawn % len(ordinary)]
    return inputs, {place: int(ids[place]) for place in chosen}


@pytest.mark.parametrize("continues", [None, CONTINUES], ids=["pieces", "words"])
@pytest.mark.parametrize("packed", [False, True])
def test_batches_are_made_by_the_rule_bit_for_bit(
    packed: bool, continues: np.ndarray | None
) -> None:
    """Texts side by side, empty ones and neighbours without a special token between them too."""
    rng = np.random.default_rng(8)
    for trial in range(20):
        lengths = rng.integers(0, 60, 12)
        high = rng.integers(0, 2, 12) * 500
        texts = [
            rng.integers(50 + more, VOCAB, n).astype(np.int32)
            for n, more in zip(lengths, high, strict=True)
        ]
        masking = Masking(float(rng.uniform(0.02, 0.6)), VOCAB, SPECIAL, continues)
        order = rng.permutation(12)
        rows = np.split(order, [3, 5, 5, 9]) if packed else singly(np.append(order[:5], -1))
        seed, epoch = int(rng.integers(2**32)), trial
        batch = mlm_batch(
            TokenArray.from_rows(texts), rows, 240, slots=240, packed=packed, masking=masking,
            seed=seed, epoch=epoch,
        )  # fmt: skip
        for row, numbers in enumerate(rows):
            inputs, hidden, segments = [], {}, []
            for segment, number in enumerate(numbers.tolist()):
                new, old = by_the_rule(texts[number], masking, seed, epoch, number)
                hidden |= {len(inputs) + place: token for place, token in old.items()}
                inputs += new
                segments += [segment] * len(new)
            rest = 240 - len(inputs)
            assert batch["ids"][row].tolist() == inputs + [SPECIAL.pad] * rest
            assert batch["mask"][row].tolist() == [True] * len(inputs) + [False] * rest
            empty = [0] * (240 - len(hidden))
            assert batch["positions"][row].tolist() == [*hidden, *empty]
            assert batch["targets"][row].tolist() == [*hidden.values(), *empty]
            assert batch["weights"][row].tolist() == [1.0] * len(hidden) + empty
            if packed:
                assert batch["segments"][row].tolist() == segments + [len(numbers)] * rest
