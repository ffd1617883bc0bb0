"""What the attentions draw for the steps of a run, made between the steps."""

from collections.abc import Callable
from typing import Any

import jax

from jaxattn.config import Config
from jaxattn.model.draws import attention_draws
from jaxattn.train.state import TrainState, attention_key


def step_draws(config: Config) -> Callable[[TrainState], Any] | None:
    """State -> the `draws` of its step, bitwise those that the step would draw itself.

    None where the attention draws nothing that takes long.
    """
    draws = attention_draws(config)
    if draws is None:
        return None
    interval = config.attention.options.redraw_interval

    def of_step(key: jax.Array, step: jax.Array) -> Any:
        return draws(attention_key(key, step, interval))

    compiled = jax.jit(of_step)
    return lambda state: compiled(state.key, state.step)
