"""Memory of a compiled program: its parts, the devices it fits on, the largest batch.

Everything is in bytes. A GB in a device's name is 2**30 bytes here, as it is on the device.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Self

import jax

from jaxattn.console import GIB, MIB
from jaxattn.errors import InputError

SPARED_SHARE = 0.2
"""Share of the free memory that is left alone when a program is run."""

DEFAULT_SHARE = 0.75
"""What JAX takes of a device's memory; the rest stays for the CUDA context and its libraries.

https://docs.jax.dev/en/latest/201/gpu-memory.html
"""

SHARE_VARIABLES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
"""Environment variables that change the share; the second is the old name."""

LARGEST_BATCH = 65_536
"""Larger batches are not looked for."""


@dataclasses.dataclass(frozen=True)
class Device:
    """A kind of device.

    Attributes:
      name: as it is known.
      memory: bytes that CUDA reports, less than the name promises.
      bfloat16: whether it has matrix units for bfloat16.
    """

    name: str
    memory: int
    bfloat16: bool


DEVICES = (
    Device("T4 16 GB", 15_110 * MIB, bfloat16=False),
    Device("V100 16 GB", 16_160 * MIB, bfloat16=False),
    Device("A100 40 GB", 40_536 * MIB, bfloat16=True),
    Device("H200 141 GB", 139 * GIB, bfloat16=True),
)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of a compiled program.

    Attributes:
      temporary: what it allocates and frees again.
      argument, output: what goes in and comes out.
      aliased: outputs that take the place of arguments.
    """

    temporary: int
    argument: int
    output: int
    aliased: int

    @classmethod
    def of(cls, compiled: jax.stages.Compiled) -> Self | None:
        """What the compiler says; None where that of this device does not tell."""
        sizes = compiled.memory_analysis()
        if sizes is None:
            return None
        return cls(
            sizes.temp_size_in_bytes,
            sizes.argument_size_in_bytes,
            sizes.output_size_in_bytes,
            sizes.alias_size_in_bytes,
        )

    @property
    def total(self) -> int:
        """What it takes in all."""
        return self.temporary + self.argument + self.output - self.aliased

    def fits(self, free: int) -> bool:
        """Whether it can be run in so many bytes, and some of them stay free."""
        return self.total <= (1 - SPARED_SHARE) * free


@dataclasses.dataclass(frozen=True)
class MemoryParts:
    """Bytes a training step needs, by what they hold.

    Attributes:
      parameters: float32.
      optimizer: its state, such as both moments of AdamW.
      gradients: one more tree like the parameters, among the compiler's temporaries.
      activations: the rest of the temporaries: activations and work space.
      batch: the inputs, and what the step returns beside the next state.
    """

    parameters: int
    optimizer: int
    gradients: int
    activations: int
    batch: int

    @classmethod
    def of(cls, memory: Memory, params: object, opt_state: object, frozen: object = None) -> Self:
        """The parts of a step to which a state of these is donated.

        `frozen` are parameters beside `params` that have neither gradients nor moments.
        """
        trained, optimizer = tree_bytes(params), tree_bytes(opt_state)
        parameters = trained + tree_bytes(frozen)
        gradients = min(trained, memory.temporary)
        return cls(
            parameters=parameters,
            optimizer=optimizer,
            gradients=gradients,
            activations=memory.temporary - gradients,
            batch=memory.total - memory.temporary - parameters - optimizer,
        )

    @property
    def total(self) -> int:
        """All parts, which is the `total` of the program."""
        return sum(dataclasses.astuple(self))


def tree_bytes(tree: object) -> int:
    """Bytes of all arrays, real or abstract, of a pytree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def usable_share(environment: Mapping[str, str] = os.environ) -> float:
    """The share of a device's memory that JAX uses; InputError for one that is no share."""
    for name in SHARE_VARIABLES:
        if text := environment.get(name):
            try:
                share = float(text)
            except ValueError:
                share = 0.0
            if not 0.0 < share <= 1.0:
                raise InputError(f"{name}: found {text!r}, allowed: above 0 to 1")
            return share
    return DEFAULT_SHARE


def largest_by_line(points: Mapping[int, int], limit: int, multiple: int) -> int:
    """The largest batch of at most `limit` bytes on a line through two of the points.

    Args:
      points: batch size -> bytes, two or more. Those on both sides of the limit are used, or where
        all are on one side the two nearest to it.
      limit: bytes.
      multiple: the batch is a multiple of this.

    Returns:
      Rows, 0 where not even `multiple` fits, `LARGEST_BATCH` where memory hardly grows.
    """
    near = sorted(points.items(), key=lambda point: abs(point[1] - limit))
    below = [point for point in near if point[1] <= limit]
    above = [point for point in near if point[1] > limit]
    (x0, y0), (x1, y1) = (below[0], above[0]) if below and above else near[:2]
    slope = (y1 - y0) / (x1 - x0)
    rows = x0 + (limit - y0) / slope if slope > 0 else float(LARGEST_BATCH if y0 <= limit else 0)
    return int(min(max(rows, 0), LARGEST_BATCH)) // multiple * multiple


def largest_batch(
    points: Mapping[int, int],
    limit: int,
    multiple: int,
    measure: Callable[[int], int | None],
    tries: int = 3,
) -> tuple[int, bool]:
    """The largest batch that fits, and whether a program of that size was really measured.

    Memory grows with the batch along a line, but not exactly: the line's answer is measured, and
    where it does not fit a line through the new point is tried.

    Args:
      points: batch size -> bytes, two or more.
      limit: bytes.
      multiple: the batch is a multiple of this.
      measure: batch size -> bytes, or None when that cannot be measured (any more).
      tries: measurements at most.
    """
    known = dict(points)
    for _ in range(tries):
        guess = max(largest_by_line(known, limit, multiple), multiple)
        if guess not in known:
            found = measure(guess)
            if found is None:
                return largest_by_line(known, limit, multiple), False
            known[guess] = found
        if known[guess] <= limit:
            break
        if guess == multiple:
            return 0, True
    fitting = [rows for rows, size in known.items() if size <= limit]
    return (max(fitting), True) if fitting else (largest_by_line(known, limit, multiple), False)
