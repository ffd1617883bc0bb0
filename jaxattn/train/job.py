"""What the training loop is given to do, what it remembers, and how it fails."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import PyTree

from jaxattn.ops.programs import Programs
from jaxattn.ops.trees import Params
from jaxattn.runs.results import Metrics
from jaxattn.train.feed import NumpyBatch
from jaxattn.train.state import TrainState, frozen_of


class NonFiniteError(RuntimeError):
    """The loss or the gradients are NaN or infinite."""


class InterruptedRun(RuntimeError):
    """The run was asked to stop, and has saved its state."""


@dataclasses.dataclass
class Tally:
    """What the loop has to remember between steps; saved with every checkpoint.

    Sums are since the last row of metrics.csv. Times are in seconds and leave out compiling,
    validating and saving. The peak of memory, in MiB, is over all processes of a resumed run.
    `skipped` counts the steps without an update, of float16; `stopped_step` is the step after which
    early stopping ended the run. `energy` is in joules, of the same steps as `train_seconds`; None
    where nothing counts it. `accumulation` is the number of micro-batches where those of the
    options did not fit the memory; None where they did.
    """

    loss: float = 0.0
    correct: float | None = 0.0
    count: float = 0.0
    grad_norm: float = 0.0
    best_step: int | None = None
    best_value: float | None = None
    train_seconds: float = 0.0
    compile_seconds: float = 0.0
    tokens: int = 0
    padded_tokens: int = 0
    peak_memory: float = 0.0
    skipped: int = 0
    stopped_step: int | None = None
    energy: float | None = None
    accumulation: int | None = None

    def add(self, sums: dict[str, float]) -> None:
        """Adds the sums of one step."""
        self.loss += sums["loss"]
        # A loss that counts nothing as right has no such sum.
        right = sums.get("correct")
        self.correct = None if right is None else (self.correct or 0.0) + right
        self.count += sums["count"]
        self.grad_norm = sums["grad_norm"]

    def drain(self) -> dict[str, float]:
        """Means since the last call, and the last gradient norm; {} where all were skipped."""
        if not self.count:
            return {}
        means = {"loss": self.loss / self.count}
        if self.correct is not None:
            means["accuracy"] = self.correct / self.count
        self.loss = self.correct = self.count = 0.0
        return means | {"grad_norm": self.grad_norm}


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything `fit` needs, as functions of the step or the state.

    Attributes:
      stage: shown in the progress.
      step: compiled (state, batch) -> (state, sums).
      batch: step -> the batch, as NumPy arrays; a pure function.
      learning_rate: step -> the rate used in it.
      total_steps, steps_per_epoch: lengths.
      validate_every: steps between validations; 0: after every epoch.
      last_step: where to stop with the state saved; `total_steps` but to repeat part of a run.
      program_steps: steps whose batches have all the shapes there are, to compile for them ahead.
      prepare: params -> None; compiles what `validate` needs.
      validate: params, step they are from -> metrics of the validation split.
      select: the metric of `validate` that picks the best checkpoint.
      higher_is_better: its direction.
      patience: stop after so many epochs without a better one; 0: never.
      eval_params: state -> the parameters to validate and to export; None: `state.params`.
      complete: (those, the frozen ones) -> all parameters, where only a part is trained.
      document: saved in every checkpoint (configuration, tokenizer).
      peak_memory: the peak of this process so far, in MiB.
      energy: joules the devices have used since some moment; None where nothing counts them.
      draw: state -> the `draws` of its step; None: the attentions draw in every step themselves.
      redraw_interval: steps between new ones.
      check: is shown each program of a step before it is run; may raise InputError.
    """

    stage: str
    step: Programs
    batch: Callable[[int], NumpyBatch]
    learning_rate: Callable[[int], float]
    total_steps: int
    steps_per_epoch: int
    validate_every: int
    last_step: int
    program_steps: Sequence[int]
    prepare: Callable[[Params], None]
    validate: Callable[[Params, int], Metrics]
    select: str
    higher_is_better: bool
    patience: int
    eval_params: Callable[[TrainState], Params] | None
    complete: Callable[[Params, Params | None], Params] | None
    document: dict[str, Any]
    peak_memory: Callable[[], float]
    energy: Callable[[], float] | None = None
    draw: Callable[[TrainState], PyTree] | None = None
    redraw_interval: int = 1
    check: Callable[[jax.stages.Compiled], None] = lambda program: None

    def validation_due(self, done: int) -> bool:
        """Whether to validate after so many steps; after the last one always."""
        return done % (self.validate_every or self.steps_per_epoch) == 0 or done == self.total_steps

    def evaluated(self, state: TrainState) -> Params:
        """The parameters to validate: those of the whole model."""
        params = state.params if self.eval_params is None else self.eval_params(state)
        return params if self.complete is None else self.complete(params, frozen_of(state))
