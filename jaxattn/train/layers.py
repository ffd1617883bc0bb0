"""Which layer a parameter belongs to: what is frozen, and how fast each layer learns."""

import re
from typing import Any

import jax

from jaxattn.config import FinetuneConfig
from jaxattn.ops.trees import path_names

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


def frozen_mask(params: Any, config: FinetuneConfig, num_layers: int) -> Any:
    """True for the parameters of `freeze_blocks` and below (same structure as `params`).

    With `freeze_pooler` for those of the pooler too: an imported BERT's is as pretrained as its
    blocks.
    """

    def frozen(path: tuple[Any, ...], _: Any) -> bool:
        names = path_names(path)
        found = depth(names, num_layers)
        if found is HEAD:
            return config.freeze_blocks > 0 and config.freeze_pooler and names[0] == "pooler"
        return config.freeze_blocks > 0 and found <= config.freeze_blocks

    return jax.tree_util.tree_map_with_path(frozen, params)


def rate_ratios(params: Any, config: FinetuneConfig, num_layers: int) -> Any:
    """Learning rate of every parameter over `train.learning_rate` (same structure as `params`).

    The topmost block has the backbone's ratio, every block below `layer_decay` times that of the
    block above it, and the embeddings that of a block below the lowest (as in ELECTRA, Clark et
    al. 2020).
    """

    def ratio(path: tuple[Any, ...], _: Any) -> float:
        found = depth(path_names(path), num_layers)
        if found is HEAD:
            return config.head_lr_ratio
        return config.backbone_lr_ratio * config.layer_decay ** (num_layers - found)

    return jax.tree_util.tree_map_with_path(ratio, params)
