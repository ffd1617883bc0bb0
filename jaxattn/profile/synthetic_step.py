"""The training step of a configuration on made-up input: to be measured, never to learn from."""

import dataclasses
import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxattn.config import Config
from jaxattn.data.batches.masking import Masking, num_slots
from jaxattn.data.batches.order import classification_batch, mlm_batch, singly
from jaxattn.data.tokens.arrays import SPECIAL_TOKENS, SpecialIds, TokenArray
from jaxattn.errors import InputError
from jaxattn.model.heads import ClassifierModel, MlmModel, init_classifier, init_mlm
from jaxattn.model.keys import init_key
from jaxattn.model.peft import cut, equipped, on_folded
from jaxattn.ops.programs import Programs
from jaxattn.profile.timing import Program, compiled_in
from jaxattn.train.optimizer import make_optimizer
from jaxattn.train.precision import first_scale
from jaxattn.train.state import TrainState, create_state
from jaxattn.train.steps import (
    LossFn,
    Sums,
    classification_loss,
    make_train_step,
    mlm_loss,
    step_draws,
)

TASKS = ("mlm", "classification")

_SPECIAL = SpecialIds(*range(len(SPECIAL_TOKENS)))

# It sets constants of the learning-rate schedule, and nothing of what a step costs.
_SCHEDULED_STEPS = 1000

_abstract: Callable[..., jax.ShapeDtypeStruct] = jax.ShapeDtypeStruct


@dataclasses.dataclass(frozen=True)
class SyntheticStep:
    """One optimizer step as training compiles it, for one batch shape.

    Attributes:
      function: (state, batch) -> (state, sums).
      state, batch: its arguments as trees of `jax.ShapeDtypeStruct`; nothing is allocated.
      make_state: seed -> a real state at step 0.
      make_batch: seed -> a real batch: random ids, no padding, every MLM slot of a full row.
    """

    function: Callable[[TrainState, Any], tuple[TrainState, Sums]]
    state: TrainState
    batch: dict[str, jax.ShapeDtypeStruct]
    make_state: Callable[[int], TrainState]
    make_batch: Callable[[int], dict[str, np.ndarray]]

    def lower(self) -> jax.stages.Lowered:
        """The step with its state donated, as training lowers it; `.compile()` gives its memory."""
        return Programs(self.function, donate=True).lower(self.state, self.batch)

    def concrete(self, seed: int) -> tuple[TrainState, dict[str, np.ndarray]]:
        """Real arguments of the shapes of `state` and `batch`."""
        return self.make_state(seed), self.make_batch(seed)

    def program(self, states: "States", *, ready: bool) -> Program:
        """The compiled step; each run goes on from the state that the run before has left.

        Args:
          states: where that state is kept.
          ready: makes state and batch now, so that the first run can be timed; otherwise that run
            makes them, and until then nothing is allocated.
        """
        compiled, seconds = compiled_in(self.lower)
        batch = functools.cache(lambda: jax.device_put(self.make_batch(states.seed)))

        def run() -> tuple[Sums, jax.Array]:
            state, sums = compiled(states.take(self), batch())
            states.give(state)
            return sums, state.step

        if ready:
            batch()
            states.prepare(self)
        return Program(compiled, run, seconds)


class States:
    """Training states, one for all steps whose states have the same shapes."""

    def __init__(self, seed: int) -> None:
        """`seed`: of states and batches."""
        self.seed, self._lock = seed, threading.Lock()
        self._kept: dict[Hashable, TrainState] = {}

    def prepare(self, step: SyntheticStep) -> None:
        """Makes a state for this step unless there is one."""
        with self._lock:
            shapes = self._shapes(step.state)
            if shapes not in self._kept:
                self._kept[shapes] = step.make_state(self.seed)

    def take(self, step: SyntheticStep) -> TrainState:
        """A state that the caller may donate, and has to `give` back as the step returns it."""
        self.prepare(step)
        return self._kept.pop(self._shapes(step.state))

    def give(self, state: TrainState) -> None:
        """Keeps a state for the next step."""
        self._kept[self._shapes(state)] = state

    @staticmethod
    def _shapes(state: TrainState) -> Hashable:
        leaves, tree = jax.tree.flatten(state)
        return tree, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)


def synthetic_step(
    config: Config,
    *,
    task: str,
    batch_size: int,
    length: int,
    vocab_size: int,
    num_classes: int = 2,
) -> SyntheticStep:
    """The step that `config` trains with, on batches [batch_size, length].

    Args:
      config: model, attention, accumulation, precision, remat and optimizer; no data.
      task: "mlm" or "classification".
      batch_size: rows of a step, all micro-batches together.
      length: tokens of every row.
      vocab_size: more than the five special tokens.
      num_classes: of a classifier.

    Raises:
      InputError: unknown task, input longer than the model takes, or a batch that
        `train.accumulation` does not divide.
    """
    if task not in TASKS:
        raise InputError(f"task: found {task!r}, allowed: {', '.join(TASKS)}")
    if batch_size < 1 or batch_size % config.train.accumulation:
        raise InputError(
            f"train.batch_size: found {batch_size}, allowed: multiples of train.accumulation = "
            f"{config.train.accumulation}"
        )
    loss_fn, init = _task(config, task, vocab_size, num_classes)
    finetune = config.finetune if task == "classification" else None
    optimizer = make_optimizer(config.train, _SCHEDULED_STEPS, finetune, config.model.num_layers)
    function = make_train_step(
        loss_fn,
        optimizer,
        accumulation=config.train.accumulation,
        redraw_interval=config.attention.redraw_interval,
        loss_scale_steps=config.train.loss_scale_steps,
        dropout_prng=config.train.dropout_prng,
    )

    def make_state(seed: int) -> TrainState:
        trained, frozen = init(seed)
        state = create_state(trained, optimizer, seed, first_scale(config.train), frozen)
        draw = step_draws(config)
        return state if draw is None else dataclasses.replace(state, draws=draw(state))

    def make_batch(seed: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        rows = rng.integers(len(_SPECIAL), vocab_size, (batch_size, length), np.int32)
        rows[:, 0], rows[:, -1] = _SPECIAL.cls, _SPECIAL.sep
        tokens, indices = TokenArray.from_rows(rows), np.arange(batch_size)
        if task == "classification":
            labels = rng.integers(num_classes, size=batch_size, dtype=np.int32)
            return classification_batch(tokens, labels, indices, length, _SPECIAL.pad)
        return mlm_batch(
            tokens,
            singly(indices),
            length,
            slots=num_slots(length, config.data.mask_rate),
            packed=config.data.packing,
            masking=Masking(config.data.mask_rate, vocab_size, _SPECIAL),
            seed=seed,
            epoch=0,
        )

    return SyntheticStep(
        function,
        jax.eval_shape(lambda: make_state(0)),
        _batch_shapes(config, task, batch_size, length),
        make_state,
        make_batch,
    )


def _task(
    config: Config, task: str, vocab_size: int, num_classes: int
) -> tuple[LossFn, Callable[[int], tuple[PyTree, PyTree]]]:
    """The loss, and seed -> parameters at step 0, those trained and those frozen (or None)."""
    if task == "mlm":
        mlm = MlmModel(config, vocab_size)
        return mlm_loss(mlm), lambda seed: (init_mlm(mlm, seed), None)
    classifier = ClassifierModel(config, vocab_size, num_classes)
    words = range(len(_SPECIAL), vocab_size)

    def begin(seed: int) -> tuple[PyTree, PyTree]:
        params = init_classifier(classifier, seed)
        params = equipped(params, config.peft, init_key(seed), words)
        return cut(params, config.peft.method)

    return on_folded(classification_loss(classifier), config.peft), begin


def _batch_shapes(
    config: Config, task: str, batch_size: int, length: int
) -> dict[str, jax.ShapeDtypeStruct]:
    """What `mlm_batch` or `classification_batch` returns, without its contents."""
    tokens = (batch_size, length)
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "ids": (tokens, jnp.int32),
        "mask": (tokens, jnp.bool_),
    }
    if task == "mlm":
        slots = (batch_size, num_slots(length, config.data.mask_rate))
        shapes |= {"positions": (slots, jnp.int32), "targets": (slots, jnp.int32)}
        shapes["weights"] = (slots, jnp.float32)
        if config.data.packing:
            shapes["segments"] = (tokens, jnp.int32)
    else:
        shapes |= {"labels": ((batch_size,), jnp.int32), "weights": ((batch_size,), jnp.float32)}
    return {name: _abstract(shape, dtype) for name, (shape, dtype) in shapes.items()}
