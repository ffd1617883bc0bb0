"""The rules that optimizers are composed of, from optax: a gradient becomes an update.

Each reads the learning rate off the step that it is given as `step=`. A counter of its own would
fall behind when float16 skips a step.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree
from optax import GradientTransformationExtraArgs as Rule

from jaxattn.config import TrainConfig
from jaxattn.ops import trees

MUON_RMS = 0.2
"""Muon's updates are given the root mean square that AdamW's have, so that one learning rate and
one weight decay serve both (Liu et al. 2025, "Muon is Scalable for LLM Training", 2.2)."""


def rules_of(
    config: TrainConfig, schedule: optax.Schedule, ratios: Callable[[PyTree], PyTree]
) -> dict[str, Rule]:
    """Name -> rule; `rule_name` tells which parameter follows which.

    Args:
      config: optimizer, its numbers and weight decay.
      schedule: step -> learning rate.
      ratios: tree of parameters -> their learning rates over that of the schedule.
    """
    decay = optax.add_decayed_weights(config.weight_decay, trees.decay_mask)
    adam = optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)
    rate = _scaled_by_rate(schedule, ratios)
    if config.optimizer == "schedule_free_adamw":
        # The average takes the place of momentum, hence no first moment.
        rms = optax.scale_by_rms(
            config.beta2, config.epsilon, eps_in_sqrt=False, bias_correction=True
        )
        base = optax.chain(rms, decay, rate)
        return {"schedule_free_adamw": _schedule_free(base, schedule, config.beta1)}
    if config.optimizer == "minbert_adamw":
        return {"minbert_adamw": _minbert_adamw(config, schedule, ratios)}
    if config.optimizer == "lamb":
        # No layer adaptation where there is no decay, as in the code of You et al. 2020: the small
        # norm of a bias that starts at zero would keep it there.
        trust = optax.masked(optax.scale_by_trust_ratio(), trees.decay_mask)
        return {"lamb": optax.chain(adam, decay, trust, rate)}
    rules = {"adamw": optax.chain(adam, decay, rate)}
    if config.optimizer == "muon":
        muon = optax.contrib.scale_by_muon(
            beta=config.muon_momentum, weight_dimension_numbers=_muon_axes
        )
        rules["muon"] = optax.chain(muon, _muon_rms(), decay, rate)
    return rules


def rule_name(config: TrainConfig, path: tuple[str, ...]) -> str:
    """The rule that the parameter at this path follows.

    Muon is for the matrices of the blocks; embeddings, norms, biases and heads follow AdamW.
    """
    if config.optimizer != "muon":
        return config.optimizer
    in_block = path[0] == "encoder" and path[1].startswith("blocks_")
    return "muon" if in_block and path[-1] == "kernel" else "adamw"


def held(rule: Rule, until: int) -> Rule:
    """`rule` from step `until` on; before it nothing moves, its own state included."""
    rule = optax.with_extra_args_support(rule)

    def update(
        grads: PyTree, state: PyTree, params: PyTree = None, *, step: jax.Array, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        updates, next_state = rule.update(grads, state, params, step=step, **extra)
        active = step >= until
        # Adding -0.0 leaves every number bitwise as it is; adding 0.0 would turn -0.0 into 0.0.
        still = jax.tree.map(lambda u: jnp.where(active, u, jnp.full_like(u, -0.0)), updates)
        return still, jax.tree.map(lambda new, old: jnp.where(active, new, old), next_state, state)

    return Rule(rule.init, update)


def averaged_params(opt_state: PyTree, params: PyTree) -> PyTree:
    """The parameters that schedule-free rules evaluate, x; `params` under any other rule.

    `params` are the point y at which gradients are taken. Where some parameters were held apart
    the state holds a rule for each group, whose z has holes in the places of the others. Where z is
    y, as in what is frozen, x is bitwise y too.
    """

    def is_free(node: object) -> bool:
        return isinstance(node, optax.contrib.ScheduleFreeState)

    nodes = [node for node in jax.tree.leaves(opt_state, is_leaf=is_free) if is_free(node)]

    def average(z: jax.Array, y: jax.Array, b1: jax.Array) -> jax.Array:
        return jnp.where(y == z, y, y + (y - z) * ((1.0 - b1) / b1))

    def is_hole(node: object) -> bool:
        return isinstance(node, optax.MaskedNode)

    for node in nodes:
        params = jax.tree.map(
            lambda z, y, b1=node.b1: y if is_hole(z) else average(z, y, b1),
            node.z,
            params,
            is_leaf=is_hole,
        )
    return params


def _scaled_by_rate(schedule: optax.Schedule, ratios: Callable[[PyTree], PyTree]) -> Rule:
    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, *, step: jax.Array, **_: Any
    ) -> tuple[PyTree, PyTree]:
        rate = -schedule(step)
        return jax.tree.map(lambda u, ratio: rate * ratio * u, updates, ratios(updates)), state

    return Rule(optax.init_empty_state, update)


def _minbert_adamw(
    config: TrainConfig, schedule: optax.Schedule, ratios: Callable[[PyTree], PyTree]
) -> Rule:
    """AdamW as the minBERT course defines it.

    p <- p - rate * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon), then
    p <- p - rate * decay * p: the correction of both moments is in the size of the step, so that
    epsilon is added to the raw root, and what is decayed is the parameter after its step.
    """

    def init(params: PyTree) -> optax.ScaleByAdamState:
        # Two trees: a step is donated every buffer of the state, each once.
        mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), mu, nu)

    def update(
        grads: PyTree, state: PyTree, params: PyTree = None, *, step: jax.Array, **_: Any
    ) -> tuple[PyTree, PyTree]:
        count = state.count + 1
        mu = jax.tree.map(lambda m, g: config.beta1 * m + (1 - config.beta1) * g, state.mu, grads)
        nu = jax.tree.map(
            lambda v, g: config.beta2 * v + (1 - config.beta2) * g * g, state.nu, grads
        )
        rate = schedule(step)
        size = rate * jnp.sqrt(1 - config.beta2**count) / (1 - config.beta1**count)

        def change(
            m: jax.Array, v: jax.Array, p: jax.Array, ratio: float, decays: bool
        ) -> jax.Array:
            moved = -ratio * size * m / (jnp.sqrt(v) + config.epsilon)
            decay = rate * ratio * config.weight_decay if decays else 0.0
            result: jax.Array = moved - decay * (p + moved)
            return result

        updates = jax.tree.map(change, mu, nu, params, ratios(params), trees.decay_mask(params))
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return Rule(init, update)


def _schedule_free(base: Rule, schedule: optax.Schedule, beta: float) -> Rule:
    """Defazio et al. 2024; the weights of its average follow the largest rate so far, squared."""
    rule = optax.contrib.schedule_free(base, schedule, beta)

    def update(
        grads: PyTree, state: PyTree, params: PyTree = None, *, step: jax.Array, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        # optax reads the rate of the average off its own count of updates.
        result: tuple[PyTree, PyTree] = rule.update(
            grads, state._replace(step_count=step), params, step=step, **extra
        )
        return result

    return Rule(rule.init, update)


def _muon_axes(kernels: PyTree) -> PyTree:
    """Kernels are [in, out]: Flax's Dense, with the heads side by side in one axis."""
    return jax.tree.map(lambda _: optax.contrib.MuonDimensionNumbers(0, 1), kernels)


def _muon_rms() -> optax.GradientTransformation:
    """An orthogonal matrix [n, m] has entries of root mean square 1 / sqrt(max(n, m))."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda u: u * MUON_RMS * math.sqrt(max(u.shape)), updates)
    )
