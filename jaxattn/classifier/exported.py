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
    read_tree,
    read_yaml,
    replace,
    to_plain,
    write_yaml,
)
from jaxattn.data.tokens.arrays import special_ids
from jaxattn.data.tokens.wordpiece import load_tokenizer
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import Trained
from jaxattn.files import unfit, whole, write_json
from jaxattn.model.heads import ClassifierModel, init_classifier
from jaxattn.ops.trees import flat_names, nested
from jaxattn.runs.exports import PROGRAMS, SCRIPT, WEIGHTS
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.manifest import SIGNED_ENTRY, TOKENIZER, Manifest, counting, file_digest

FORMAT = 1

CONFIG = "config.yaml"

CARD = "README.md"
"""For its author to complete: it is not signed."""

_SCRIPT = Path(__file__).with_name("standalone.py")
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
        (folder / CARD).write_text(card, encoding="utf-8")
        sign_export(folder)
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
        SIGNED_ENTRY: True,
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
    write_json(folder / PROGRAMS, about)
    shutil.copyfile(_SCRIPT, folder / SCRIPT)
    return about


def sign_export(folder: Path) -> None:
    """Writes the manifest, with dtype and shape of every weight, of all that is in the folder."""
    from safetensors.numpy import load_file

    options = flatten(read_tree(folder / CONFIG))
    names = sorted(path.name for path in folder.iterdir() if path.name not in (CONFIG, CARD))
    digests = {name: file_digest(folder / name) for name in names}
    weights = described(load_file(folder / WEIGHTS))
    Manifest(folder, digests, counting(options, "finetune"), weights).write()


def described(weights: Mapping[str, Any]) -> dict[str, str]:
    """Name of each weight -> its dtype and shape, as "float32 [16, 2]"."""
    return {name: f"{np.dtype(x.dtype).name} {list(x.shape)}" for name, x in weights.items()}


def how_lengths(about: About) -> str:
    """Which lengths the programs take, in words."""
    lengths = [str(each["length"]) for each in about["programs"]]
    if lengths == ["None"]:
        return f"any length up to {about['max_length']} tokens in one program"
    return f"one program for each length ({', '.join(lengths)})"


def read_export(folder: Path, options: Mapping[str, Any]) -> Classifier:
    """The classifier in the folder; `options`, dotted name -> value, are changed.

    Raises:
      InputError: a file is missing, changed, or of a later version of jaxattn.
    """
    path, manifest = folder / CONFIG, Manifest.read(folder)
    config, extra = read_yaml(path)
    if extra.get("export_format") != FORMAT:
        raise InputError(
            f"{path}: export_format: found {extra.get('export_format')!r}, this version of jaxattn "
            f"reads {FORMAT}"
        )
    for name in ("label_names", "attention_key"):
        if not isinstance(extra.get(name), list):
            raise InputError(f"{path}: {name}: found {extra.get(name)!r}, expected a list")
    if manifest is None and extra.get(SIGNED_ENTRY):
        raise InputError(f"{folder}: manifest.json is missing; export the run again")
    if manifest:
        manifest.require_options(flatten(to_plain(config)) | extra, path)
        manifest.require([TOKENIZER])
    tokenizer = load_tokenizer(folder / TOKENIZER, config.tokenizer.lowercase)
    label_names = tuple(map(str, extra["label_names"]))
    if manifest:
        expected = manifest.weights
    else:
        model = ClassifierModel(config, tokenizer.get_vocab_size(), len(label_names))
        expected = described(flat_names(jax.eval_shape(lambda: init_classifier(model, 0))))
    weights = checked_weights(folder, expected, manifest)
    try:
        key = jax.random.wrap_key_data(jax.numpy.array(extra["attention_key"], np.uint32))
    except (TypeError, ValueError, OverflowError):
        key_data = extra["attention_key"]
        raise InputError(f"{path}: attention_key: found {key_data!r}, no key") from None
    trained = jax.device_put(Trained(nested(weights), key))
    return Classifier(replace(config, options), label_names, tokenizer, trained)


def checked_weights(
    folder: Path, expected: Mapping[str, str], manifest: Manifest | None
) -> dict[str, np.ndarray]:
    """The weights by name.

    Args:
      folder: of the export.
      expected: name of each weight -> its dtype and shape.
      manifest: of the folder, where it has one.

    Raises:
      InputError: the file cannot be read; a weight is missing, superfluous, of another dtype or
        shape, not finite; or a bit of the file is not as it was.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / WEIGHTS
    if why := unfit(path):
        raise InputError(f"{path}: {why}")
    try:
        weights: dict[str, np.ndarray] = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None
    found = described(weights)
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            is_now, was = (each.get(name, "absent") for each in (found, expected))
            raise InputError(f"{path}: {name} is {is_now}, expected {was}; export the run again")
    if manifest:
        manifest.require([WEIGHTS])
    for name, weight in weights.items():
        if not np.isfinite(weight).all():
            raise InputError(f"{path}: {name} has values that are not finite; export the run again")
    return weights
