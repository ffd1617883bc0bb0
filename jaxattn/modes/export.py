"""--mode=export: a folder that predicts without the run, with or without jaxattn."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax

from jaxattn.config import Config, replace
from jaxattn.data.wordpiece import special_ids
from jaxattn.errors import InputError
from jaxattn.evaluate.portable import PLATFORMS, portable
from jaxattn.evaluate.serving import serving_lengths
from jaxattn.model.heads import ClassifierModel
from jaxattn.modes.classifier import load_classifier
from jaxattn.modes.exported import write_model
from jaxattn.modes.model_card import model_card
from jaxattn.modes.predict import OPTIONS, classifier_folder
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder, write_json
from jaxattn.modes.training import say, with_draws
from jaxattn.ops.trees import flat_names

SCRIPT = Path(__file__).parents[1] / "evaluate" / "standalone.py"
"""It is copied, and runs in that folder."""


def run(request: Request) -> None:
    """Writes --output, whole or not at all; a folder that exists is never touched."""
    target = Path(request.needed("output", "imdb_model")).absolute()
    if target.exists():
        raise InputError(f"--output: {target} already exists; give the name of a new folder")
    if not target.parent.is_dir():
        raise InputError(f"--output: {target}: the folder {target.parent} does not exist")
    path = classifier_folder(request).absolute()
    folder = RunFolder(path.parent.parent, "finetune", path.name)
    classifier = load_classifier(folder)
    config = replace(classifier.config, request.flagged_options(OPTIONS))
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        write_model(
            temporary, config, classifier.label_names, classifier.tokenizer, classifier.trained
        )
        about = write_programs(
            temporary, config, classifier.label_names, classifier.tokenizer, classifier.trained
        )
        card = model_card(folder, config, classifier.label_names, about)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        for file in temporary.iterdir():
            with open(file, "rb") as written:
                os.fsync(written.fileno())
        # mkdtemp lets nobody else in.
        temporary.chmod(0o755)
        # Into a folder that has appeared meanwhile this fails, unless that is empty.
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    size = sum(file.stat().st_size for file in target.iterdir()) / 2**20
    say(f"written: {target} ({size:,.1f} MiB); StableHLO with {how_lengths(about)}")


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
