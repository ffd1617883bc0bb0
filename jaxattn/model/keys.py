"""The keys of a run's random numbers, each a function of its seed and step."""

import jax
import jax.numpy as jnp

from jaxattn.ops.hash_prng import hash_key


def init_key(seed: int) -> jax.Array:
    """The key that initialises parameters."""
    return jax.random.fold_in(jax.random.key(seed), 0)


def dropout_key(root: jax.Array, step: jax.Array, prng: str) -> jax.Array:
    """A new key every step, of the kind that `train.dropout_prng` names."""
    key = jax.random.fold_in(jax.random.fold_in(root, 1), step)
    return hash_key(key) if prng == "hash" else key


def attention_key(root: jax.Array, step: jax.Array, redraw_interval: int) -> jax.Array:
    """The key of hashes and random features: a new one every `redraw_interval` steps."""
    return jax.random.fold_in(jax.random.fold_in(root, 2), step // redraw_interval)


def evaluation_attention_key(seed: int, step: int, redraw_interval: int) -> jax.Array:
    """The key of hashes and random features when parameters of after `step` steps are evaluated.

    It is that of the last of these steps: parameters that were trained long with one draw have
    learned to use it.
    """
    last = jnp.asarray(max(step - 1, 0), jnp.int32)
    return attention_key(jax.random.key(seed), last, redraw_interval)
