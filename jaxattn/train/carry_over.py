"""Parameters of one stage as the first parameters of the next, also with another attention."""

import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxattn.errors import InputError
from jaxattn.ops.trees import shapes_differ


def carried_over(wanted: Any, found: Any, name: str) -> Any:
    """The parameters of an earlier stage as arrays on the device.

    All of them, bit for bit, but the projections of keys where one of the two attentions has none:
    see `keys_fitted`. That is told in a warning.

    Args:
      wanted: parameters of the new stage at random, for their names and shapes.
      found: those of the checkpoint, nested dicts of arrays.
      name: of the checkpoint, for messages.

    Raises:
      InputError: the trees have different names or shapes.
    """
    fitted, done = keys_fitted(wanted, found)
    problem = shapes_differ(wanted, fitted)
    if problem:
        raise InputError(f"--pretrain={name}: the parameters do not fit: {problem}")
    if done:
        warnings.warn(f"--pretrain={name}: {done}", stacklevel=2)
    return jax.tree.map(jnp.asarray, fitted)


def keys_fitted(wanted: Any, found: Any) -> tuple[Any, str]:
    """`found` with projections of keys in the attention layers in which `wanted` has them.

    LSH attention with shared queries and keys has none. Towards it they are dropped; away from it
    they begin as those of the queries, which the keys were until then.

    Returns:
      The tree, and in words what was done; "" where nothing had to be.
    """
    if not isinstance(wanted, Mapping) or not isinstance(found, Mapping):
        return found, ""
    fitted, done = dict(found), ""
    if "query" in wanted and "query" in found:
        if "key" in found and "key" not in wanted:
            del fitted["key"]
            done = "the projections of keys are dropped, this attention takes queries for keys"
        elif "key" in wanted and "key" not in found:
            fitted["key"] = found["query"]
            done = "the projections of keys are new, they begin as those of queries"
    for name in fitted.keys() & wanted.keys():
        fitted[name], below = keys_fitted(wanted[name], fitted[name])
        done = done or below
    return fitted, done
