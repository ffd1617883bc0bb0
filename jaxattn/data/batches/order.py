"""Which rows make batch number `step`, how they are padded, and the arrays of a batch.

Lengths are rounded up to a few buckets, so that `jit` compiles a bounded number of programs, and a
batch is a pure function of (seed, step, lengths): resuming at a step needs no iterator state. The
order of training is a composition of Grain's `MapDataset`, which is read at any index.
"""

import functools
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxattn.data.batches.masking import Masking, mask_texts
from jaxattn.data.tokens.arrays import TokenRows


def order_seed(seed: int, purpose: str) -> int:
    """A seed of 32 bits; those of different purposes are far apart.

    Grain adds the number of the epoch to a seed, so that neighbouring seeds would give one epoch
    the order of another.
    """
    digest = hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


Members = list[tuple[int, np.ndarray]]
"""Bucket, rising, and its rows in order, int64 [m >= 1]."""


def _by_bucket(lengths: np.ndarray, buckets: Sequence[int]) -> Members:
    """Bucket -> its rows in order, rising, without empty ones; ValueError where none fits."""
    lengths = np.asarray(lengths, np.int64)
    if not len(lengths):
        raise ValueError("there are no examples to batch")
    if lengths.max() > buckets[-1]:
        raise ValueError(
            f"an example has {lengths.max()} tokens, the longest bucket holds {buckets[-1]}"
        )
    bucket_of = np.searchsorted(np.asarray(buckets, np.int64), lengths, side="left")
    return [(int(buckets[b]), np.flatnonzero(bucket_of == b)) for b in np.unique(bucket_of)]


def filled(rows: np.ndarray, batch_size: int) -> np.ndarray:
    """int64 [batch_size]: the rows, then -1 for empty ones."""
    indices = np.full(batch_size, -1, np.int64)
    indices[: len(rows)] = rows
    return indices


def batches_in_order(
    lengths: np.ndarray, *, buckets: Sequence[int], batch_size: int
) -> list[tuple[int, np.ndarray]]:
    """Every row once, bucket by bucket, as in evaluation: (padded length, int64 [batch_size]).

    Args:
        lengths: int [n], tokens of each row.
        buckets: rising padded lengths; the last one is the longest row allowed.
        batch_size: rows of a batch; the last one may have empty rows, -1.

    Raises:
        ValueError: there are no rows, or one is longer than the last bucket.
    """
    members = _by_bucket(lengths, buckets)
    rows = np.concatenate([own for _, own in members])
    padded = np.concatenate([np.full(len(own), length) for length, own in members])
    return [
        (
            int(padded[start : start + batch_size][-1]),
            filled(rows[start:][:batch_size], batch_size),
        )
        for start in range(0, len(rows), batch_size)
    ]


class BatchPlan:
    """The batches of every epoch of training: each row exactly once, at most one partial batch.

    Rows are shuffled within their bucket and cut into batches, shortest first; what does not fill
    a batch is carried into the next larger bucket. Then the batches are shuffled.
    """

    def __init__(
        self, lengths: np.ndarray, *, buckets: Sequence[int], batch_size: int, seed: int
    ) -> None:
        """Plans batches of `batch_size` rows; the arguments are those of `batches_in_order`."""
        self._members = _by_bucket(lengths, buckets)
        self._by_length = np.concatenate([own for _, own in self._members])
        self._sizes = [(length, len(own)) for length, own in self._members]
        self._lengths, self._buckets = np.asarray(lengths, np.int64), np.asarray(buckets)
        self._batch_size, self._seed = batch_size, seed

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch: the number of rows over the batch size, rounded up."""
        return -(-len(self._lengths) // self._batch_size)

    @functools.cached_property
    def steps_by_length(self) -> dict[int, int]:
        """Padded length, rising -> batches of an epoch; the same in every epoch."""
        ends = np.minimum(
            self._batch_size * np.arange(1, self.steps_per_epoch + 1), len(self._lengths)
        )
        return dict(sorted(Counter(self._length_of(end - 1) for end in ends.tolist()).items()))

    @property
    def shapes(self) -> tuple[int, ...]:
        """Padded lengths that occur, rising."""
        return tuple(self.steps_by_length)

    def batch_indices(self, step: int) -> tuple[int, np.ndarray]:
        """Padded length and row numbers (int64 [batch_size], -1: empty row) of a batch."""
        rows = self._by_length[self._batches[step]]
        longest = self._lengths[rows].max()
        padded = self._buckets[np.searchsorted(self._buckets, longest)]
        return int(padded), filled(rows, self._batch_size)

    def padded_length(self, step: int) -> int:
        """The length that a batch is padded to."""
        return self.batch_indices(step)[0]

    def _length_of(self, place: int) -> int:
        """The bucket in which a place of an epoch is."""
        ends = np.cumsum([count for _, count in self._sizes])
        return self._sizes[int(np.searchsorted(ends, place, side="right"))][0]

    @functools.cached_property
    def _batches(self) -> Any:
        """step -> places of the rows of its batch among those of an epoch, bucket by bucket."""
        import grain

        # Ranges, not sources of row numbers: Grain counts and times every read of a source, which
        # took half of the time of a batch's plan.
        ends = np.cumsum([count for _, count in self._sizes]).tolist()
        parts = [
            grain.MapDataset.range(start, end).shuffle(order_seed(self._seed, f"rows {length}"))
            for start, end, (length, _) in zip([0, *ends], ends, self._sizes, strict=False)
        ]
        rows = grain.MapDataset.concatenate(parts)
        batches = rows.batch(self._batch_size, drop_remainder=False, batch_fn=np.asarray)
        return batches.shuffle(order_seed(self._seed, "batches")).repeat()


def classification_batch(
    tokens: TokenRows,
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
    ids = np.full((len(indices), length), pad_id, np.int32)
    mask = np.zeros((len(indices), length), bool)
    for row, index in enumerate(indices):
        if index >= 0:
            text = tokens[index]
            _require_room(index, len(text), length)
            ids[row, : len(text)] = text
            mask[row, : len(text)] = True
    real = indices >= 0
    known = np.zeros(len(indices), np.int32)
    if labels is not None:
        known[real] = labels[indices[real]]
    return {"ids": ids, "mask": mask, "labels": known, "weights": real.astype(np.float32)}


def singly(indices: np.ndarray) -> list[np.ndarray]:
    """Rows of one text each, and of none where the index is -1: what `mlm_batch` takes."""
    return [indices[at : at + (index >= 0)] for at, index in enumerate(indices)]


def mlm_batch(
    tokens: TokenRows,
    rows: Sequence[np.ndarray],
    length: int,
    *,
    slots: int,
    packed: bool,
    masking: Masking,
    seed: int,
    epoch: int,
) -> dict[str, np.ndarray]:
    """A padded batch with hidden tokens; see `mask_tokens` for what is hidden.

    What is hidden of a text does not depend on the row it is in. Unused slots have position 0 and
    weight 0.

    Args:
        tokens: all texts.
        rows: for each of B rows the numbers of its texts, which follow one another.
        length: N, at least the tokens of any row; ValueError otherwise.
        slots: S, at least as many as tokens are hidden in any row; ValueError otherwise. A number
            that depends on nothing but N makes one padded length one compiled program.
        packed: tell the texts of a row apart by `segments`.
        masking: what is hidden.
        seed: of the run.
        epoch: number of the epoch; each hides other tokens.

    Returns:
        ids int32 [B, N], mask bool [B, N]; positions int32 [B, S], targets int32 [B, S] (the ids
        before hiding), weights float32 [B, S]; if packed, segments int32 [B, N], counted from 0.
    """
    padding = np.full(length, masking.special.pad, np.int32)
    pieces, starts, stops, ends, indices = [], [], [], [], []
    for row, texts in enumerate(rows):
        stop = row * length
        for index in texts.tolist():
            text = tokens[index]
            starts.append(stop)
            stop += len(text)
            _require_room(index, stop - row * length, length)
            pieces.append(text)
            stops.append(stop)
            indices.append(index)
        ends.append(stop - row * length)
        pieces.append(padding[: length - ends[-1]])
    ids = np.concatenate(pieces)
    # [PAD] is special: nothing of the padding is hidden.
    inputs, places, hidden = mask_texts(
        ids, starts, stops, masking, seed=seed, epoch=epoch, indices=indices
    )
    shape = len(rows), length
    positions, targets = (
        np.zeros((len(rows), slots), np.int32),
        np.zeros((len(rows), slots), np.int32),
    )
    weights = np.zeros((len(rows), slots), np.float32)
    row_of, position = np.divmod(places, length)
    first_of = np.searchsorted(row_of, np.arange(len(rows)))
    slot = np.arange(len(places)) - first_of[row_of]
    if len(slot) and slot.max() >= slots:
        raise ValueError(f"a row hides {slot.max() + 1} tokens, it has {slots} slots")
    positions[row_of, slot] = position
    targets[row_of, slot] = hidden
    weights[row_of, slot] = 1.0
    batch = {
        "ids": inputs.reshape(shape),
        "mask": np.arange(length) < np.array(ends)[:, None],
        "positions": positions,
        "targets": targets,
        "weights": weights,
    }
    if packed:
        # Padding is a segment of its own, as a text of padding would be.
        numbers = [number for texts in rows for number in range(len(texts) + 1)]
        sizes = [len(piece) for piece in pieces]
        batch["segments"] = np.repeat(np.array(numbers, np.int32), sizes).reshape(shape)
    return batch


def _require_room(index: int, needed: int, length: int) -> None:
    if needed > length:
        raise ValueError(f"example {index} needs {needed} tokens, the batch is padded to {length}")
