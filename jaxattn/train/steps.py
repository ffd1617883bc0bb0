"""The two tasks as loss functions, and one optimizer step for either."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxattn.model.heads import Batch, MlmModel, Rngs, class_logits, mlm_logits
from jaxattn.ops.losses import cross_entropy_sums
from jaxattn.train.state import TrainState, attention_key, dropout_key

Sums = dict[str, jax.Array]
LossFn = Callable[[Any, Batch, Rngs, bool], Sums]
"""Parameters, batch, PRNG streams, deterministic -> sums `loss`, `correct`, `count`."""


def mlm_loss(model: MlmModel) -> LossFn:
    """Sums over the masked positions of a batch `ids, mask, positions, targets, weights`."""

    def loss(params: Any, batch: Batch, rngs: Rngs, deterministic: bool) -> Sums:
        logits_BSV = mlm_logits(model, params, batch, rngs, deterministic=deterministic)
        return cross_entropy_sums(logits_BSV, batch["targets"], batch["weights"])

    return loss


def classification_loss(model: nn.Module) -> LossFn:
    """Sums over the rows of a batch `ids, mask, labels, weights`."""

    def loss(params: Any, batch: Batch, rngs: Rngs, deterministic: bool) -> Sums:
        logits_BC = class_logits(model, params, batch, rngs, deterministic=deterministic)
        return cross_entropy_sums(logits_BC, batch["labels"], batch["weights"])

    return loss


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    accumulation: int,
    redraw_interval: int,
) -> Callable[[TrainState, Batch], tuple[TrainState, Sums]]:
    """A pure function (state, batch) -> (next state, sums of the batch and `grad_norm`).

    The batch is cut into `accumulation` equal parts that are computed one after the other. Their
    gradients of the *summed* loss are added and divided once by the batch's count, so that the
    step equals that of the undivided batch however the counts are spread over the parts.
    """

    def summed_loss(params: Any, part: Batch, rngs: Rngs) -> tuple[jax.Array, Sums]:
        sums = loss_fn(params, part, rngs, False)
        return sums["loss"], sums

    def gradients(params: Any, batch: Batch, state: TrainState) -> tuple[Any, Sums]:
        grad_fn = jax.grad(summed_loss, has_aux=True)
        drop = dropout_key(state.key, state.step)
        rngs = {"attention": attention_key(state.key, state.step, redraw_interval)}
        if accumulation == 1:
            return grad_fn(params, batch, rngs | {"dropout": drop})

        def add(carry: Any, numbered_part: tuple[jax.Array, Batch]) -> tuple[Any, None]:
            index, part = numbered_part
            part_rngs = rngs | {"dropout": jax.random.fold_in(drop, index)}
            return jax.tree.map(jnp.add, carry, grad_fn(params, part, part_rngs)), None

        # Strided parts: the empty rows at the end of a partial batch are spread over all of them.
        parts = jax.tree.map(
            lambda x: x.reshape(-1, accumulation, *x.shape[1:]).swapaxes(0, 1), dict(batch)
        )
        zeros = (
            jax.tree.map(jnp.zeros_like, params),
            {name: jnp.zeros(()) for name in ("loss", "correct", "count")},
        )
        total, _ = jax.lax.scan(add, zeros, (jnp.arange(accumulation), parts))
        return total

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        grads, sums = gradients(state.params, batch, state)
        grads = jax.tree.map(lambda g: g / jnp.maximum(sums["count"], 1.0), grads)
        with jax.named_scope("optimizer"):
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        next_state = dataclasses.replace(
            state, params=params, opt_state=opt_state, step=state.step + 1
        )
        return next_state, sums | {"grad_norm": optax.tree.norm(grads)}

    return train_step
