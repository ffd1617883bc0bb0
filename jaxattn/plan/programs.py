"""A planned run's programs, compiled and timed within a given time."""

import dataclasses
import statistics
import time
from collections.abc import Sequence

import jax

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.ops.programs import compiled
from jaxattn.plan.workload import Workload
from jaxattn.profile.memory import MemoryParts, memory_parts
from jaxattn.profile.synthetic_step import SyntheticStep, synthetic_step
from jaxattn.stages.machine import available_memory
from jaxattn.train.state import TrainState, frozen_of

_FIRST_TOKENS = 2048
"""Tokens of the first step that is timed, before it is known how fast the device is."""

_SPARED_MEMORY = 0.2
"""Share of the free memory that is left alone when steps are run."""


@dataclasses.dataclass(frozen=True)
class Program:
    """One compiled step: what it needs, and how long compiling took."""

    step: SyntheticStep
    compiled: jax.stages.Compiled
    memory: MemoryParts
    compile_seconds: float


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


class Bench:
    """Compiles the steps of one configuration, each batch shape once, and times them."""

    def __init__(self, config: Config, task: str, workload: Workload) -> None:
        """Compiles nothing yet; the clock of `left` starts."""
        self._config, self._task, self._workload = config, task, workload
        self._programs: dict[tuple[int, int], Program] = {}
        self._state: TrainState | None = None
        self._began = time.monotonic()

    def left(self, share: float = 1.0) -> float:
        """Seconds left of this share of `plan.seconds`."""
        return self._began + share * self._config.plan.seconds - time.monotonic()

    def program(self, length: int, rows: int) -> Program:
        """The program for batches [rows, length].

        Raises:
          InputError: no such batch can be trained on, or the compiler gives up.
        """
        place = length, rows
        if place not in self._programs:
            say(f"plan: compiling {rows:,} x {length:,} tokens")
            began = time.monotonic()
            step = synthetic_step(
                self._config,
                task=self._task,
                batch_size=rows,
                length=length,
                vocab_size=self._workload.vocab_size,
                num_classes=self._workload.num_classes,
            )
            lowered = step.lower()
            try:
                program = compiled(lowered)
            except jax.errors.JaxRuntimeError as error:
                first_line = str(error).partition("\n")[0]
                raise InputError(
                    f"{rows:,} x {length:,} tokens cannot be compiled: {first_line}"
                ) from None
            seconds = time.monotonic() - began
            state = step.state
            memory = memory_parts(program, state.params, state.opt_state, frozen_of(state))
            self._programs[place] = Program(step, program, memory, seconds)
        return self._programs[place]

    def known_bytes(self, length: int) -> dict[int, int]:
        """Batch size -> bytes, for the batches of this length whose memory is known."""
        return {
            rows: program.memory.total
            for (n, rows), program in self._programs.items()
            if n == length
        }

    def bytes_if_time(self, length: int, rows: int) -> int | None:
        """Bytes that a step needs; None when time is up or the compiler gives up."""
        if rows not in self.known_bytes(length) and self.left() < self._compile_seconds():
            return None
        try:
            return self.program(length, rows).memory.total
        except InputError as error:
            say(f"plan: {error}")
            return None

    def _compile_seconds(self) -> float:
        """What the next program may take to compile."""
        return max((p.compile_seconds for p in self._programs.values()), default=0.0)

    def timings(self, lengths: Sequence[int], share: float) -> dict[int, Timing]:
        """The time of a step of every length (rising), within a share of `plan.seconds`.

        Where the whole batch would take too long or too much memory, part of its rows is timed and
        the time multiplied; a length for which even that takes too long is not timed.
        """
        first = self._timed(lengths[0], self._part(_FIRST_TOKENS // lengths[0]))
        found = dict.fromkeys(lengths, Timing(None, 0, None)) | {lengths[0]: first}
        if first.seconds is None:
            return found
        batch = self._config.train.batch_size
        quadratic = self._config.attention.type == "sdpa"
        pace, paced = first.seconds / (batch * lengths[0]), lengths[0]
        for place, length in enumerate(lengths):
            row_seconds = pace * length * (length / paced if quadratic else 1.0)
            budget = self.left(share) / (len(lengths) - place)
            most = self._affordable(length, budget, row_seconds)
            if most < self._smallest or self._part(most) <= found[length].rows:
                continue
            timing = found[length] = self._timed(length, self._part(most))
            if timing.seconds is not None:
                pace, paced = timing.seconds / (batch * length), length
        return found

    def _affordable(self, length: int, budget: float, row_seconds: float) -> int:
        """How many rows can be timed within a budget of seconds; compiling takes of it too."""
        if (length, self._config.train.batch_size, False) not in self._programs:
            budget -= self._compile_seconds()
        return int(budget / ((1 + self._config.plan.timed_steps) * row_seconds))

    @property
    def _smallest(self) -> int:
        """The smallest batch there is."""
        return self._config.train.accumulation

    def _part(self, most: int) -> int:
        """The whole batch halved until it has at most so many rows."""
        rows, least = self._config.train.batch_size, self._smallest
        while rows > max(most, least):
            rows = max(rows // 2 // least * least, least)
        return rows

    def _timed(self, length: int, rows: int) -> Timing:
        """Median seconds of some steps after a first one; fewer where time is up."""
        program = self.program(length, rows)
        while program.memory.total > (1 - _SPARED_MEMORY) * available_memory():
            if rows == self._smallest:
                return Timing(None, 0, program.compile_seconds)
            rows = self._part(rows - 1)
            program = self.program(length, rows)
        seed = self._config.train.seed
        state = program.step.make_state(seed) if self._state is None else self._state
        batch = program.step.make_batch(seed)
        seconds: list[float] = []
        for _ in range(1 + self._config.plan.timed_steps):
            began = time.monotonic()
            state, _ = program.compiled(state, batch)
            jax.block_until_ready(state)
            seconds.append(time.monotonic() - began)
            if self.left() < 0:
                break
        self._state = state
        step_seconds = statistics.median(seconds[1:] or seconds)
        whole = self._config.train.batch_size / rows
        return Timing(step_seconds * whole, rows, program.compile_seconds)


def other_batch(config: Config) -> int:
    """A batch size beside the configured one, to see how memory grows: half of it if it can be."""
    batch, multiple = config.train.batch_size, config.train.accumulation
    return batch // 2 // multiple * multiple or 2 * batch
