"""Pytree paths: which parameters are what."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

KeyPath = tuple[Any, ...]
"""Where a leaf is in a pytree, as JAX tells it."""

Params = dict[str, Any]
"""Parameters of a model, or a part of them: nested dicts of arrays."""


def path_names(path: KeyPath) -> tuple[str, ...]:
    """The keys along a pytree path as strings."""
    return tuple(str(getattr(part, "key", getattr(part, "name", part))) for part in path)


def flat_names(tree: PyTree) -> dict[str, Any]:
    """Nested dicts of arrays as one dict with names such as "encoder/embeddings/..."."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(path_names(path)): leaf for path, leaf in leaves}


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dicts that `flat_names` was given."""
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def decay_mask(params: PyTree) -> PyTree:
    """True where weight decay applies: everywhere but biases and layer norms (same structure)."""

    def decays(path: KeyPath, _: PyTree) -> bool:
        return path_names(path)[-1] not in ("bias", "output_bias", "scale", "relative_table")

    return jax.tree_util.tree_map_with_path(decays, params)


def split(tree: PyTree, chosen: Callable[[tuple[str, ...]], bool]) -> tuple[PyTree, PyTree]:
    """The leaves of nested dicts whose path is chosen, and the others; no empty dicts in either."""
    flat = flatten_dict(tree)
    parts = ({path: leaf for path, leaf in flat.items() if chosen(path) == side} for side in (1, 0))
    one, other = map(unflatten_dict, parts)
    return one, other


def joined(one: PyTree, other: PyTree) -> PyTree:
    """Nested dicts with the leaves of both, as they were before `split`."""
    return unflatten_dict({**flatten_dict(one), **flatten_dict(other)})


def count_parameters(params: PyTree) -> int:
    """Number of scalars in a pytree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def tree_hash(tree: PyTree) -> str:
    """SHA-256 over names, types, shapes and contents of a pytree of arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.ascontiguousarray(leaf)
        digest.update(f"{'/'.join(path_names(path))} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def shapes_differ(wanted: PyTree, found: PyTree) -> str:
    """The first leaf in which two pytrees differ in name or shape, as text; '' if none does."""

    def described(tree: PyTree) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        return {"/".join(path_names(path)): leaf.shape for path, leaf in leaves}

    wanted_shapes, found_shapes = described(wanted), described(found)
    for name in sorted(wanted_shapes.keys() | found_shapes.keys()):
        if wanted_shapes.get(name) != found_shapes.get(name):
            return (
                f"{name} is {found_shapes.get(name, 'absent')}, "
                f"expected {wanted_shapes.get(name, 'absent')}"
            )
    return ""
