"""Programs compiled and measured side by side, within a given time."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax

from jaxattn.profile.timing import Program, Summary, calls_for, interleaved, summary, timed
from jaxattn.profile.variants import Variant

_RUNS_AT_LEAST = 4
"""A first run and three repeats are counted on when it is decided what to measure."""

_WORTH = 0.1
"""Share of the time of compiling for which the programs may be run although the time is up."""

_SPARED_MEMORY = 0.2
"""Share of the free memory that is left alone."""

_GIB = 2**30


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
    def key(self) -> tuple[str, str, int]:
        """Which of all tasks this is."""
        return self.variant.name, self.what, self.length


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

    @property
    def total(self) -> int:
        """What it takes in all."""
        return self.temporary + self.argument + self.output - self.aliased


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was found; `note` says why something is missing.

    `peak_device`: bytes that running it really took, None where the device keeps no count or an
    earlier program took more.
    """

    task: Task
    compile_seconds: float | None = None
    memory: Memory | None = None
    peak_device: int | None = None
    time: Summary | None = None
    note: str = ""


@dataclasses.dataclass
class _Running:
    """A task between its first run and its last."""

    program: Program
    memory: Memory | None
    peak_device: int | None
    first_seconds: float


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
        self.programs: dict[tuple[str, str, int], Program] = {}

    def run(self, tasks: Sequence[Task], seconds: float) -> None:
        """Compiles all tasks, then measures them in turn, in about `seconds`.

        Those that would take too long, the dearest first, are not measured.
        """
        deadline = time.perf_counter() + seconds
        notes = self._refused(tasks, seconds)
        running: dict[Task, _Running] = {}
        for task, program in self._compiled(tasks, deadline, notes).items():
            self._first_run(task, program, notes, running)
        left = deadline - time.perf_counter()
        for task, started in running.items():
            # Once compiled, something quick is measured even if the time is up.
            if started.first_seconds > max(left, started.program.compile_seconds):
                notes[task] = _over_budget(started.first_seconds, left)
        timing = [task for task in running if task not in notes]
        compiling = sum(running[task].program.compile_seconds for task in timing)
        samples = interleaved(
            [running[task].program for task in timing],
            [calls_for(running[task].first_seconds) for task in timing],
            repeats=self._repeats,
            seconds=max(left, _WORTH * compiling),
        )
        times = {task: summary(found) for task, found in zip(timing, samples, strict=True)}
        for task in tasks:
            note = notes.get(task, "")
            if task not in running:
                self.measured.append(Measured(task, note=note))
                continue
            done = running[task]
            self.measured.append(
                Measured(
                    task,
                    done.program.compile_seconds,
                    done.memory,
                    done.peak_device,
                    times.get(task),
                    note,
                )
            )
            if task in times:
                self.programs[task.key] = done.program

    def predicted(self, task: Task) -> tuple[float, float] | None:
        """Seconds of compiling and of one run, from the longest one measured; None: not known."""
        known = [
            found
            for found in self.measured
            if found.task.key[:2] == task.key[:2] and found.time is not None
        ]
        if not known:
            return None
        nearest = max(known, key=lambda found: found.task.length)
        assert nearest.time is not None and nearest.compile_seconds is not None
        ratio = task.work / nearest.task.work
        return nearest.compile_seconds, nearest.time.seconds * ratio

    def needed_seconds(self, tasks: Sequence[Task]) -> float:
        """Seconds of compiling and measuring; what nothing is known of counts as 0."""
        known = [found for task in tasks if (found := self.predicted(task)) is not None]
        return sum(
            compiling / self._workers + _RUNS_AT_LEAST * running for compiling, running in known
        )

    def _refused(self, tasks: Sequence[Task], seconds: float) -> dict[Task, str]:
        """Task -> note, of those that do not fit; the cheapest are let in first."""
        needs = {task: self.needed_seconds([task]) for task in tasks}
        notes, left = {}, seconds
        for task in sorted(tasks, key=lambda task: needs[task]):
            if needs[task] and needs[task] > left:
                notes[task] = _over_budget(needs[task], left)
            else:
                left -= needs[task]
        return notes

    def _compiled(
        self, tasks: Sequence[Task], deadline: float, notes: dict[Task, str]
    ) -> dict[Task, Program]:
        """Compiles what has no note yet, as many programs at once as there are workers."""

        def compiled(task: Task) -> Program | str:
            left = deadline - time.perf_counter()
            if left <= 0:
                return _over_budget(None, left)
            try:
                return task.prepare()
            except jax.errors.JaxRuntimeError as error:
                return _failed(error)

        chosen = [task for task in tasks if task not in notes]
        with ThreadPoolExecutor(self._workers) as pool:
            results = dict(zip(chosen, pool.map(compiled, chosen), strict=True))
        notes |= {task: found for task, found in results.items() if isinstance(found, str)}
        return {task: found for task, found in results.items() if isinstance(found, Program)}

    def _first_run(
        self, task: Task, program: Program, notes: dict[Task, str], running: dict[Task, _Running]
    ) -> None:
        """Runs a program once, if there is memory for it."""
        memory, free = _memory(program.compiled), self._free_memory()
        if memory is not None and memory.total > (1 - _SPARED_MEMORY) * free:
            notes[task] = (
                f"not measured (needs {memory.total / _GIB:.1f} GiB, {free / _GIB:.1f} free)"
            )
            return
        before = _device_bytes()
        try:
            first = timed(program, 1)
        except jax.errors.JaxRuntimeError as error:
            notes[task] = _failed(error)
            return
        peak = _peak(before, _device_bytes(), memory)
        running[task] = _Running(program, memory, peak, first.seconds)


def _failed(error: Exception) -> str:
    return f"not measured ({' '.join(str(error).split())[:200]})"


def _over_budget(needed: float | None, left: float) -> str:
    if needed is None:
        return "not measured (over budget: time is up)"
    return f"not measured (over budget: about {needed:.2g} s needed, {max(left, 0.0):.2g} s left)"


def _memory(compiled: jax.stages.Compiled) -> Memory | None:
    found = compiled.memory_analysis()
    if found is None:
        return None
    return Memory(
        found.temp_size_in_bytes,
        found.argument_size_in_bytes,
        found.output_size_in_bytes,
        found.alias_size_in_bytes,
    )


def _device_bytes() -> tuple[int, int] | None:
    """Bytes in use on the device and their peak so far; None where nobody counts (CPU)."""
    found = jax.devices()[0].memory_stats()
    if not found or "peak_bytes_in_use" not in found:
        return None
    return found["bytes_in_use"], found["peak_bytes_in_use"]


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
