"""The optimizer of a run: clipping, freezing, and the rule of each group of parameters."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxattn.config import FinetuneConfig, TrainConfig
from jaxattn.ops.trees import path_names
from jaxattn.train.layers import frozen_mask, rate_ratios
from jaxattn.train.rules import averaged_params, held, rule_name, rules_of
from jaxattn.train.schedules import learning_rate_schedule


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """A training rule as pure functions.

    Attributes:
      init: params -> state.
      trained: (gradients, step) -> gradients, those of frozen parameters set to zero.
      update: (gradients, state, params, step=) -> (updates, state); updates are added to params.
      eval_params: (state, params) -> the parameters to evaluate, choose by and export. They are
        `params` themselves but for schedule-free rules, which take gradients at another point.
      averages: whether they are others.
    """

    init: Callable[[Any], Any]
    trained: Callable[[Any, jax.Array], Any]
    update: Callable[..., tuple[Any, Any]]
    eval_params: Callable[[Any, Any], Any]
    averages: bool


def make_optimizer(
    config: TrainConfig,
    total_steps: int,
    finetune: FinetuneConfig | None = None,
    num_layers: int = 0,
) -> Optimizer:
    """Clipping by global norm, then the rule of `train.optimizer`; no decay on biases and norms.

    Args:
      config: rule, schedule and their numbers.
      total_steps: of the run; the schedule and the end of freezing follow from it.
      finetune: what is frozen at first and which layers learn at another rate; None: nothing.
      num_layers: blocks of the encoder, where `finetune` is given.
    """
    settings = finetune or FinetuneConfig()
    freezes = settings.freeze_blocks > 0
    frozen_steps = round(settings.freeze_share * total_steps) if freezes else 0
    rules = rules_of(
        config,
        learning_rate_schedule(config, total_steps),
        lambda tree: rate_ratios(tree, settings, num_layers),
    )
    if freezes:
        # Rules of their own, so that moments and bias correction begin when the parameters do.
        rules |= {f"{name}_late": held(rule, frozen_steps) for name, rule in rules.items()}

    def labels(params: Any) -> Any:
        def label(path: tuple[Any, ...], late: bool) -> str:
            return rule_name(config, path_names(path)) + ("_late" if late else "")

        late = frozen_mask(params, settings, num_layers)
        return jax.tree_util.tree_map_with_path(label, late)

    def trained(grads: Any, step: jax.Array) -> Any:
        if not freezes:
            return grads
        late = frozen_mask(grads, settings, num_layers)
        zeroed = lambda g: jnp.where(step < frozen_steps, jnp.zeros_like(g), g)  # noqa: E731
        return jax.tree.map(lambda g, is_late: zeroed(g) if is_late else g, grads, late)

    rule = next(iter(rules.values())) if len(rules) == 1 else optax.partition(rules, labels)
    chain = optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)
    averages = config.optimizer == "schedule_free_adamw"
    return Optimizer(chain.init, trained, chain.update, averaged_params, averages)
