"""--mode=export: a folder that predicts without the run, with or without jaxattn."""

import os
import shutil
import tempfile
from pathlib import Path

from jaxattn.classifier.card import model_card
from jaxattn.classifier.load import load_classifier, write_model
from jaxattn.classifier.portable import how_lengths, write_programs
from jaxattn.config import replace
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.modes.predict import OPTIONS, classifier_folder
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder


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
