"""Parameter-efficient fine-tuning as functions of parameter trees.

The parameters of a classifier are cut in two. Trained are the head and what the method has added
to the encoder; everything else is the base, and is frozen. The two parts, joined and with LoRA's
changes folded in, are parameters of the model that a full fine-tuning has, but for the prompt and
the adapters, which are layers of it (`jaxattn.model`).
"""

import math
import zlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

from jaxattn.config import PeftConfig
from jaxattn.errors import InputError
from jaxattn.ops.trees import count_parameters, joined, split

LORA_A, LORA_B = "lora_a", "lora_b"

FOLDABLE = ("head_only", "lora")
"""Methods whose result is also a set of parameters of the model without them."""


def is_added(path: tuple[str, ...]) -> bool:
    """Whether a method has added the parameter to the encoder."""
    in_adapter = any(name.endswith("_adapter") for name in path)
    return in_adapter or path[-1] in ("prompt", LORA_A, LORA_B)


def is_trained(path: tuple[str, ...]) -> bool:
    """Whether the parameter of a classifier is trained by the methods other than full."""
    return path[0] != "encoder" or is_added(path)


def cut(params: PyTree, method: str) -> tuple[PyTree, PyTree]:
    """What is trained of a classifier's parameters, and what is frozen: None for full."""
    return (params, None) if method == "full" else split(params, is_trained)


def counts(trained: PyTree, frozen: PyTree) -> dict[str, int]:
    """Numbers of parameters: in all, trained, and of those trained the ones a method has added."""
    trainable = count_parameters(trained)
    return {
        "total": trainable + count_parameters(frozen),
        "trainable": trainable,
        "added": count_parameters(split(trained, is_added)[0]),
    }


def equipped(params: PyTree, config: PeftConfig, key: jax.Array, words: Sequence[int]) -> PyTree:
    """A classifier's parameters with what the model does not begin with by itself.

    These are LoRA's factors, and a prompt that begins as embeddings of tokens.

    Args:
      params: of the model, base included.
      config: the method.
      key: draws factors and tokens.
      words: ids of the tokens to draw from.

    Raises:
      InputError: LoRA is to change matrices that this model does not have.
    """
    if config.method == "lora":
        return with_factors(params, config.targets, config.r, key)
    if config.method == "soft_prompt" and config.prompt_init == "vocab":
        flat = flatten_dict(params)
        place = ("encoder", "embeddings", "prompt")
        short = len(words) < config.n_tokens
        chosen = jax.random.choice(key, np.asarray(words), (config.n_tokens,), replace=short)
        flat[place] = flat["encoder", "embeddings", "tokens", "embedding"][chosen]
        return unflatten_dict(flat)
    return params


def with_factors(params: PyTree, targets: Sequence[str], rank: int, key: jax.Array) -> PyTree:
    """`params` with factors A [in, rank] and B [rank, out] beside the kernels of the targets.

    A is normal noise of variance 1 / in and B zero: the product changes nothing at first (Hu et
    al. 2022, "LoRA", 4.1).

    Raises:
      InputError: a target that no block has.
    """
    flat = flatten_dict(params)
    kernels = {
        path: leaf
        for path, leaf in flat.items()
        if path[0] == "encoder" and path[1].startswith("blocks_") and path[-1] == "kernel"
    }
    there = sorted({path[-2] for path in kernels})
    for target in targets:
        if target not in there:
            raise InputError(
                f"peft.targets: found {target!r}, which this model does not have, allowed: "
                f"{', '.join(there)}"
            )
    for path, kernel in kernels.items():
        if path[-2] in targets:
            width, out = kernel.shape
            noise = jax.random.normal(_own_key(key, path), (width, rank))
            flat[*path[:-1], LORA_A] = noise / math.sqrt(width)
            flat[*path[:-1], LORA_B] = jnp.zeros((rank, out))
    return unflatten_dict(flat)


def folded(params: PyTree, config: PeftConfig, key: jax.Array | None = None) -> PyTree:
    """Parameters of the model: each kernel W that has factors becomes W + alpha / r A B, float32.

    Args:
      params: trained and frozen part, joined.
      config: the method; with another than LoRA there is nothing to fold.
      key: of dropout; None: no dropout. Rows of A are dropped, which is dropout on the input
        features of A that is the same for every token: W + A B knows no tokens.
    """
    flat = flatten_dict(params)
    for path in [path for path in flat if path[-1] == LORA_A]:
        place = path[:-1]
        a, b = flat.pop(path), flat.pop((*place, LORA_B))
        if key is not None and config.dropout:
            keep = jax.random.bernoulli(_own_key(key, path), 1 - config.dropout, (len(a), 1))
            a = jnp.where(keep, a / (1 - config.dropout), 0.0)
        change = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
        flat[*place, "kernel"] = flat[*place, "kernel"] + config.alpha / config.r * change
    return unflatten_dict(flat)


def complete(trained: PyTree, frozen: PyTree, config: PeftConfig) -> PyTree:
    """Parameters of the model, to evaluate and to export, from the two parts."""
    return folded(joined(trained, frozen), config)


def on_folded(loss_fn: Callable[..., PyTree], config: PeftConfig) -> Callable[..., PyTree]:
    """A loss of the model's parameters as one of the joined parts (`LossFn` of `train.steps`)."""
    if config.method != "lora":
        return loss_fn

    def loss(params: PyTree, batch: PyTree, rngs: PyTree, deterministic: bool) -> PyTree:
        key = None if deterministic else rngs["dropout"]
        return loss_fn(folded(params, config, key), batch, rngs, deterministic)

    return loss


def _own_key(key: jax.Array, path: tuple[str, ...]) -> jax.Array:
    """A key for each parameter, whatever else is in the tree."""
    return jax.random.fold_in(key, zlib.crc32("/".join(path).encode()))
