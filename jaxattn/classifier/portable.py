"""A classifier as StableHLO programs that run with jax alone, for any number of rows."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, export

from jaxattn.classifier.serving import serving_lengths
from jaxattn.config import Config, replace
from jaxattn.data.tokens.arrays import special_ids
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import Trained, with_draws
from jaxattn.files import write_json
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


SCRIPT = Path(__file__).parents[1] / "classifier" / "standalone.py"
"""It is copied, and runs in that folder."""


def write_programs(
    folder: Path, config: Config, label_names: tuple[str, ...], tokenizer: Any, trained: Any
) -> dict[str, Any]:
    """Writes the StableHLO programs, what is to be known of them, and a script that runs them."""
    lengths = serving_lengths(config.data.max_length)
    # The forms that run on every platform; that of the exact attention leaves the length free.
    plain = replace(
        config,
        {
            "attention.sdpa.implementation": "xla",
            "attention.performer_favor.implementation": "xla",
            "train.remat": "none",
        },
    )
    model = ClassifierModel(plain, tokenizer.get_vocab_size(), len(label_names))
    weights = flat_names(trained.params)
    programs = []
    # Drawn features as constants: another machine need not have the library that makes them.
    for length, program in portable(model, weights, with_draws(plain, trained), lengths):
        name = "model.stablehlo" if length is None else f"model_{length}.stablehlo"
        (folder / name).write_bytes(program)
        programs.append({"file": name, "length": length})
    special = special_ids(tokenizer)
    about = {
        "inputs": "weights by name as in model.safetensors, ids int32 [b, n], mask bool [b, n]",
        "output": "logits float32 [b, classes]",
        "platforms": list(PLATFORMS),
        "written_with": f"jax {jax.__version__}",
        "programs": programs,
        "classes": list(label_names),
        "max_length": config.data.max_length,
        "pad_id": special.pad,
        "cls_id": special.cls,
        "sep_id": special.sep,
    }
    write_json(folder / "program.json", about)
    shutil.copyfile(SCRIPT, folder / "classify.py")
    return about


def how_lengths(about: dict[str, Any]) -> str:
    """Which lengths the programs take, in words."""
    lengths = [str(each["length"]) for each in about["programs"]]
    if lengths == ["None"]:
        return f"any length up to {about['max_length']} tokens in one program"
    return f"one program for each length ({', '.join(lengths)})"
