"""What a run carries from step to step, and the PRNG keys that follow from it."""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxattn.train.optimizer import Optimizer
from jaxattn.train.precision import LossScale


@flax.struct.dataclass
class TrainState:
    """Parameters, optimizer state, step and root key; the step is the data position as well.

    `loss_scale` is there with float16 only. `draws` are what the attentions have drawn for this
    step (`model.draws`), or None: then they draw it anew in every step. They follow from key and
    step, so they are never saved.
    """

    params: Any
    opt_state: optax.OptState
    step: jax.Array
    key: jax.Array
    loss_scale: LossScale | None = None
    draws: Any = None


@flax.struct.dataclass
class PartialState(TrainState):
    """A state whose `params` are a part of the model's; `frozen` are the others, never updated.

    It is a type of its own because what is saved is a `TrainState`: see `saved_part`.
    """

    frozen: Any = None


def create_state(
    params: Any,
    optimizer: Optimizer,
    seed: int,
    loss_scale: LossScale | None = None,
    frozen: Any = None,
) -> TrainState:
    """The state before the first step; `frozen`: parameters beside `params`, or None."""
    state = TrainState(
        params=params,
        opt_state=optimizer.init(params),
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(seed),
        loss_scale=loss_scale,
    )
    return with_frozen(state, frozen)


def with_frozen(state: TrainState, frozen: Any) -> TrainState:
    """`state` with these parameters beside its own; None: as it is."""
    return state if frozen is None else PartialState(**vars(state), frozen=frozen)


def frozen_of(state: TrainState) -> Any:
    """The parameters that are not trained; None where all are."""
    return state.frozen if isinstance(state, PartialState) else None


def saved_part(state: TrainState) -> TrainState:
    """What a checkpoint holds: all but draws and frozen parameters, which are known without it."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(TrainState)}
    return TrainState(**(fields | {"draws": None}))


def init_key(seed: int) -> jax.Array:
    """The key that initialises parameters."""
    return jax.random.fold_in(jax.random.key(seed), 0)


def dropout_key(root: jax.Array, step: jax.Array) -> jax.Array:
    """A new key every step."""
    return jax.random.fold_in(jax.random.fold_in(root, 1), step)


def attention_key(root: jax.Array, step: jax.Array, redraw_interval: int) -> jax.Array:
    """The key of hashes and random features: a new one every `redraw_interval` steps."""
    return jax.random.fold_in(jax.random.fold_in(root, 2), step // redraw_interval)


def evaluation_attention_key(seed: int, step: int, redraw_interval: int) -> jax.Array:
    """The key of hashes and random features when parameters of after `step` steps are evaluated.

    It is that of the last of these steps: parameters that were trained long with one draw have
    learned to use it.
    """
    last = jnp.asarray(max(step - 1, 0), jnp.int32)
    return attention_key(jax.random.key(seed), last, redraw_interval)
