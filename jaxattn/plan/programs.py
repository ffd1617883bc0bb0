"""A planned run's steps, compiled and timed within a given time."""

import dataclasses
import time
from collections.abc import Sequence

import jax

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.plan.workload import Workload
from jaxattn.profile.memory import MemoryParts
from jaxattn.profile.synthetic_step import States, SyntheticStep, synthetic_step
from jaxattn.profile.timing import Program, interleaved, summary, timed
from jaxattn.stages.machine import available_memory
from jaxattn.train.state import frozen_of

_FIRST_TOKENS = 2048
"""Tokens of the first step that is timed, before it is known how fast the device is."""


@dataclasses.dataclass(frozen=True)
class PlannedStep:
    """One step, compiled, and what it needs."""

    step: SyntheticStep
    program: Program
    memory: MemoryParts


@dataclasses.dataclass(frozen=True)
class Timing:
    """What is known of the time of one length.

    Attributes:
      seconds: of a step with the whole batch; None: not known.
      rows: of the batch that was timed; 0: none was.
      compile_seconds: of its program; None: not compiled.
    """

    seconds: float | None
    rows: int
    compile_seconds: float | None


class PlannedSteps:
    """Compiles the steps of one configuration, each batch shape once, and times them."""

    def __init__(self, config: Config, task: str, workload: Workload) -> None:
        """Compiles nothing yet; the clock of `left` starts."""
        self.config, self.workload, self._task = config, workload, task
        self.lengths = list(workload.steps or config.data.buckets)
        self._steps: dict[tuple[int, int], PlannedStep] = {}
        self._states = States(config.train.seed)
        self._began = time.perf_counter()

    def left(self, share: float = 1.0) -> float:
        """Seconds left of this share of `plan.seconds`."""
        return self._began + share * self.config.plan.seconds - time.perf_counter()

    def step(self, length: int, rows: int) -> PlannedStep:
        """The step on batches [rows, length].

        Raises:
          InputError: no such batch can be trained on, or the compiler gives up or does not tell
            what memory a program needs.
        """
        if (length, rows) not in self._steps:
            say(f"plan: compiling {rows:,} x {length:,} tokens")
            step = synthetic_step(
                self.config,
                task=self._task,
                batch_size=rows,
                length=length,
                vocab_size=self.workload.vocab_size,
                num_classes=self.workload.num_classes,
            )
            try:
                program = step.program(self._states, ready=False)
            except jax.errors.JaxRuntimeError as error:
                first_line = str(error).partition("\n")[0]
                raise InputError(
                    f"{rows:,} x {length:,} tokens cannot be compiled: {first_line}"
                ) from None
            if program.memory is None:
                raise InputError(
                    "the compiler of this device does not tell what memory a program needs"
                )
            state = step.state
            memory = MemoryParts.of(program.memory, state.params, state.opt_state, frozen_of(state))
            self._steps[length, rows] = PlannedStep(step, program, memory)
        return self._steps[length, rows]

    def known_bytes(self, length: int) -> dict[int, int]:
        """Batch size -> bytes, for the batches of this length whose memory is known."""
        return {rows: step.memory.total for (n, rows), step in self._steps.items() if n == length}

    def bytes_if_time(self, length: int, rows: int) -> int | None:
        """Bytes that a step needs; None when time is up or the compiler gives up."""
        if (length, rows) not in self._steps and self.left() < self._compile_seconds():
            return None
        try:
            return self.step(length, rows).memory.total
        except InputError as error:
            say(f"plan: {error}")
            return None

    def _compile_seconds(self) -> float:
        """What the next step may take to compile."""
        return max((s.program.compile_seconds for s in self._steps.values()), default=0.0)

    def timings(self, lengths: Sequence[int], share: float) -> dict[int, Timing]:
        """The time of a step of every length (rising), within a share of `plan.seconds`.

        Where the whole batch would take too long or too much memory, part of its rows is timed and
        the time multiplied; a length for which even that takes too long is not timed.
        """
        first = self._timed(lengths[0], self._part(_FIRST_TOKENS // lengths[0]))
        timings = dict.fromkeys(lengths, Timing(None, 0, None)) | {lengths[0]: first}
        if first.seconds is None:
            return timings
        batch = self.config.train.batch_size
        quadratic = "sdpa" in self.config.attention.used
        pace, paced = first.seconds / (batch * lengths[0]), lengths[0]
        for index, length in enumerate(lengths):
            row_seconds = pace * length * (length / paced if quadratic else 1.0)
            budget = self.left(share) / (len(lengths) - index)
            most = self._affordable(length, budget, row_seconds)
            if most < self._smallest or self._part(most) <= timings[length].rows:
                continue
            timing = timings[length] = self._timed(length, self._part(most))
            if timing.seconds is not None:
                pace, paced = timing.seconds / (batch * length), length
        return timings

    def _affordable(self, length: int, budget: float, row_seconds: float) -> int:
        """How many rows can be timed within a budget of seconds; compiling takes of it too."""
        if (length, self.config.train.batch_size) not in self._steps:
            budget -= self._compile_seconds()
        return int(budget / ((1 + self.config.plan.timed_steps) * row_seconds))

    @property
    def _smallest(self) -> int:
        """The smallest batch there is."""
        return self.config.train.accumulation

    def _part(self, most: int) -> int:
        """The whole batch halved until it has at most so many rows."""
        rows, least = self.config.train.batch_size, self._smallest
        while rows > max(most, least):
            rows = max(rows // 2 // least * least, least)
        return rows

    def _timed(self, length: int, rows: int) -> Timing:
        """Median seconds of some steps after a first one; fewer where time is up."""
        planned = self.step(length, rows)
        while planned.program.memory and not planned.program.memory.fits(available_memory()):
            if rows == self._smallest:
                return Timing(None, 0, planned.program.compile_seconds)
            rows = self._part(rows - 1)
            planned = self.step(length, rows)
        self._states.prepare(planned.step)
        samples = [timed(planned.program, 1)]
        if (left := self.left()) > 0:
            repeats = self.config.plan.timed_steps
            (samples,) = interleaved([planned.program], [1], repeats=repeats, seconds=left)
        whole = self.config.train.batch_size / rows
        return Timing(summary(samples).seconds * whole, rows, planned.program.compile_seconds)


def other_batch(config: Config) -> int:
    """A batch size beside the configured one, to see how memory grows: half of it if it can be."""
    batch, multiple = config.train.batch_size, config.train.accumulation
    return batch // 2 // multiple * multiple or 2 * batch
