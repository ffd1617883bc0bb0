"""The tensors in a Hugging Face folder: one file of safetensors or several, never a pickle."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxattn.errors import InputError
from jaxattn.files import read_json, unfit

CONFIG = "config.json"

WEIGHTS = "model.safetensors"

INDEX = "model.safetensors.index.json"

PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")

OTHERS = ("tf_model.h5", "flax_model.msgpack")


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object; raises InputError naming the file where it is none."""
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: found a {type(document).__name__}, expected an object")
    return document


def read_config(folder: Path) -> dict[str, Any]:
    """Their config.json; raises InputError where `folder` is no folder with a model."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one of a Hugging Face model")
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: no {CONFIG} in it; expected a Hugging Face model")
    return read_document(folder / CONFIG)


def weight_files(folder: Path, converter: str = "AutoModel") -> list[Path]:
    """The safetensors files of a model.

    Args:
      folder: of the model.
      converter: the class of `transformers` that reads and writes all of its tensors.

    Raises:
      InputError: its weights are in another format.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return [folder / name for name in sorted(set(_weight_map(folder).values()))]
    present = [name for name in (*PICKLES, *OTHERS) if (folder / name).is_file()]
    if not present:
        raise InputError(f"{folder}: no {WEIGHTS} in it")
    how = ""
    if present[0] in PICKLES:
        how = (
            ", a pickle, which may run any program when it is read and is never read here; where "
            'you trust it, convert it: python -c "from transformers import '
            f"{converter} as B; B.from_pretrained('{folder}').save_pretrained('<new folder>')\", "
            "and copy the tokenizer's files"
        )
    raise InputError(f"{folder}: found {present[0]} only{how}; allowed: {WEIGHTS}")


def _weight_map(folder: Path) -> dict[str, str]:
    """Tensor -> file in `folder`, as the index of a sharded model has it."""
    mapping = read_document(folder / INDEX).get("weight_map")
    if not isinstance(mapping, Mapping) or not mapping:
        raise InputError(f"{folder / INDEX}: weight_map: found {mapping!r}, expected an object")
    for name in mapping.values():
        if not isinstance(name, str) or Path(name).name != name:
            raise InputError(
                f"{folder / INDEX}: found {name!r}, expected the name of a file beside it"
            )
    return dict(mapping)


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor by its name, in the type it was saved in.

    Raises:
      InputError: a file is missing, cut short or no safetensors, or a tensor is in two files or in
        another than the index says.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, np.ndarray] = {}
    origin: dict[str, str] = {}
    for path in weight_files(folder):
        if why := unfit(path):
            raise InputError(f"{path}: {why}")
        try:
            with safe_open(path, "numpy") as file:
                for name in file.keys():  # noqa: SIM118 - it is no dict
                    if name in found:
                        raise InputError(f"{path}: {name} is in {origin[name]} too")
                    found[name], origin[name] = file.get_tensor(name), path.name
        except FileNotFoundError:
            raise InputError(f"{path}: no such file, but {INDEX} names it") from None
        except (SafetensorError, OSError, TypeError) as error:
            raise InputError(f"{path}: not readable as safetensors ({error})") from None
    if not (folder / WEIGHTS).is_file():
        wanted = _weight_map(folder)
        for name in sorted(wanted.keys() | origin.keys()):
            if wanted.get(name) != origin.get(name):
                raise InputError(
                    f"{folder / INDEX}: {name}: {wanted.get(name, 'not listed')}, but it is "
                    f"{'in ' + origin[name] if name in origin else 'in no file'}"
                )
    return found


def file_hashes(paths: list[Path]) -> dict[str, str]:
    """Name -> SHA-256 of each file."""
    hashes = {}
    for path in paths:
        with open(path, "rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
