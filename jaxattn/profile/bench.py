"""Programs compiled and measured side by side, within a given time."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax

from jaxattn.console import GIB
from jaxattn.profile.memory import Memory
from jaxattn.profile.timing import Program, Summary, calls_for, interleaved, summary, timed
from jaxattn.profile.variants import Variant

_RUNS_AT_LEAST = 4
"""A first run and three repeats are counted on when it is decided what to measure."""

_WORTH = 0.1
"""Share of the time of compiling for which the programs may be run although the time is up."""

Key = tuple[str, str, int]
"""Variant, what of it, and length: which of all tasks one is."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One thing to measure.

    Attributes:
      variant: the attention.
      what: FORWARD, FORWARD_BACKWARD or STEP.
      rows, length: of the batch.
      work: grows with the length about as its time does; in any unit.
      prepare: compiles.
    """

    variant: Variant
    what: str
    rows: int
    length: int
    work: float
    prepare: Callable[[], Program]

    @property
    def key(self) -> Key:
        """Which of all tasks this is."""
        return self.variant.name, self.what, self.length


@dataclasses.dataclass
class Measured:
    """What is known of a task.

    Attributes:
      task: what is measured.
      program: None where it was not compiled or could not be run.
      first_seconds: of its first run.
      peak_device: bytes that running it really took, None where the device keeps no count or an
        earlier program took more.
      time: None where it was not timed.
      note: why something is missing.
    """

    task: Task
    program: Program | None = None
    first_seconds: float = 0.0
    peak_device: int | None = None
    time: Summary | None = None
    note: str = ""

    @property
    def compile_seconds(self) -> float | None:
        """Seconds of tracing and compiling."""
        return None if self.program is None else self.program.compile_seconds

    @property
    def memory(self) -> Memory | None:
        """What the compiler says that the program takes."""
        return None if self.program is None else self.program.memory


class Bench:
    """Measures groups of tasks and remembers them, to tell what the next ones will take."""

    def __init__(self, repeats: int, workers: int, free_memory: Callable[[], int]) -> None:
        """`workers`: programs compiled at once; `free_memory`: bytes that can be allocated.

        On a GPU one program is compiled at a time: the compiler runs candidates to choose among
        them and records cuDNN's graphs, while which no other thread may launch anything
        (CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, then a segmentation fault: jax 0.11.2, H200).
        """
        self._workers = 1 if jax.default_backend() == "gpu" else workers
        self._repeats, self._free_memory = repeats, free_memory
        self.measured: list[Measured] = []

    @property
    def programs(self) -> dict[Key, Program]:
        """What was timed and can be run again."""
        return {
            found.task.key: found.program
            for found in self.measured
            if found.program is not None and found.time is not None
        }

    def run(self, tasks: Sequence[Task], seconds: float) -> None:
        """Compiles all tasks, then measures them in turn, in about `seconds`.

        Those that would take too long, the dearest first, are not measured.
        """
        deadline = time.perf_counter() + seconds
        group = [Measured(task) for task in tasks]
        self.measured += group
        self._refuse(group, seconds)
        self._compile([found for found in group if not found.note], deadline)
        for found in group:
            if found.program is not None:
                self._first_run(found, found.program)
        left = deadline - time.perf_counter()
        timing: list[tuple[Measured, Program]] = []
        for found in group:
            if found.program is None:
                continue
            # Once compiled, something quick is measured even if the time is up.
            if found.first_seconds > max(left, found.program.compile_seconds):
                found.note = _over_budget(found.first_seconds, left)
            else:
                timing.append((found, found.program))
        samples = interleaved(
            [program for _, program in timing],
            [calls_for(found.first_seconds) for found, _ in timing],
            repeats=self._repeats,
            seconds=max(left, _WORTH * sum(program.compile_seconds for _, program in timing)),
        )
        for (found, _), taken in zip(timing, samples, strict=True):
            found.time = summary(taken)

    def predicted(self, task: Task) -> tuple[float, float] | None:
        """Seconds of compiling and of one run, from the longest one measured; None: not known."""
        known = [
            (found.task, found.program.compile_seconds, found.time.seconds)
            for found in self.measured
            if found.task.key[:2] == task.key[:2] and found.program and found.time
        ]
        if not known:
            return None
        nearest, compiling, running = max(known, key=lambda found: found[0].length)
        return compiling, running * (task.work / nearest.work)

    def needed_seconds(self, tasks: Sequence[Task]) -> float:
        """Seconds of compiling and measuring; what nothing is known of counts as 0."""
        known = [found for task in tasks if (found := self.predicted(task)) is not None]
        return sum(
            compiling / self._workers + _RUNS_AT_LEAST * running for compiling, running in known
        )

    def _refuse(self, group: Sequence[Measured], seconds: float) -> None:
        """Notes which do not fit; the cheapest are let in first."""
        needs = [(self.needed_seconds([found.task]), found) for found in group]
        left = seconds
        for needed, found in sorted(needs, key=lambda need: need[0]):
            if needed and needed > left:
                found.note = _over_budget(needed, left)
            else:
                left -= needed

    def _compile(self, group: Sequence[Measured], deadline: float) -> None:
        """Compiles as many programs at once as there are workers."""

        def compile_one(found: Measured) -> None:
            left = deadline - time.perf_counter()
            if left <= 0:
                found.note = _over_budget(None, left)
                return
            try:
                found.program = found.task.prepare()
            except jax.errors.JaxRuntimeError as error:
                found.note = _failed(error)

        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(compile_one, group))

    def _first_run(self, found: Measured, program: Program) -> None:
        """Runs a program once; lets go of it where there is no memory for it, or it fails."""
        memory, free = program.memory, self._free_memory()
        if memory is not None and not memory.fits(free):
            found.program = None
            found.note = f"not measured (needs {memory.total / GIB:.1f} GiB, {free / GIB:.1f} free)"
            return
        before = _device_bytes()
        try:
            found.first_seconds = timed(program, 1).seconds
        except jax.errors.JaxRuntimeError as error:
            found.program, found.note = None, _failed(error)
            return
        found.peak_device = _peak(before, _device_bytes(), memory)


def _failed(error: Exception) -> str:
    return f"not measured ({' '.join(str(error).split())[:200]})"


def _over_budget(needed: float | None, left: float) -> str:
    if needed is None:
        return "not measured (over budget: time is up)"
    return f"not measured (over budget: about {needed:.2g} s needed, {max(left, 0.0):.2g} s left)"


def _device_bytes() -> tuple[int, int] | None:
    """Bytes in use on the device and their peak so far; None where nobody counts (CPU)."""
    counts = jax.devices()[0].memory_stats()
    if not counts or "peak_bytes_in_use" not in counts:
        return None
    return counts["bytes_in_use"], counts["peak_bytes_in_use"]


def _peak(
    before: tuple[int, int] | None, after: tuple[int, int] | None, memory: Memory | None
) -> int | None:
    """What a run took on top of what was in use, with its arguments.

    The device keeps one peak for the whole process: a run that stays below an earlier one's leaves
    no trace in it, and is not known.
    """
    if before is None or after is None or memory is None or after[1] <= before[1]:
        return None
    return after[1] - before[0] + memory.argument
