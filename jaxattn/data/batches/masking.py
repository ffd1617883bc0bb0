"""BERT's token masking as a pure function of (seed, epoch, example)."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxattn.data.tokens.arrays import SpecialIds

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
    inputs, positions, targets = mask_texts(
        ids, [0], [len(ids)], masking, seed=seed, epoch=epoch, indices=[index]
    )
    return inputs, positions.astype(np.int32), targets


def mask_texts(
    ids: np.ndarray,
    starts: Sequence[int],
    stops: Sequence[int],
    masking: Masking,
    *,
    seed: int,
    epoch: int,
    indices: Sequence[int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`mask_tokens` of many texts at once: only the drawing goes text by text.

    Args:
        ids: int32 [T], the texts `ids[start:stop]` in rising order; between them special tokens.
        starts, stops: int [n], of the texts.
        masking: the rule.
        seed: of the run.
        epoch: number of the epoch.
        indices: int [n], numbers of the texts in the corpus.

    Returns:
        inputs int32 [T], positions int64 [s] in them in rising order, targets int32 [s].
    """
    special = masking.special
    candidates = np.flatnonzero(~_is_special(ids, special))
    begins = np.searchsorted(candidates, starts).tolist()
    ends = np.searchsorted(candidates, stops).tolist()
    if masking.continues is not None:
        words = _first_pieces(ids, candidates, begins, masking.continues)
    stream, counter = np.random.Philox(0), np.zeros(4, np.uint64)
    state = _at_the_start(seed, counter)
    counter[3] = epoch
    chosen, actions, draws = [], [], []
    for begin, end, index in zip(begins, ends, indices, strict=True):
        size = end - begin
        if not size:
            continue
        count = max(1, round(masking.rate * size))
        counter[2] = index
        stream.state = state  # type: ignore[assignment]  # NumPy's own type for it is private
        bits = stream.random_raw(size + 2 * count)
        if masking.continues is None:
            own = bits[:size].argpartition(count - 1)[:count]
        else:
            own_words = slice(*np.searchsorted(words, (begin, end)))
            own = _whole_words(words[own_words] - begin, bits[:size], count)
        chosen.append(own + begin)
        actions.append(bits[size : size + len(own)])
        draws.append(bits[size + count : size + count + len(own)])
    if not chosen:
        return ids, np.zeros(0, np.int64), np.zeros(0, np.int32)
    positions = candidates[np.concatenate(chosen)]
    # A text's come after those of the text before it, so all can be sorted at once.
    positions.sort()
    action, drawn = np.concatenate(actions), np.concatenate(draws)
    inputs = ids.copy()
    inputs[positions[action < _MASKED_BELOW]] = special.mask
    swapped = np.flatnonzero((action >= _MASKED_BELOW) & (action < _RANDOM_BELOW))
    inputs[positions[swapped]] = _ordinary_ids(drawn[swapped], masking.vocab_size, special)
    return inputs, positions, ids[positions]


def _at_the_start(seed: int, counter: np.ndarray) -> dict[str, Any]:
    """A state of NumPy's Philox, as `Philox(key=(seed, _SALT), counter=counter)` begins.

    Only the raw output of NumPy's bit generators is promised to stay the same, the methods of
    `Generator` are not: a run resumed under another NumPy must hide the same tokens. A counter of
    (0, 0, index, epoch) leaves 2**128 numbers to each text. Setting the state is a seventh of the
    work of making a generator, which asks the system for random numbers that it does not use.
    """
    return {
        "bit_generator": "Philox",
        "state": {"counter": counter, "key": np.array([seed, _SALT], np.uint64)},
        # Four numbers are made at a time, and none is left.
        "buffer": np.zeros(4, np.uint64),
        "buffer_pos": 4,
        "has_uint32": 0,
        "uinteger": 0,
    }


def _first_pieces(
    ids: np.ndarray, candidates: np.ndarray, begins: Sequence[int], continues: np.ndarray
) -> np.ndarray:
    """Places among the candidates where words begin, int64 [w].

    A piece continues the word of the candidate just before it. What follows a special token begins
    a word, whatever its spelling, and so does a text.
    """
    first = np.ones(len(candidates) + 1, bool)
    adjacent = candidates[1:] - candidates[:-1] == 1
    first[1:-1] = ~(continues[ids[candidates[1:]]] & adjacent)
    first[begins] = True
    return np.flatnonzero(first[:-1])


def _whole_words(first: np.ndarray, ranks: np.ndarray, count: int) -> np.ndarray:
    """Places among a text's candidates of words drawn at random, at most `count` tokens in all.

    Words are taken in the order drawn while they fit. Where no word is short enough, the first
    tokens of the word drawn first are taken.

    Args:
        first: int [w], where words begin.
        ranks: uint64 [candidates]; a word's is that of its first token.
        count: tokens.
    """
    sizes, drawn = np.diff(first, append=len(ranks)), ranks[first]
    # The words drawn early fill the room nearly always, and need no order of the others.
    early = np.argpartition(drawn, 2 * count)[: 2 * count] if 2 * count < len(first) else None
    if early is None or (taken := _taken(early[np.argsort(drawn[early])], sizes, count))[1]:
        order = np.argsort(drawn, kind="stable")
        taken = _taken(order, sizes, count)
        if not len(taken[0]):
            return np.arange(first[order[0]], first[order[0]] + count)
    is_taken = np.zeros(len(first), bool)
    is_taken[taken[0]] = True
    return np.flatnonzero(np.repeat(is_taken, sizes))


def _taken(words: np.ndarray, sizes: np.ndarray, room: int) -> tuple[np.ndarray, int]:
    """Of these words those that fit one after the other, and the room that is left."""
    taken = []
    while room:
        words = words[sizes[words] <= room]
        if not len(words):
            break
        # The next word that does not fit never will, and those after it may.
        total = np.cumsum(sizes[words])
        fit = int(np.searchsorted(total, room, side="right"))
        taken.append(words[:fit])
        room -= int(total[fit - 1])
        words = words[fit:]
    return np.concatenate(taken) if taken else words[:0], room


def _is_special(ids: np.ndarray, special: SpecialIds) -> np.ndarray:
    # Five comparisons beat np.isin by a factor of several on rows this short.
    found = ids == special[0]
    for token in special[1:]:
        found |= ids == token
    result: np.ndarray = found
    return result


def _ordinary_ids(drawn: np.ndarray, vocab_size: int, special: SpecialIds) -> np.ndarray:
    """Uniform ids in [0, vocab_size) that are not special, from uint64 random bits."""
    # The modulo's bias is below vocab_size / 2**64.
    ids = (drawn % np.uint64(vocab_size - len(special.distinct))).astype(np.int64)
    for token in special.distinct:
        ids += ids >= token
    return ids
