"""The folder that --mode=export writes: what is in it, and a classifier read from it."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxattn.config import Config
from jaxattn.config_io import flatten, read_yaml, to_plain, write_yaml
from jaxattn.data.wordpiece import load_tokenizer
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import Trained
from jaxattn.ops.trees import flat_names, nested

FORMAT = 1
WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
TOKENIZER = "tokenizer.json"
_PATHS = ("data.path", "tokenizer.path", "tokenizer.extra_tokens", "recipe.pretrain_path")
"""Options that name files of the machine where the run was made; nothing here depends on them."""


def write_model(
    folder: Path, config: Config, label_names: tuple[str, ...], tokenizer: Any, trained: Trained
) -> None:
    """Writes weights, options and tokenizer into a folder that exists."""
    from safetensors.numpy import save

    weights = {name: np.asarray(leaf) for name, leaf in flat_names(trained.params).items()}
    data = save({name: np.ascontiguousarray(x) for name, x in weights.items()})
    # `save_file` makes a file that nobody else may read.
    (folder / WEIGHTS).write_bytes(data)
    key = np.asarray(jax.random.key_data(trained.attention_key)).tolist()
    about = {"label_names": list(label_names), "attention_key": key, "export_format": FORMAT}
    options = flatten(to_plain(config)) | dict.fromkeys(_PATHS, "")
    write_yaml(folder / CONFIG, options | about)
    tokenizer.save(str(folder / TOKENIZER))


def read_export(folder: Path) -> tuple[Config, tuple[str, ...], Any, Trained]:
    """Options, names of the classes, tokenizer and parameters of an exported classifier.

    Raises:
      InputError: a file is missing, damaged, or of a later version of jaxattn.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / CONFIG
    config, extra = read_yaml(path)
    if extra.get("export_format") != FORMAT:
        raise InputError(
            f"{path}: export_format: found {extra.get('export_format')!r}, this version of jaxattn "
            f"reads {FORMAT}"
        )
    for name in ("label_names", "attention_key"):
        if not isinstance(extra.get(name), list):
            raise InputError(f"{path}: {name}: found {extra.get(name)!r}, expected a list")
    tokenizer = load_tokenizer(folder / TOKENIZER, config.tokenizer.lowercase)
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{folder / WEIGHTS}: not a readable safetensors file ({error})") from None
    key = jax.random.wrap_key_data(jax.numpy.array(extra["attention_key"], np.uint32))
    return config, tuple(map(str, extra["label_names"])), tokenizer, Trained(nested(weights), key)
