"""Batches made ahead of the step that needs them, and put on the device."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

NumpyBatch = dict[str, np.ndarray]

_THREADS = 2

_AHEAD = 4
"""Batches that are ready in main memory at a time."""


class Fed(NamedTuple):
    """A batch on the device, and the number of real tokens in it."""

    batch: PyTree
    tokens: int


def feed(
    batch: Callable[[int], NumpyBatch],
    start: int,
    stop: int,
    place: Callable[[PyTree], PyTree] = jax.device_put,
) -> Iterator[Fed]:
    """The batches of steps start, ..., stop - 1, which other threads make ahead.

    Args:
        batch: step -> batch, a pure function; it is called from several threads, and beyond the
            step that was asked for.
        start, stop: steps; the order of the results is theirs, whatever the threads do.
        place: puts a batch on the device or devices.
    """
    import grain

    if start >= stop:
        return
    steps = grain.MapDataset.range(start, stop).map(batch)
    options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)
    for found in steps.to_iter_dataset(options):
        # Not waited for: it is copied while the device works on the step before.
        yield Fed(place(found), int(found["mask"].sum()))
