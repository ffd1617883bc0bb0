"""A classifier as StableHLO programs that run with jax alone, for any number of rows."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, export

from jaxattn.classifier.classifier import Classifier
from jaxattn.classifier.serving import serving_lengths
from jaxattn.config import replace
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import Trained, with_draws
from jaxattn.memory import out_of_memory
from jaxattn.model.heads import ClassifierModel, class_logits
from jaxattn.ops.trees import flat_names, nested

PLATFORMS = ("cpu", "cuda")

Weights = Mapping[str, Array]

Function = Callable[[Weights, Array, Array], Array]


class Portable(NamedTuple):
    """A serialised program (weights by name, ids int32 [b, n], mask bool [b, n]) -> logits [b, c].

    `length` is n, or None where any n up to the longest will do.
    """

    length: int | None
    program: bytes


def classifier_programs(classifier: Classifier) -> list[Portable]:
    """The programs of all lengths that the classifier may be asked for."""
    # The forms that run on every platform; that of the exact attention leaves the length free.
    plain = replace(
        classifier.config,
        {
            "attention.sdpa.implementation": "xla",
            "attention.performer_favor.implementation": "xla",
            "train.remat": "none",
        },
    )
    vocab_size = classifier.tokenizer.get_vocab_size()
    model = ClassifierModel(plain, vocab_size, len(classifier.label_names))
    # Drawn features as constants: another machine need not have the library that makes them.
    trained = with_draws(plain, classifier.trained)
    return portable(model, trained, serving_lengths(plain.data.max_length))


def portable(model: ClassifierModel, trained: Trained, lengths: tuple[int, ...]) -> list[Portable]:
    """One program for all lengths where the attention can be written so, else one for each.

    The number of rows is free in any case. Where an attention divides its work by it, rows are
    computed one after the other; the results are the same.

    Args:
        model: the classifier.
        trained: whose parameters are the weights, and whose key of hashes and features, or what was
            drawn from it, becomes part of the program.
        lengths: rising; the last one is the longest text.

    Raises:
        InputError: the attention cannot be written so.
    """
    weights = flat_names(trained.params)

    def together(weights: Weights, ids: Array, mask: Array) -> Array:
        batch = {"ids": ids, "mask": mask}
        return class_logits(model, nested(weights), batch, trained.rngs, deterministic=True)

    def row_by_row(weights: Weights, ids: Array, mask: Array) -> Array:
        def one(row: tuple[Array, Array]) -> Array:
            return together(weights, row[0][None], row[1][None])[0]

        result: Array = jax.lax.map(one, (ids, mask))
        return result

    for function in (together, row_by_row):
        program = _exported(function, weights, "b, n", (f"n <= {lengths[-1]}", "n >= 2"))
        if program is not None:
            return [Portable(None, program)]
    for function in (together, row_by_row):
        programs: list[Portable] = []
        for length in lengths:
            program = _exported(function, weights, f"b, {length}", ())
            if program is None:
                break
            programs.append(Portable(length, program))
        else:
            return programs
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
        with _no_source_paths():
            program = export.export(jax.jit(function), platforms=PLATFORMS)(shapes, ids, mask)
            return bytes(program.serialize())
    except Exception as error:
        # A size that is used as a number raises errors of several types, with no common one.
        if out_of_memory(error):
            raise
        return None


@contextmanager
def _no_source_paths() -> Iterator[None]:
    """Programs say of every operation its name, but not in which files of this machine it stands.

    The paths tell strangers about this machine, and they are a sixth of the program.
    """
    option = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, option)
    jax.config.update(option, 0)
    try:
        yield
    finally:
        jax.config.update(option, before)
