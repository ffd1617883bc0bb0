"""BERT's token masking as a pure function of (seed, epoch, example)."""

import dataclasses
import math

import numpy as np

from jaxattn.data.tokens import SpecialIds

# Keeps these random numbers apart from others drawn with the same seed.
_SALT = 0x6D61736B
# Shares of the 64-bit range: below the first [MASK], below the second a random token, else kept.
_MASKED_BELOW = np.uint64(int(0.8 * 2**64))
_RANDOM_BELOW = np.uint64(int(0.9 * 2**64))


def num_slots(length: int, rate: float) -> int:
    """Target slots of a row padded to `length`: never fewer than `mask_tokens` chooses."""
    return max(1, math.ceil(rate * length))


@dataclasses.dataclass(frozen=True)
class Masking:
    """What an MLM hides.

    Attributes:
        rate: share of tokens to choose.
        vocab_size: ids are below this.
        special: never chosen, never drawn.
        continues: bool [V], True for pieces that continue a word; given, whole words are chosen.
    """

    rate: float
    vocab_size: int
    special: SpecialIds
    continues: np.ndarray | None = None


def mask_tokens(
    ids: np.ndarray, masking: Masking, *, seed: int, epoch: int, index: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chooses the tokens to predict and hides them (Devlin et al. 2019, section 3.1).

    Of the tokens that are not special, exactly `max(1, round(rate * count))` are chosen (none if
    there are none); of whole words as many as fit into that number. A chosen token becomes [MASK]
    with probability 0.8, any token that is not special with 0.1, and stays with 0.1.

    Args:
        ids: int32 [n], one example.
        masking: the rule.
        seed: of the run.
        epoch: number of the epoch; each hides other tokens.
        index: number of the example in the corpus.

    Returns:
        inputs int32 [n], positions int32 [s] in rising order, targets int32 [s].
    """
    special = masking.special
    candidates = np.flatnonzero(~_is_special(ids, special))
    if not len(candidates):
        return ids, np.zeros(0, np.int32), np.zeros(0, np.int32)
    count = max(1, round(masking.rate * len(candidates)))
    # Only the raw output of NumPy's bit generators is promised to stay the same, the methods of
    # `Generator` are not: a run resumed under another NumPy must hide the same tokens. The counter
    # leaves 2**128 numbers to each (epoch, index).
    stream = np.random.Philox(
        key=np.array([seed, _SALT], np.uint64), counter=np.array([0, 0, index, epoch], np.uint64)
    )
    bits = stream.random_raw(len(candidates) + 2 * count)
    ranks, action, drawn = bits[: -2 * count], bits[-2 * count : -count], bits[-count:]
    if masking.continues is None:
        chosen = np.argpartition(ranks, count - 1)[:count]
    else:
        chosen = _whole_words(masking.continues[ids[candidates]], candidates, ranks, count)
        action, drawn = action[: len(chosen)], drawn[: len(chosen)]
    positions = candidates[chosen]
    positions.sort()

    inputs = ids.copy()
    inputs[positions[action < _MASKED_BELOW]] = special.mask
    swapped = np.flatnonzero((action >= _MASKED_BELOW) & (action < _RANDOM_BELOW))
    inputs[positions[swapped]] = _ordinary_ids(drawn[swapped], masking.vocab_size, special)
    return inputs, positions.astype(np.int32), ids[positions]


def _whole_words(
    continues: np.ndarray, candidates: np.ndarray, ranks: np.ndarray, count: int
) -> np.ndarray:
    """Places among the candidates of words drawn at random, at most `count` tokens in all.

    A piece continues the word of the candidate just before it. Where no word is short enough, the
    first tokens of the word drawn first are taken.
    """
    # What follows a special token begins a word, whatever its spelling.
    adjacent = np.append(False, np.diff(candidates) == 1)
    first = np.flatnonzero(~(continues & adjacent))
    sizes = np.diff(np.append(first, len(candidates)))
    order = np.argsort(ranks[first], kind="stable")
    chosen, room = [], count
    for word in order:
        if sizes[word] <= room:
            chosen.append(np.arange(first[word], first[word] + sizes[word]))
            room -= sizes[word]
            if not room:
                break
    if not chosen:
        return np.arange(first[order[0]], first[order[0]] + count)
    return np.concatenate(chosen)


def _is_special(ids: np.ndarray, special: SpecialIds) -> np.ndarray:
    # Five comparisons beat np.isin by a factor of several on rows this short.
    found = ids == special[0]
    for token in special[1:]:
        found |= ids == token
    return found


def _ordinary_ids(drawn: np.ndarray, vocab_size: int, special: SpecialIds) -> np.ndarray:
    """Uniform ids in [0, vocab_size) that are not special, from uint64 random bits."""
    # The modulo's bias is below vocab_size / 2**64.
    ids = (drawn % np.uint64(vocab_size - len(special))).astype(np.int64)
    for token in sorted(special):
        ids += ids >= token
    return ids
