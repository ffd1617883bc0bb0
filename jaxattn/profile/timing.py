"""Programs timed side by side: repeats of all in turn, medians and quartiles."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxattn.ops.programs import compiled
from jaxattn.profile.memory import Memory

SAMPLE_SECONDS = 0.01
"""A sample of something faster is the mean over so many calls that it takes about this long."""

MOST_CALLS = 100

wait: Callable[[Any], Any] = jax.block_until_ready
"""Returns its argument once the device has computed it; JAX declares no types for it."""

Clocks = Callable[[], tuple[float, float]]
"""Wall and process CPU seconds."""


def clocks() -> tuple[float, float]:
    """Wall and process CPU seconds, each from a start of its own."""
    return time.perf_counter(), time.process_time()


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program.

    Attributes:
      compiled: what JAX has compiled.
      run: starts it and returns what has to be waited for.
      compile_seconds: of tracing and compiling.
    """

    compiled: jax.stages.Compiled
    run: Callable[[], Any]
    compile_seconds: float

    @functools.cached_property
    def memory(self) -> Memory | None:
        """Its memory; None where the compiler does not tell."""
        return Memory.of(self.compiled)


def compiled_in(lower: Callable[[], jax.stages.Lowered]) -> tuple[jax.stages.Compiled, float]:
    """What `lower` returns, compiled, and the seconds that tracing and compiling took."""
    began = time.perf_counter()
    program = compiled(lower())
    return program, time.perf_counter() - began


@dataclasses.dataclass(frozen=True)
class Sample:
    """Seconds of one call: on the wall, and of CPU over all threads of the process.

    On a machine that others use too the CPU time is the less disturbed of both.
    """

    seconds: float
    cpu_seconds: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """Median and quartiles of the wall times, and the median of the CPU times."""

    repeats: int
    seconds: float
    seconds_q1: float
    seconds_q3: float
    cpu_seconds: float


def timed(program: Program, calls: int, read: Clocks = clocks) -> Sample:
    """The mean of some calls, the last of which has been waited for."""
    wall, cpu = read()
    for _ in range(calls):
        result = program.run()
    wait(result)
    wall_end, cpu_end = read()
    return Sample((wall_end - wall) / calls, (cpu_end - cpu) / calls)


def calls_for(seconds: float) -> int:
    """Calls that make up one sample of something that takes so long."""
    return min(max(math.ceil(SAMPLE_SECONDS / max(seconds, 1e-9)), 1), MOST_CALLS)


def interleaved(
    programs: Sequence[Program],
    calls: Sequence[int],
    *,
    repeats: int,
    seconds: float,
    read: Clocks = clocks,
) -> list[list[Sample]]:
    """Samples of all programs, taken in turn so that a disturbance meets all of them alike.

    Every round begins with another program. After the first round, a round is begun only if it can
    be expected to end within `seconds`.
    """
    samples: list[list[Sample]] = [[] for _ in programs]
    began = last = read()[0]
    for done in range(repeats):
        for place in range(len(programs)):
            index = (place + done) % len(programs)
            samples[index].append(timed(programs[index], calls[index], read))
        now = read()[0]
        if now - began + (now - last) > seconds:
            break
        last = now
    return samples


def summary(samples: Sequence[Sample]) -> Summary:
    """Median and quartiles, interpolated linearly."""
    wall = [sample.seconds for sample in samples]
    q1, median, q3 = (float(x) for x in np.quantile(wall, (0.25, 0.5, 0.75)))
    cpu = float(np.median([sample.cpu_seconds for sample in samples]))
    return Summary(len(samples), median, q1, q3, cpu)
