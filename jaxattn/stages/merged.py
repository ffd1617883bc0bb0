"""A run of ordinary parameters, with what LoRA has learned folded in."""

from typing import Any

import jax.numpy as jnp

from jaxattn.runs.folder import RunFolder
from jaxattn.runs.predictions import NAME
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.state import TrainState

COPIED = ("tokenizer.json", NAME)


def _save(
    merged: RunFolder, source: RunFolder, options: dict[str, Any], params: Any, step: int
) -> None:
    """The one checkpoint of the merged run, whose document is that of the source but for `peft`."""
    document = Checkpoints(source.path / "checkpoints", keep=1).document(step)
    document = {name: value for name, value in document.items() if not name.startswith("base")}
    document |= {"config": options, "tally": {**document["tally"], "best_step": step}}
    key = jnp.zeros((2,), jnp.uint32)
    state = TrainState(params, (), jnp.asarray(step, jnp.int32), key)
    Checkpoints(merged.path / "checkpoints", keep=1).save(step, state, document, step)
