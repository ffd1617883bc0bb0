"""What the attentions of a model draw, made once instead of in every layer of every step.

Orthogonal projections come from a QR decomposition, which on a GPU takes longer than the attention
that they are for (1.5 ms against 0.4 on an H200), and they stay the same for many steps.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxattn.attention import ATTENTIONS
from jaxattn.config import Config
from jaxattn.model.heads import MlmModel


@functools.lru_cache(maxsize=8)
def attention_draws(config: Config) -> Callable[[jax.Array], PyTree] | None:
    """Key of the "attention" stream -> the collection `draws` of a model of this configuration.

    The layers of any model around its encoder would draw bitwise the same from that key. None where
    no attention of it draws anything that takes long.
    """
    if all(ATTENTIONS[name].draws is None for name in config.attention.used):
        return None
    # The layers' paths in the model decide what they draw; its words and its head do not matter.
    model = MlmModel(config, vocab_size=1)

    def draws(key: jax.Array) -> PyTree:
        keys = {"params": key, "attention": key}
        ids, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
        # All but the draws is left out when this is compiled.
        return model.init(keys, ids, mask, ids, deterministic=True)["draws"]

    return jax.jit(draws)
