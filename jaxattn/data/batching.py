"""Which examples make batch number `step`, and how they are padded.

Lengths are rounded up to a few buckets, so that `jit` compiles a bounded number of programs, and a
batch is a pure function of (seed, step, lengths): resuming at a step needs no iterator state.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxattn.data.masking import mask_tokens, num_slots
from jaxattn.data.tokens import SpecialIds, TokenArray

_SMALLEST_BUCKET = 32
# Salts: the order within a bucket and the order of batches are drawn independently.
_ROWS, _BATCHES = 1, 2


def default_buckets(max_length: int) -> tuple[int, ...]:
    """Powers of two from 32 on, below `max_length`, and `max_length` itself as the last."""
    buckets = []
    length = _SMALLEST_BUCKET
    while length < max_length:
        buckets.append(length)
        length *= 2
    return (*buckets, max_length)


def _permutation(count: int, *key: int) -> np.ndarray:
    # Sorting raw bits instead of Generator.permutation: only the raw stream is the same under
    # every NumPy version, and a resumed run must see the same order.
    return np.argsort(np.random.PCG64(key).random_raw(count), kind="stable")


class _Epoch(NamedTuple):
    indices: np.ndarray  # int64 [steps, batch_size], -1 for an empty row
    padded: np.ndarray  # int64 [steps]


class BatchPlan:
    """The batches of every epoch: each example exactly once, at most one partial batch.

    Examples are batched with others of their bucket. What does not fill a batch is carried into
    the next larger bucket, so only the last batch of the longest bucket may have empty rows.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        *,
        buckets: Sequence[int],
        batch_size: int,
        seed: int,
        shuffle: bool,
    ) -> None:
        """Plans batches of `batch_size` examples whose token counts are `lengths` [n].

        Args:
            lengths: int [n].
            buckets: rising padded lengths; the last one is the longest input allowed.
            batch_size: rows of a batch.
            seed: of the order; unused without `shuffle`.
            shuffle: another order every epoch; False (evaluation): bucket by bucket, in order.

        Raises:
            ValueError: there are no examples, or one is longer than the last bucket.
        """
        lengths = np.asarray(lengths, np.int64)
        if not len(lengths):
            raise ValueError("there are no examples to batch")
        if lengths.max() > buckets[-1]:
            raise ValueError(
                f"an example has {lengths.max()} tokens, the longest bucket holds {buckets[-1]}"
            )
        bucket_of = np.searchsorted(np.asarray(buckets, np.int64), lengths, side="left")
        self._members = [
            (int(buckets[b]), np.flatnonzero(bucket_of == b)) for b in np.unique(bucket_of)
        ]
        self._count = len(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        # Two epochs: prefetching reads ahead into the next one while the old one is in use.
        self._epoch = functools.lru_cache(maxsize=2)(self._planned)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch: the number of examples over the batch size, rounded up."""
        return -(-self._count // self._batch_size)

    @property
    def shapes(self) -> tuple[int, ...]:
        """Padded lengths that occur, rising; the same in every epoch."""
        return tuple(int(length) for length in np.unique(self._epoch(0).padded))

    def batch_indices(self, step: int) -> tuple[int, np.ndarray]:
        """Padded length and example numbers (int64 [batch_size], -1: empty row) of a batch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        plan = self._epoch(epoch if self._shuffle else 0)
        return int(plan.padded[place]), plan.indices[place]

    def _planned(self, epoch: int) -> _Epoch:
        size = self._batch_size
        batches: list[np.ndarray] = []
        padded: list[int] = []
        carried = np.zeros(0, np.int64)
        for length, members in self._members:
            if self._shuffle:
                members = members[_permutation(len(members), _ROWS, self._seed, epoch, length)]
            waiting = np.concatenate([carried, members])
            full = len(waiting) // size * size
            batches.append(waiting[:full].reshape(-1, size))
            padded += [length] * (full // size)
            carried = waiting[full:]
        if len(carried):
            last = np.full((1, size), -1, np.int64)
            last[0, : len(carried)] = carried
            batches.append(last)
            padded.append(self._members[-1][0])
        indices, lengths = np.concatenate(batches), np.asarray(padded, np.int64)
        if self._shuffle:
            order = _permutation(len(indices), _BATCHES, self._seed, epoch)
            indices, lengths = indices[order], lengths[order]
        # Rows of this array are handed out; a caller that wrote to one would change later epochs.
        indices.setflags(write=False)
        return _Epoch(indices, lengths)


def _padded(
    tokens: TokenArray, indices: np.ndarray, length: int, pad_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids int32 [B, length] and mask bool [B, length], True where there is a token."""
    ids = np.full((len(indices), length), pad_id, np.int32)
    mask = np.zeros((len(indices), length), bool)
    for row, index in enumerate(indices):
        if index < 0:
            continue
        text = tokens[index]
        if len(text) > length:
            raise ValueError(
                f"example {index} has {len(text)} tokens, the batch is padded to {length}"
            )
        ids[row, : len(text)] = text
        mask[row, : len(text)] = True
    return ids, mask


def classification_batch(
    tokens: TokenArray,
    labels: np.ndarray | None,
    indices: np.ndarray,
    length: int,
    pad_id: int,
) -> dict[str, np.ndarray]:
    """A padded batch for the classifier; a row of index -1 is all padding with weight 0.

    Args:
        tokens: all examples.
        labels: int32 [n], or None where they are unknown (all 0 then).
        indices: int64 [B], as `BatchPlan.batch_indices` gives them.
        length: N, at least the longest example's tokens; ValueError otherwise.
        pad_id: id of [PAD].

    Returns:
        ids int32 [B, N], mask bool [B, N], labels int32 [B], weights float32 [B].
    """
    ids, mask = _padded(tokens, indices, length, pad_id)
    real = indices >= 0
    known = np.zeros(len(indices), np.int32)
    if labels is not None:
        known[real] = labels[indices[real]]
    return {"ids": ids, "mask": mask, "labels": known, "weights": real.astype(np.float32)}


def mlm_batch(
    tokens: TokenArray,
    indices: np.ndarray,
    length: int,
    *,
    seed: int,
    epoch: int,
    rate: float,
    vocab_size: int,
    special: SpecialIds,
) -> dict[str, np.ndarray]:
    """A padded batch with hidden tokens; see `mask_tokens` for what is hidden.

    The number of slots S is `num_slots(length, rate)`, whatever the examples, so that one padded
    length is one compiled program. Unused slots have position 0 and weight 0.

    Returns:
        ids int32 [B, N], mask bool [B, N]; positions int32 [B, S], targets int32 [B, S] (the ids
        before hiding), weights float32 [B, S].
    """
    ids, mask = _padded(tokens, indices, length, special.pad)
    shape = (len(indices), num_slots(length, rate))
    positions, targets = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    weights = np.zeros(shape, np.float32)
    for row, index in enumerate(indices):
        if index < 0:
            continue
        inputs, places, hidden = mask_tokens(
            tokens[index], seed=seed, epoch=epoch, index=int(index), rate=rate,
            vocab_size=vocab_size, special=special,
        )  # fmt: skip
        ids[row, : len(inputs)] = inputs
        positions[row, : len(places)] = places
        targets[row, : len(places)] = hidden
        weights[row, : len(places)] = 1.0
    return {
        "ids": ids, "mask": mask, "positions": positions, "targets": targets, "weights": weights,
    }  # fmt: skip
