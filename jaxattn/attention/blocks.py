"""Work cut into groups of rows (a head of a batch row) and blocks, one after the other.

On a CPU a group is as small as one row: what is computed at a time stays in the caches, and
temporaries stay small. An accelerator wants many rows at a time to be busy.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

# Scores (or features) held at a time. CPU: measured, the second-level cache decides.
_CPU_NUMBERS = 2**20

_ACCELERATOR_NUMBERS = 2**26


def numbers_at_a_time() -> int:
    """How many scores or features to hold at a time on the default device."""
    return _CPU_NUMBERS if jax.default_backend() == "cpu" else _ACCELERATOR_NUMBERS


def even_blocks(length: int, longest: int) -> tuple[int, int]:
    """(number, length) of the fewest equal blocks of at most `longest` that cover `length`."""
    number = -(-length // max(1, min(longest, length)))
    return number, -(-length // number)


def _divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`, at least 1."""
    return max(n for n in range(1, number + 1) if number % n == 0 and n <= max(1, most))


class RowGroups(NamedTuple):
    """B x H rows in groups of `batch` x `heads` neighbours; `number` groups in all.

    Where `batch` does not divide B, the last groups begin earlier and compute some batch rows a
    second time: what they put replaces what was there, and what is added counts once.
    """

    batch: int
    heads: int
    batch_in_all: int
    heads_in_all: int
    number: int

    @classmethod
    def of(cls, batch: int, heads: int, most: int) -> "RowGroups":
        """Groups of at most `most` rows: some heads of one batch row, or whole batch rows.

        They are of one size where that takes less than twice as many groups as are needed.
        """
        own_heads = _divisor(heads, most)
        rows = most // heads if own_heads == heads else 1
        own_batch = _divisor(batch, rows)
        if 2 * own_batch < min(rows, batch):
            _, own_batch = even_blocks(batch, rows)
        number = -(-batch // own_batch) * (heads // own_heads)
        return cls(own_batch, own_heads, batch, heads, number)

    @property
    def even(self) -> bool:
        """Whether no batch row belongs to two groups."""
        return self.batch_in_all % self.batch == 0

    def start(self, index: Array | int) -> tuple[Array | int, Array | int]:
        """First batch row and first head of group `index`."""
        per_batch = self.heads_in_all // self.heads
        batch = index // per_batch * self.batch
        if not self.even:
            batch = jnp.minimum(batch, self.batch_in_all - self.batch)
        return batch, index % per_batch * self.heads

    def counted_once(self, change: Array, index: Array | int) -> Array:
        """`change` [b, ...] of group `index`, zero for batch rows that a later group has too."""
        if self.even:
            return change
        first, _ = self.start(index)
        last = self.batch_in_all - self.batch
        kept = (first + jnp.arange(self.batch) < last) | (first == last)
        return jnp.where(kept.reshape(-1, *[1] * (change.ndim - 1)), change, 0)

    def take(self, x_BNHX: Array, index: Array | int) -> Array:
        """Rows of group `index`: [b, h, N, X]."""
        batch, head = self.start(index)
        length, width = x_BNHX.shape[1], x_BNHX.shape[3]
        size = (self.batch, length, self.heads, width)
        return jnp.swapaxes(jax.lax.dynamic_slice(x_BNHX, (batch, 0, head, 0), size), 1, 2)

    def put(
        self, x_BNHX: Array, rows_bhNX: Array, index: Array | int, first: Array | int = 0
    ) -> Array:
        """`x` with the rows of group `index` replaced from position `first` on, in x's type."""
        batch, head = self.start(index)
        rows = jnp.swapaxes(rows_bhNX, 1, 2).astype(x_BNHX.dtype)
        return jax.lax.dynamic_update_slice(x_BNHX, rows, (batch, first, head, 0))

    def block(self, x: Array, index: Array | int) -> Array:
        """Group `index` of an array with leading axes [B or 1, H or 1]."""
        return block(x, (*self.start(index), *[0] * (x.ndim - 2)), self._sizes(x))

    def replaced(self, x: Array, rows: Array, index: Array | int) -> Array:
        """`x` with leading axes [B, H], group `index` replaced."""
        return jax.lax.dynamic_update_slice(x, rows, (*self.start(index), *[0] * (x.ndim - 2)))

    def added(self, x: Array, change: Array, index: Array | int) -> Array:
        """`x` with `change` added to group `index`; axes of size 1 are summed over.

        change: [b, ...], or [1, ...] of what `counted_once` gave.
        """
        if change.shape[0] == self.batch:
            change = self.counted_once(change, index)
        return add_block(x, change, (*self.start(index), *[0] * (x.ndim - 2)))

    def _sizes(self, x: Array) -> tuple[int, ...]:
        return (self.batch, self.heads, *x.shape[2:])


def block(x: Array, starts: tuple[Array | int, ...], sizes: tuple[int, ...]) -> Array:
    """Slice of `x`; an axis of size 1 (broadcast) is kept whole."""
    starts = tuple(0 if n == 1 else at for n, at in zip(x.shape, starts, strict=True))
    return jax.lax.dynamic_slice(
        x, starts, [min(n, size) for n, size in zip(x.shape, sizes, strict=True)]
    )


def add_block(x: Array, change: Array, starts: tuple[Array | int, ...]) -> Array:
    """`x` with `change` added at `starts`; where x has size 1, `change` is summed over."""
    summed = tuple(
        axis for axis, (n, m) in enumerate(zip(x.shape, change.shape, strict=True)) if n < m
    )
    broadcast = tuple(axis for axis in summed if x.shape[axis] == 1)
    change = change.sum(broadcast, keepdims=True)
    starts = tuple(0 if n == 1 else at for n, at in zip(x.shape, starts, strict=True))
    old = jax.lax.dynamic_slice(x, starts, change.shape)
    return jax.lax.dynamic_update_slice(x, old + change, starts)


def transposed(x: Array) -> Array:
    """The last two axes exchanged, in memory too: on a CPU a product with a transposed operand
    is two to three times slower, and XLA would undo a mere transposition."""
    x = jax.lax.optimization_barrier(jnp.swapaxes(x, -1, -2))
    return x


def neighbours(x: Array, window: int, axis: int) -> Array:
    """Chunks c to c + window - 1 side by side along the axis after `axis`, for every c that has
    them; chunks are counted along `axis`."""
    chunks = x.shape[axis] - window + 1
    parts = [jax.lax.slice_in_dim(x, i, i + chunks, axis=axis) for i in range(window)]
    return jnp.concatenate(parts, axis=axis + 1)


def neighbours_sum(x: Array, window: int, axis: int) -> Array:
    """The transpose of `neighbours`: sums of what belongs to one chunk."""
    total = jnp.zeros((), x.dtype)
    for i, part in enumerate(jnp.split(x, window, axis=axis + 1)):
        ends = [(0, 0)] * x.ndim
        ends[axis] = i, window - 1 - i
        total += jnp.pad(part, ends)
    return total
