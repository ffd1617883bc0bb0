"""A Hugging Face folder as parameters and options of our encoder: all of it, or an error."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxattn.config import Config, replace
from jaxattn.data.tokens.arrays import special_ids
from jaxattn.errors import InputError
from jaxattn.interop.families import MODEL_TYPES
from jaxattn.interop.family import ENCODER, Family, Parts
from jaxattn.interop.folder import (
    CONFIG,
    file_hashes,
    read_config,
    read_tensors,
    weight_files,
)
from jaxattn.interop.options import model_options, model_type_of, pad_id, vocabulary_size
from jaxattn.interop.tensors import Params, Tensor, sizes, to_ours
from jaxattn.interop.vocabulary import read_vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OLD_NAMES = {".gamma": ".weight", ".beta": ".bias"}
"""What a layer norm's parameters are called in checkpoints that come from TensorFlow."""


@dataclasses.dataclass(frozen=True)
class Published:
    """What is in a folder.

    Attributes:
      model_type: as its config.json has it; it tells the family.
      config: the defaults with its architecture.
      params: encoder, and transform, norm and output_bias of the MLM head and the pooler where
        they are there; float32.
      parts: which parts are there, of `family`.
      left_out: tensors that are not needed.
      tokenizer: its vocabulary.
      hashes: file -> SHA-256.
    """

    model_type: str
    config: Config
    params: Params
    parts: tuple[str, ...]
    left_out: tuple[str, ...]
    tokenizer: "Tokenizer"
    hashes: dict[str, str]


def read_published(folder: Path) -> Published:
    """Reads config.json, the safetensors and the vocabulary of a folder.

    Raises:
      InputError: a file is missing or broken, the model is of another family, tensors are missing,
        unexpected, of a wrong shape or not finite, or the vocabulary has another size.
    """
    where, document = str(folder / CONFIG), read_config(folder)
    model_type = model_type_of(document, where)
    family = MODEL_TYPES[model_type]
    files = weight_files(folder, family.model_types[model_type] + family.converter)
    try:
        config = replace(Config(), _fitting(model_options(document, where)))
    except InputError as error:
        raise InputError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from None
    vocab_size = vocabulary_size(document, where)
    tokenizer, lowercase = read_vocabulary(folder)
    words = tokenizer.get_vocab(with_added_tokens=True)
    if len(words) != vocab_size or max(words.values()) >= vocab_size:
        raise InputError(
            f"{folder}: the vocabulary has {len(words)} words up to id {max(words.values())}, but "
            f"vocab_size of {CONFIG} is {vocab_size}; they have to agree"
        )
    pad = pad_id(document, family, where)
    if family.positions_from_pad and pad != special_ids(tokenizer).pad:
        raise InputError(
            f"{where}: pad_token_id: found {pad}, but the vocabulary pads with "
            f"{special_ids(tokenizer).pad}; positions count from it, so they have to agree"
        )
    found, left_out = _known(read_tensors(folder), family, str(folder))
    every = family.tensors(config.model, family.first_position(pad))
    parts = _parts(found, every, str(folder))
    wanted = [tensor for part in parts for tensor in every[part]]
    _check(found, wanted, sizes(config.model, vocab_size), str(folder))
    config = replace(config, {"tokenizer.lowercase": lowercase})
    hashes = file_hashes([folder / CONFIG, *files])
    return Published(model_type, config, to_ours(found, wanted), parts, left_out, tokenizer, hashes)


def _fitting(options: dict[str, Any]) -> dict[str, Any]:
    """With the default length of a text cut to what the model can take."""
    longest = min(Config().data.max_length, options["model.max_seq_len"])
    return options | {"data.max_length": longest}


def _known(
    raw: Mapping[str, np.ndarray], family: Family, origin: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The tensors by the names of the family, and those that are left out.

    Raises InputError where two come to have one name, or a tied one differs from its original.
    """
    found: dict[str, np.ndarray] = {}
    for name, array in raw.items():
        # Models around the encoder add a prefix to its names.
        new = family.prefix + name if name.startswith(family.inner) else name
        for old, current in OLD_NAMES.items():
            if new.endswith(f"LayerNorm{old}"):
                new = new.removesuffix(old) + current
        if new in found:
            raise InputError(f"{origin}: two tensors are {new}, one of them called {name}")
        found[new] = array
    left_out = tuple(name for name in family.needless if name in found)
    for name in left_out:
        del found[name]
    for copy, of in family.tied.items():
        if copy not in found:
            continue
        original = found.setdefault(of, found[copy])
        if not np.array_equal(original, found.pop(copy)):
            raise InputError(
                f"{origin}: {copy} differs from {of}; output weights that are not tied cannot be "
                "imported"
            )
    return found, left_out


def _parts(found: Mapping[str, np.ndarray], every: Parts, origin: str) -> tuple[str, ...]:
    """The parts that are there whole; InputError for what is missing and what is unexpected."""
    names = {part: [tensor.theirs for tensor in wanted] for part, wanted in every.items()}
    parts = tuple(
        part for part in every if part == ENCODER or any(name in found for name in names[part])
    )
    missing = [name for part in parts for name in names[part] if name not in found]
    unexpected = sorted(found.keys() - {name for part in parts for name in names[part]})
    problems = [
        f"{len(listed)} {what}: {', '.join(listed[:5])}{', ...' if len(listed) > 5 else ''}"
        for listed, what in ((missing, "missing"), (unexpected, "unexpected"))
        if listed
    ]
    if problems:
        raise InputError(f"{origin}: tensors {'; '.join(problems)}; nothing was imported")
    return parts


def _check(
    found: Mapping[str, np.ndarray], wanted: list[Tensor], lengths: dict[str, int], origin: str
) -> None:
    for tensor in wanted:
        array, shape = found[tensor.theirs], tensor.shape(lengths)
        if array.shape != shape:
            raise InputError(
                f"{origin}: {tensor.theirs} has the shape {list(array.shape)}, by {CONFIG} it is "
                f"{list(shape)}"
            )
        # bfloat16 is of no kind that NumPy knows.
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise InputError(
                f"{origin}: {tensor.theirs} has the type {array.dtype}, expected floats"
            )
        if not np.isfinite(np.asarray(array, np.float32)).all():
            raise InputError(f"{origin}: {tensor.theirs} holds numbers that are not finite")
