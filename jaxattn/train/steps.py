"""The two tasks as loss functions, and one optimizer step for either."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from jaxattn.config import Config
from jaxattn.model.draws import attention_draws
from jaxattn.model.heads import Batch, MlmModel, Rngs, class_logits, mlm_logits
from jaxattn.model.keys import attention_key, dropout_key
from jaxattn.model.losses import cross_entropy_sums
from jaxattn.ops.trees import joined
from jaxattn.train.optimizer import Optimizer
from jaxattn.train.precision import next_scale
from jaxattn.train.state import TrainState, frozen_of

Sums = dict[str, jax.Array]

LossFn = Callable[[PyTree, Batch, Rngs, bool], Sums]
"""Parameters, batch, PRNG streams, deterministic -> sums `loss`, `count` and, of a choice among
classes or words, `correct`."""


def mlm_loss(model: MlmModel) -> LossFn:
    """Sums over the masked positions of a batch `ids, mask, positions, targets, weights`."""

    def loss(params: PyTree, batch: Batch, rngs: Rngs, deterministic: bool) -> Sums:
        logits_BSV = mlm_logits(model, params, batch, rngs, deterministic=deterministic)
        return cross_entropy_sums(logits_BSV, batch["targets"], batch["weights"])

    return loss


def classification_loss(
    model: nn.Module,
    *,
    label_smoothing: float = 0.0,
    class_weights: np.ndarray | None = None,
    focal_gamma: float = 0.0,
) -> LossFn:
    """Sums over the rows of a batch `ids, mask, labels, weights`; see `cross_entropy_sums`."""
    by_class = None if class_weights is None else jnp.asarray(class_weights, jnp.float32)

    def loss(params: PyTree, batch: Batch, rngs: Rngs, deterministic: bool) -> Sums:
        logits_BC = class_logits(model, params, batch, rngs, deterministic=deterministic)
        return cross_entropy_sums(
            logits_BC,
            batch["labels"],
            batch["weights"],
            label_smoothing=label_smoothing,
            class_weights=by_class,
            focal_gamma=focal_gamma,
        )

    return loss


def make_train_step(
    loss_fn: LossFn,
    optimizer: Optimizer,
    *,
    accumulation: int,
    redraw_interval: int,
    loss_scale_steps: int,
    dropout_prng: str = "hash",
) -> Callable[[TrainState, Batch], tuple[TrainState, Sums]]:
    """A pure function (state, batch) -> (next state, sums of the batch and `grad_norm`).

    The batch is cut into `accumulation` equal parts that are computed one after the other. Their
    gradients of the *summed* loss are added and divided once by the batch's count, so that the
    step equals that of the undivided batch however the counts are spread over the parts.

    With a loss scale in the state (float16) the loss is multiplied by it. Where gradients overflow
    then, parameters and optimizer state stay bitwise as they were, and the scale is halved; the
    step counts all the same, so that batches and keys stay functions of its number. The sums hold
    `skipped` (0 or 1) and `loss_scale` (that of the next step) too. `loss_scale_steps` is the
    number of steps without overflow after which the scale is doubled. `dropout_prng` is as the
    option of this name.

    Of a `PartialState` the loss is given all parameters and the optimizer those that are trained;
    gradients of the others are never computed.
    """

    def gradients(params: PyTree, batch: Batch, state: TrainState) -> tuple[PyTree, Sums]:
        """Gradients of the mean loss, and the sums."""
        factor = jnp.ones(())
        if state.loss_scale is not None:
            # Of the mean: the scaled sum over thousands of tokens would always overflow.
            factor = state.loss_scale.scale / jnp.maximum(batch["weights"].sum(), 1.0)

        frozen = frozen_of(state)

        def scaled_loss(params: PyTree, part: Batch, rngs: Rngs) -> tuple[jax.Array, Sums]:
            every = params if frozen is None else joined(params, frozen)
            sums = loss_fn(every, part, rngs, False)
            return sums["loss"] * factor, sums

        grad_fn = jax.grad(scaled_loss, has_aux=True)
        drop = dropout_key(state.key, state.step, dropout_prng)
        rngs = {
            "attention": attention_key(state.key, state.step, redraw_interval),
            "draws": state.draws,
        }
        if accumulation == 1:
            grads, sums = grad_fn(params, batch, rngs | {"dropout": drop})
        else:

            def add(carry: PyTree, numbered_part: tuple[jax.Array, Batch]) -> tuple[PyTree, None]:
                index, part = numbered_part
                part_rngs = rngs | {"dropout": jax.random.fold_in(drop, index)}
                return jax.tree.map(jnp.add, carry, grad_fn(params, part, part_rngs)), None

            # Strided parts: the empty rows at the end of a partial batch are spread over all.
            parts = jax.tree.map(
                lambda x: x.reshape(-1, accumulation, *x.shape[1:]).swapaxes(0, 1), dict(batch)
            )
            first = jax.tree.map(lambda x: x[0], parts)
            shapes = jax.eval_shape(grad_fn, params, first, rngs | {"dropout": drop})
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            (grads, sums), _ = jax.lax.scan(add, zeros, (jnp.arange(accumulation), parts))
        divisor = jnp.maximum(sums["count"], 1.0)
        if state.loss_scale is not None:
            divisor = state.loss_scale.scale
        return jax.tree.map(lambda g: g / divisor, grads), sums

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        grads, sums = gradients(state.params, batch, state)
        with jax.named_scope("optimizer"):
            # Frozen parameters have no part in the norm that is clipped at and told.
            grads = optimizer.trained(grads, state.step)
            norm = optax.tree.norm(grads)
            updates, opt_state = optimizer.update(
                grads, state.opt_state, state.params, step=state.step
            )
            params = optax.apply_updates(state.params, updates)
        sums = sums | {"grad_norm": norm}
        next_state = dataclasses.replace(
            state, params=params, opt_state=opt_state, step=state.step + 1
        )
        if state.loss_scale is None:
            return next_state, sums
        finite = jnp.isfinite(norm) & jnp.isfinite(sums["loss"])
        kept = lambda new, old: jnp.where(finite, new, old)  # noqa: E731
        scale = next_scale(state.loss_scale, finite, loss_scale_steps)
        next_state = dataclasses.replace(
            next_state,
            params=jax.tree.map(kept, params, state.params),
            opt_state=jax.tree.map(kept, opt_state, state.opt_state),
            loss_scale=scale,
        )
        skipped = 1.0 - finite.astype(jnp.float32)
        return next_state, sums | {"skipped": skipped, "loss_scale": scale.scale}

    return train_step


def step_draws(config: Config) -> Callable[[TrainState], PyTree] | None:
    """State -> the `draws` of its step, bitwise those that the step would draw itself.

    None where the attention draws nothing that takes long.
    """
    draws = attention_draws(config)
    if draws is None:
        return None
    interval = config.attention.redraw_interval

    def of_step(key: jax.Array, step: jax.Array) -> PyTree:
        return draws(attention_key(key, step, interval))

    compiled = jax.jit(of_step)
    return lambda state: compiled(state.key, state.step)
