"""Memory of a compiled training step: its parts, the devices it fits on, the largest batch.

Everything is in bytes. A GB in a device's name is 2**30 bytes here, as it is on the device.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxattn.errors import InputError

GIB = 2**30

MIB = 2**20

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

    @property
    def total(self) -> int:
        """All parts: arguments + outputs - shared buffers + temporaries of the program."""
        return sum(dataclasses.astuple(self))


def memory_parts(
    compiled: jax.stages.Compiled, params: Any, opt_state: Any, frozen: Any = None
) -> MemoryParts:
    """The parts of a compiled step whose donated state holds these.

    `frozen` are parameters beside `params` that have neither gradients nor moments.

    Raises:
      InputError: the compiler of this device does not tell.
    """
    found = compiled.memory_analysis()
    if found is None:
        raise InputError("the compiler of this device does not tell what memory a program needs")
    arguments = found.argument_size_in_bytes + found.output_size_in_bytes
    arguments -= found.alias_size_in_bytes
    temporaries = found.temp_size_in_bytes
    trained, optimizer = tree_bytes(params), tree_bytes(opt_state)
    parameters = trained + tree_bytes(frozen)
    gradients = min(trained, temporaries)
    return MemoryParts(
        parameters=parameters,
        optimizer=optimizer,
        gradients=gradients,
        activations=temporaries - gradients,
        batch=arguments - parameters - optimizer,
    )


def tree_bytes(tree: Any) -> int:
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
