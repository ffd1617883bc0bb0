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


class RowGroups(NamedTuple):
    """B x H rows in groups of `batch` x `heads` neighbours; `number` groups in all."""

    batch: int
    heads: int
    heads_in_all: int
    number: int

    @classmethod
    def of(cls, batch: int, heads: int, most: int) -> "RowGroups":
        """Groups of at most `most` rows: some heads of one batch row, or whole batch rows."""
        own_heads = max(n for n in range(1, heads + 1) if heads % n == 0 and n <= max(1, most))
        rows = most // heads if own_heads == heads else 1
        own_batch = max(n for n in range(1, batch + 1) if batch % n == 0 and n <= max(1, rows))
        return cls(own_batch, own_heads, heads, (batch // own_batch) * (heads // own_heads))

    def start(self, index: Array | int) -> tuple[Array | int, Array | int]:
        """First batch row and first head of group `index`."""
        per_batch = self.heads_in_all // self.heads
        return index // per_batch * self.batch, index % per_batch * self.heads

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
        """`x` with `change` added to group `index`; axes of size 1 are summed over."""
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
    return jax.lax.optimization_barrier(jnp.swapaxes(x, -1, -2))
