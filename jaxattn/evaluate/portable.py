"""A classifier as StableHLO programs that run with jax alone, for any number of rows."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, export

from jaxattn.errors import InputError
from jaxattn.evaluate.predict import Trained
from jaxattn.model.heads import class_logits
from jaxattn.ops.trees import nested

PLATFORMS = ("cpu", "cuda")

Weights = Mapping[str, Array]
Function = Callable[[Weights, Array, Array], Array]


class Portable(NamedTuple):
    """A serialised program (weights by name, ids int32 [b, n], mask bool [b, n]) -> logits [b, c].

    `length` is n, or None where any n up to the longest will do.
    """

    length: int | None
    program: bytes


def portable(
    model: nn.Module, weights: Weights, trained: Trained, lengths: tuple[int, ...]
) -> list[Portable]:
    """One program for all lengths where the attention can be written so, else one for each.

    The number of rows is free in any case. Where an attention divides its work by it, rows are
    computed one after the other; the results are the same.

    Args:
        model: the classifier.
        weights: path of each parameter ("encoder/...") -> array.
        trained: whose key of hashes and features, or what was drawn from it, becomes part of the
            program.
        lengths: rising; the last one is the longest text.
    """

    def together(weights: Weights, ids: Array, mask: Array) -> Array:
        batch = {"ids": ids, "mask": mask}
        return class_logits(model, nested(weights), batch, trained.rngs, deterministic=True)

    def row_by_row(weights: Weights, ids: Array, mask: Array) -> Array:
        def one(row: tuple[Array, Array]) -> Array:
            return together(weights, row[0][None], row[1][None])[0]

        return jax.lax.map(one, (ids, mask))

    for function in (together, row_by_row):
        whole = _exported(function, weights, "b, n", (f"n <= {lengths[-1]}", "n >= 2"))
        if whole is not None:
            return [Portable(None, whole)]
    for function in (together, row_by_row):
        found = [_exported(function, weights, f"b, {length}", ()) for length in lengths[:1]]
        if found[0] is not None:
            rest = [_exported(function, weights, f"b, {length}", ()) for length in lengths[1:]]
            programs = [each for each in (*found, *rest) if each is not None]
            if len(programs) == len(lengths):
                return [Portable(*each) for each in zip(lengths, programs, strict=True)]
    raise InputError(
        "--mode=export: this attention cannot be written as StableHLO for any number of rows"
    )


def _exported(
    function: Function, weights: Weights, shape: str, constraints: tuple[str, ...]
) -> bytes | None:
    """The program for a symbolic shape of ids and mask; None where it cannot be written so."""
    sizes = export.symbolic_shape(shape, constraints=constraints)
    shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in weights.items()}
    ids, mask = (jax.ShapeDtypeStruct(sizes, kind) for kind in (jnp.int32, jnp.bool_))
    try:
        return bytes(
            export.export(jax.jit(function), platforms=PLATFORMS)(shapes, ids, mask).serialize()
        )
    except Exception as error:
        # A size that is used as a number raises errors of several types, with no common one.
        if "RESOURCE_EXHAUSTED" in str(error):
            raise
        return None
