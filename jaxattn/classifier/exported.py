"""The folder that --mode=export writes: all of a classifier, for jaxattn and for jax alone."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import jax
import numpy as np

from jaxattn.classifier.card import model_card
from jaxattn.classifier.classifier import Classifier
from jaxattn.config import (
    Config,
    Scope,
    flatten,
    of_scope,
    read_yaml,
    replace,
    to_plain,
    write_yaml,
)
from jaxattn.data.tokens.arrays import special_ids
from jaxattn.data.tokens.wordpiece import load_tokenizer
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import Trained
from jaxattn.files import whole, write_json
from jaxattn.ops.trees import flat_names, nested
from jaxattn.runs.folder import RunFolder

FORMAT = 1

WEIGHTS = "model.safetensors"

CONFIG = "config.yaml"

TOKENIZER = "tokenizer.json"

SCRIPT = Path(__file__).with_name("standalone.py")
"""It is copied, and runs in that folder."""


class ProgramFile(TypedDict):
    """A StableHLO program; `length` of its rows, None: any."""

    file: str
    length: int | None


class About(TypedDict):
    """program.json: what is to be known to run the programs."""

    inputs: str
    output: str
    platforms: list[str]
    written_with: str
    programs: list[ProgramFile]
    classes: list[str]
    max_length: int
    pad_id: int
    cls_id: int
    sep_id: int
    unk_id: int
    special_ids: list[int]


def write_export(target: Path, run: RunFolder, classifier: Classifier) -> About:
    """Writes the folder `target`, whole or not at all, with a card from the records of `run`."""
    with whole(target) as folder:
        folder.mkdir()
        write_model(folder, classifier)
        about = write_programs(folder, classifier)
        card = model_card(run, classifier.config, classifier.label_names, about)
        (folder / "README.md").write_text(card, encoding="utf-8")
        for path in folder.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    return about


def write_model(folder: Path, classifier: Classifier) -> None:
    """Writes weights, options and tokenizer: what `read_export` reads."""
    from safetensors.numpy import save

    trained = classifier.trained
    weights = flat_names(trained.params)
    data = save({name: np.ascontiguousarray(np.asarray(x)) for name, x in weights.items()})
    # `save_file` makes a file that nobody else may read.
    (folder / WEIGHTS).write_bytes(data)
    about = {
        "label_names": list(classifier.label_names),
        "attention_key": np.asarray(jax.random.key_data(trained.attention_key)).tolist(),
        "export_format": FORMAT,
    }
    options = flatten(to_plain(classifier.config)) | dict.fromkeys(
        of_scope(Config, Scope.MACHINE), ""
    )
    write_yaml(folder / CONFIG, options | about)
    classifier.tokenizer.save(str(folder / TOKENIZER))


def write_programs(folder: Path, classifier: Classifier) -> About:
    """Writes the StableHLO programs, program.json, and a script that runs them."""
    # jax.export is not needed to read such a folder.
    from jaxattn.classifier.portable import PLATFORMS, classifier_programs

    programs: list[ProgramFile] = []
    for length, program in classifier_programs(classifier):
        name = "model.stablehlo" if length is None else f"model_{length}.stablehlo"
        (folder / name).write_bytes(program)
        programs.append({"file": name, "length": length})
    special = special_ids(classifier.tokenizer)
    about: About = {
        "inputs": "weights by name as in model.safetensors, ids int32 [b, n], mask bool [b, n]",
        "output": "logits float32 [b, classes]",
        "platforms": list(PLATFORMS),
        "written_with": f"jax {jax.__version__}",
        "programs": programs,
        "classes": list(classifier.label_names),
        "max_length": classifier.config.data.max_length,
        "pad_id": special.pad,
        "cls_id": special.cls,
        "sep_id": special.sep,
        "unk_id": special.unk,
        "special_ids": special.distinct,
    }
    write_json(folder / "program.json", about)
    shutil.copyfile(SCRIPT, folder / "classify.py")
    return about


def how_lengths(about: About) -> str:
    """Which lengths the programs take, in words."""
    lengths = [str(each["length"]) for each in about["programs"]]
    if lengths == ["None"]:
        return f"any length up to {about['max_length']} tokens in one program"
    return f"one program for each length ({', '.join(lengths)})"


def read_export(folder: Path, options: Mapping[str, Any]) -> Classifier:
    """The classifier in the folder; `options`, dotted name -> value, are changed.

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
    trained = jax.device_put(Trained(nested(weights), key))
    label_names = tuple(map(str, extra["label_names"]))
    return Classifier(replace(config, options), label_names, tokenizer, trained)
