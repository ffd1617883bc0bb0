"""Parameters of one stage as the first parameters of the next."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxattn.errors import InputError
from jaxattn.ops.trees import shapes_differ


def carried_over(wanted: Any, found: Any, name: str) -> Any:
    """The parameters of an earlier stage, all of them, as arrays on the device.

    Args:
      wanted: parameters of the new stage at random, for their names and shapes.
      found: those of the checkpoint, nested dicts of arrays.
      name: of the checkpoint, for the error.

    Raises:
      InputError: the trees have different names or shapes.
    """
    problem = shapes_differ(wanted, found)
    if problem:
        raise InputError(f"--pretrain={name}: the parameters do not fit: {problem}")
    return jax.tree.map(jnp.asarray, found)
