"""The optimizer of a run: clipping, freezing, and the rule of each group of parameters."""

import dataclasses
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from jaxattn.config import FinetuneConfig, TrainConfig
from jaxattn.ops.trees import KeyPath, path_names
from jaxattn.train.rules import averaged_params, held, rule_name, rules_of


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

    init: Callable[[PyTree], PyTree]
    trained: Callable[[PyTree, jax.Array], PyTree]
    update: Callable[..., tuple[PyTree, PyTree]]
    eval_params: Callable[[PyTree, PyTree], PyTree]
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

    def labels(params: PyTree) -> PyTree:
        def label(path: KeyPath, late: bool) -> str:
            return rule_name(config, path_names(path)) + ("_late" if late else "")

        late = frozen_mask(params, settings, num_layers)
        return jax.tree_util.tree_map_with_path(label, late)

    def trained(grads: PyTree, step: jax.Array) -> PyTree:
        if not freezes:
            return grads
        late = frozen_mask(grads, settings, num_layers)

        def zeroed(g: jax.Array) -> jax.Array:
            return jnp.where(step < frozen_steps, jnp.zeros_like(g), g)

        return jax.tree.map(lambda g, is_late: zeroed(g) if is_late else g, grads, late)

    rule = next(iter(rules.values())) if len(rules) == 1 else optax.partition(rules, labels)
    chain = optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)
    averages = config.optimizer == "schedule_free_adamw"
    return Optimizer(chain.init, trained, chain.update, averaged_params, averages)


HEAD = None
"""The depth of parameters that are not the encoder's."""


def depth(path: tuple[str, ...], num_layers: int) -> int | None:
    """0: embeddings; 1 to `num_layers`: blocks, lowest first; `HEAD`: what is not the encoder's.

    The relative table belongs to the embeddings, since every block reads it; the last norm belongs
    to the topmost block.
    """
    if path[0] != "encoder":
        return HEAD
    if block := re.fullmatch(r"blocks_(\d+)", path[1]):
        return int(block[1]) + 1
    return num_layers if path[1] == "final_norm" else 0


def frozen_mask(params: PyTree, config: FinetuneConfig, num_layers: int) -> PyTree:
    """True for the parameters of `freeze_blocks` and below (same structure as `params`).

    With `freeze_pooler` for those of the pooler too: an imported BERT's is as pretrained as its
    blocks.
    """

    def frozen(path: KeyPath, _: PyTree) -> bool:
        names = path_names(path)
        found = depth(names, num_layers)
        if found is HEAD:
            pooler = names[0] in ("pooler", "pooler_norm")
            return config.freeze_blocks > 0 and config.freeze_pooler and pooler
        return config.freeze_blocks > 0 and found <= config.freeze_blocks

    return jax.tree_util.tree_map_with_path(frozen, params)


def rate_ratios(params: PyTree, config: FinetuneConfig, num_layers: int) -> PyTree:
    """Learning rate of every parameter over `train.learning_rate` (same structure as `params`).

    The topmost block has the backbone's ratio, every block below `layer_decay` times that of the
    block above it, and the embeddings that of a block below the lowest (as in ELECTRA, Clark et
    al. 2020).
    """

    def ratio(path: KeyPath, _: PyTree) -> float:
        found = depth(path_names(path), num_layers)
        if found is HEAD:
            return config.head_lr_ratio
        return config.backbone_lr_ratio * config.layer_decay ** (num_layers - found)

    return jax.tree_util.tree_map_with_path(ratio, params)


def learning_rate_schedule(config: TrainConfig, total_steps: int) -> optax.Schedule:
    """Step (from 0) -> learning rate.

    Rises linearly over `warmup_ratio * total_steps` steps to the peak. Then it stays ("constant"),
    or falls to `min_lr_ratio` of it, reached at the last step, along a cosine or a line. The first
    step has a rate above zero.
    """
    warmup_steps = round(config.warmup_ratio * total_steps)
    falling = _falling(config, max(1, total_steps - warmup_steps))

    def schedule(step: jnp.ndarray | int) -> jnp.ndarray:
        ordinal = step + 1
        rising = config.learning_rate * ordinal / max(1, warmup_steps)
        return jnp.where(ordinal <= warmup_steps, rising, falling(ordinal - warmup_steps))

    return schedule


def _falling(config: TrainConfig, steps: int) -> optax.Schedule:
    """Steps since the peak -> learning rate."""
    peak, share = config.learning_rate, config.min_lr_ratio
    if config.schedule == "cosine":
        return optax.cosine_decay_schedule(peak, steps, alpha=share)
    if config.schedule == "linear":
        return optax.linear_schedule(peak, peak * share, steps)
    return optax.constant_schedule(peak)
