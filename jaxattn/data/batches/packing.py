"""Several texts in one row, so that hardly any place is padding.

Texts are put into the row with the least room that still holds them, longest first (best fit
decreasing, Johnson 1973): with many texts almost every row is full. Which lengths share a row is
settled once, so that every epoch has the same number of steps; which texts of these lengths they
are is drawn anew each epoch.
"""

import functools

import numpy as np

from jaxattn.data.batches.order import order_seed


class PackedPlan:
    """The batches of every epoch: each text exactly once, whole, in rows of one length."""

    def __init__(self, lengths: np.ndarray, *, length: int, batch_size: int, seed: int) -> None:
        """Packs texts of int [n] `lengths` into rows of `length` tokens.

        Raises:
            ValueError: there are no texts, or one is longer than a row.
        """
        self._lengths = np.asarray(lengths, np.int64)
        if not len(self._lengths):
            raise ValueError("there are no examples to batch")
        if self._lengths.max() > length:
            raise ValueError(f"an example has {self._lengths.max()} tokens, a row holds {length}")
        self.length, self._batch_size, self._seed = length, batch_size, seed
        self._slot_rows, self.rows = best_fit(-np.sort(-self._lengths), length)
        # Slots row by row; in `_slot_rows` they stand in the order of falling length.
        self._by_row = np.argsort(self._slot_rows, kind="stable")
        self._ends = np.cumsum(np.bincount(self._slot_rows, minlength=self.rows))
        # Two epochs: reading ahead into the next one begins while the old one is in use.
        self._texts = functools.lru_cache(maxsize=2)(self._placed)
        self._order = functools.lru_cache(maxsize=2)(self._mixed)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return -(-self.rows // self._batch_size)

    @property
    def steps_by_length(self) -> dict[int, int]:
        """As in `BatchPlan`: there is one length."""
        return {self.length: self.steps_per_epoch}

    @property
    def shapes(self) -> tuple[int, ...]:
        """The length of the rows."""
        return (self.length,)

    def padded_length(self, step: int) -> int:
        """As in `BatchPlan`: the length of the rows, at every step."""
        return self.length

    @property
    def useful_share(self) -> float:
        """Share of all places that hold a token of a text; the last batch's empty rows count."""
        return int(self._lengths.sum()) / (self.steps_per_epoch * self._batch_size * self.length)

    def most_hidden(self, rate: float) -> int:
        """Tokens that masking at this rate can hide in any row: the slots every row has."""
        candidates = np.maximum(-np.sort(-self._lengths) - 2, 0)
        hidden = np.where(candidates, np.maximum(np.round(rate * candidates), 1), 0)
        return max(1, int(np.bincount(self._slot_rows, hidden).max()))

    def batch_rows(self, step: int) -> list[np.ndarray]:
        """Numbers of the texts in each row of a batch; a row of the last one may be empty."""
        epoch, place = divmod(step, self.steps_per_epoch)
        texts = self._texts(epoch)
        rows = self._order(epoch)[place * self._batch_size :][: self._batch_size]
        empty = [texts[:0]] * (self._batch_size - len(rows))
        return [texts[self._ends[row - 1] if row else 0 : self._ends[row]] for row in rows] + empty

    def _mixed(self, epoch: int) -> np.ndarray:
        return permutation(self.rows, order_seed(self._seed, "packed rows"), epoch)

    def _placed(self, epoch: int) -> np.ndarray:
        """Numbers of the texts in the slots of all rows, row after row, int64 [n]."""
        mixed = permutation(len(self._lengths), order_seed(self._seed, "packed texts"), epoch)
        falling = mixed[np.argsort(-self._lengths[mixed], kind="stable")]
        texts = falling[self._by_row]
        texts.setflags(write=False)
        return texts


def best_fit(falling: np.ndarray, length: int) -> tuple[np.ndarray, int]:
    """Row of each text, int64 [n], and the number of rows.

    Args:
        falling: int [n], lengths of at most `length`, longest first.
        length: of a row.
    """
    row_of = np.empty(len(falling), np.int64)
    rows = 0
    # room -> rows that have it; bit r of `rooms` is set where there is one of room r.
    waiting: list[list[int]] = [[] for _ in range(length + 1)]
    rooms = 0
    for text, size in enumerate(falling.tolist()):
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            row = waiting[room].pop()
            if not waiting[room]:
                rooms ^= 1 << room
        else:
            room, row, rows = length, rows, rows + 1
        row_of[text] = row
        if room - size:
            waiting[room - size].append(row)
            rooms |= 1 << (room - size)
    return row_of, rows


def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """The numbers below `count` in an order of chance, another in every epoch, int64 [count]."""
    # Sorting raw bits instead of Generator.permutation: only the raw stream is the same under
    # every NumPy version, and a resumed run must see the same order.
    return np.argsort(np.random.PCG64((seed, epoch)).random_raw(count), kind="stable")
