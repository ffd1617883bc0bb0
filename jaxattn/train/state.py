"""What a run carries from step to step, and the PRNG keys that follow from it."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from jaxattn.ops.trees import Params
from jaxattn.train.optimizer import Optimizer
from jaxattn.train.precision import LossScale


@flax.struct.dataclass
class TrainState:
    """Parameters, optimizer state, step and root key; the step is the data position as well.

    `loss_scale` is there with float16 only. `draws` are what the attentions have drawn for this
    step (`model.draws`), or None: then they draw it anew in every step. They follow from key and
    step, so they are never saved.
    """

    params: Params
    opt_state: optax.OptState
    step: jax.Array
    key: jax.Array
    loss_scale: LossScale | None = None
    draws: PyTree = None


@flax.struct.dataclass
class PartialState(TrainState):
    """A state whose `params` are a part of the model's; `frozen` are the others, never updated.

    It is a type of its own because what is saved is a `TrainState`: see `saved_part`.
    """

    frozen: Params | None = None


def create_state(
    params: Params,
    optimizer: Optimizer,
    seed: int,
    loss_scale: LossScale | None = None,
    frozen: Params | None = None,
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


def with_frozen(state: TrainState, frozen: Params | None) -> TrainState:
    """`state` with these parameters beside its own; None: as it is."""
    return state if frozen is None else PartialState(**vars(state), frozen=frozen)


def frozen_of(state: TrainState) -> Params | None:
    """The parameters that are not trained; None where all are."""
    return state.frozen if isinstance(state, PartialState) else None


def saved_part(state: TrainState) -> TrainState:
    """What a checkpoint holds: all but draws and frozen parameters, which are known without it."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(TrainState)}
    return TrainState(**(fields | {"draws": None}))
