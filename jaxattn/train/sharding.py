"""Where the state and the batches lie on the devices of one host.

The devices form a mesh of two axes. Over both the rows of a batch are spread; over "fsdp" large
parameters, their moments and their gradients as well (Rajbhandari et al. 2020, ZeRO-3), which XLA
gathers where they are used. One device is a mesh of one: nothing is different then.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from jaxattn.config import TrainConfig
from jaxattn.errors import InputError
from jaxattn.ops.trees import KeyPath, path_names
from jaxattn.train.steps import LossFn

AXES = ("data", "fsdp")

Step = Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
"""(state, batch) -> (next state, sums)."""

RULES: tuple[tuple[str, P], ...] = (
    (r"embeddings/tokens/embedding", P(None, "fsdp")),
    (r"embeddings/(position|token_type)_table", P(None, "fsdp")),
    (r"embeddings/project/kernel", P(None, "fsdp")),
    (r"attention/(query|key|value)/kernel", P("fsdp", None)),
    (r"attention/out/kernel", P(None, "fsdp")),
    (r"mlp/up/kernel", P("fsdp", None)),
    (r"mlp/down/kernel", P(None, "fsdp")),
    (r"(transform|pooler)/kernel", P("fsdp", None)),
)
"""End of a parameter's path -> how it is cut: all along the hidden width D, since the number of
words is rarely a multiple of anything. What matches no rule, or cannot be cut evenly, is on every
device. An optimizer's moments have paths that end like those of their parameters."""


def make_mesh(config: TrainConfig) -> Mesh:
    """The mesh of `train.mesh_data` x `train.mesh_fsdp` devices.

    Raises:
      InputError: there are not so many devices.
    """
    devices = jax.devices()
    fsdp = config.mesh_fsdp
    data = config.mesh_data or len(devices) // fsdp
    if not 1 <= data * fsdp <= len(devices):
        raise InputError(
            f"train.mesh_data = {config.mesh_data} and train.mesh_fsdp = {fsdp} need "
            f"{max(data, 1) * fsdp} devices, but there are {len(devices)}"
        )
    grid = np.asarray(devices[: data * fsdp]).reshape(data, fsdp)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def check_batches(config: TrainConfig, mesh: Mesh) -> None:
    """Raises InputError where the rows of a batch cannot be spread evenly over the devices."""
    sizes = {
        "train.batch_size / train.accumulation": config.batch_size // config.accumulation,
        "train.eval_batch_size": config.eval_batch_size or config.batch_size,
    }
    for name, rows in sizes.items():
        if rows % mesh.size:
            raise InputError(
                f"{name}: found {rows}, allowed on {mesh.size} devices: multiples of {mesh.size} "
                "(train.mesh_data chooses fewer devices)"
            )


def shardings(mesh: Mesh, tree: PyTree) -> PyTree:
    """The sharding of every array of a state or of parameters (same structure)."""

    def sharding(path: KeyPath, leaf: PyTree) -> NamedSharding:
        return NamedSharding(mesh, spec("/".join(path_names(path)), leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(sharding, tree)


def spec(path: str, shape: tuple[int, ...], mesh: Mesh) -> P:
    """How the array of this path and shape is cut."""
    for pattern, found in RULES:
        if re.search(f"(^|/){pattern}$", path) and len(found) == len(shape):
            cut = [n for n, axis in zip(shape, found, strict=True) if axis is not None]
            return found if all(n % mesh.shape["fsdp"] == 0 for n in cut) else P()
    return P()


def place(mesh: Mesh, tree: PyTree) -> PyTree:
    """A state or parameters, on the devices."""
    return jax.device_put(tree, shardings(mesh, tree))


def whole(mesh: Mesh, params: PyTree) -> PyTree:
    """Parameters with all of each on every device, as evaluation takes them."""
    return jax.device_put(params, NamedSharding(mesh, P()))


def gathered(mesh: Mesh, loss_fn: LossFn) -> LossFn:
    """`loss_fn` on whole parameters, gathered from the devices they are cut over.

    Without it the compiler guesses, from the cut of the first table that it meets, to cut hidden
    states along D instead of along the rows.
    """
    everywhere = NamedSharding(mesh, P())

    def loss(params: PyTree, batch: PyTree, rngs: PyTree, deterministic: bool) -> PyTree:
        whole = jax.lax.with_sharding_constraint(params, everywhere)
        return loss_fn(whole, batch, rngs, deterministic)

    return loss


def sharded_step(step: Step, lying: PyTree) -> Step:
    """`step` with its next state left where the state lies (`shardings`).

    The compiler might cut it in another way, which the next call of the compiled step refuses.
    """

    def function(state: PyTree, batch: PyTree) -> tuple[PyTree, PyTree]:
        next_state, sums = step(state, batch)
        return jax.lax.with_sharding_constraint(next_state, lying), sums

    return function


class BatchPlacement:
    """Puts batches on the devices: the first axis of every array over all of them."""

    def __init__(self, mesh: Mesh) -> None:
        """`mesh`: of the run."""
        self._sharding = NamedSharding(mesh, P(AXES))

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
        """The batch as arrays on the devices; those that are there already are not moved."""
        result: dict[str, jax.Array] = jax.device_put(dict(batch), self._sharding)
        return result
