"""Batches in which every class is met equally often, however many texts it has.

An epoch keeps its number of rows n: of each of K classes n / K are drawn, so that texts of rare
classes are repeated and those of frequent ones take turns from epoch to epoch. Nothing is drawn
with replacement: a class's texts are met once each, in an order of chance, before any is met again.
"""

import functools
from typing import NamedTuple

import numpy as np

from jaxattn.data.batches.order import BatchPlan, Members, filled, order_seed
from jaxattn.data.batches.packing import permutation


class _Cell(NamedTuple):
    """Rows of one class that share a padded length, int64 [m], and how many an epoch draws."""

    length: int
    label: int
    rows: np.ndarray
    quota: int


class BalancedPlan(BatchPlan):
    """The batches of every epoch: of each class that occurs as many rows, give or take one.

    Batches are formed as in `BatchPlan`; every epoch has the same number of each padded length.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        labels: np.ndarray,
        *,
        buckets: tuple[int, ...],
        batch_size: int,
        seed: int,
    ) -> None:
        """Plans batches of `batch_size` rows with int [n] `labels`; the rest as in `BatchPlan`."""
        super().__init__(lengths, buckets=buckets, batch_size=batch_size, seed=seed)
        labels = np.asarray(labels)
        classes = np.unique(labels)
        # The first classes have one more where n is no multiple of their number.
        share, more = divmod(len(labels), len(classes))
        cells = [
            cell
            for place, label in enumerate(classes.tolist())
            for cell in _cells(self._members, labels == label, label, share + (place < more))
        ]
        self._cells = sorted(cells, key=lambda cell: (cell.length, cell.label))
        sizes: dict[int, int] = {}
        for cell in self._cells:
            sizes[cell.length] = sizes.get(cell.length, 0) + cell.quota
        self._sizes = list(sizes.items())
        # Two epochs: reading ahead into the next one begins while the old one is in use.
        self._epoch = functools.lru_cache(maxsize=2)(self._drawn)

    def batch_indices(self, step: int) -> tuple[int, np.ndarray]:
        """Padded length and row numbers (int64 [batch_size], -1: empty row) of a batch."""
        places = self._batches[step]
        rows = self._epoch(step // self.steps_per_epoch)[places]
        return self._length_of(int(places.max())), filled(rows, self._batch_size)

    def _drawn(self, epoch: int) -> np.ndarray:
        """The rows of an epoch, cell by cell, int64 [n]."""
        drawn = np.concatenate([self._next_rows(cell, epoch) for cell in self._cells])
        drawn.setflags(write=False)
        return drawn

    def _next_rows(self, cell: _Cell, epoch: int) -> np.ndarray:
        """The rows of a cell that it is the turn of, int64 [quota]."""
        count = len(cell.rows)
        start = epoch * cell.quota
        first, last = start // count, (start + cell.quota - 1) // count
        seed = order_seed(self._seed, f"class {cell.label} of {cell.length}")
        turns = [permutation(count, seed, turn) for turn in range(first, last + 1)]
        begin = start - first * count
        result: np.ndarray = cell.rows[np.concatenate(turns)[begin : begin + cell.quota]]
        return result


def _cells(members: Members, of_class: np.ndarray, label: int, quota: int) -> list[_Cell]:
    """The rows of a class by padded length; each cell is drawn at least once an epoch.

    Rows that by their share would be drawn less than that are padded to the next length.
    """
    total, cells = int(of_class.sum()), []
    carried: list[np.ndarray] = []
    for length, own in members:
        carried.append(own[of_class[own]])
        if quota * sum(map(len, carried)) >= total:
            cells.append((length, np.concatenate(carried)))
            carried = []
        elif not len(carried[-1]):
            carried.pop()
        else:
            longest = length
    if carried:
        # The last ones are too few: those of the length before are padded to theirs.
        cells.append((longest, np.concatenate([cells.pop()[1], *carried])))
    counts = np.array([len(rows) for _, rows in cells])
    quotas, rest = np.divmod(quota * counts, total)
    largest = np.argsort(-rest, kind="stable")[: quota - int(quotas.sum())]
    quotas[largest] += 1
    return [
        _Cell(length, label, rows, int(count))
        for (length, rows), count in zip(cells, quotas, strict=True)
    ]
