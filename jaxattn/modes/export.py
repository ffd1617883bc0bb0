"""--mode=export: a folder that predicts without the run, with or without jaxattn."""

from pathlib import Path

from jaxattn.classifier.exported import how_lengths, write_export
from jaxattn.classifier.load import CHANGEABLE, classifier_folder, load_classifier
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder


def run(request: Request) -> None:
    """Writes --output, whole or not at all; a folder that exists is never touched."""
    target = Path(request.needed("output", "imdb_model")).absolute()
    if target.exists():
        raise InputError(f"--output: {target} already exists; give the name of a new folder")
    if not target.parent.is_dir():
        raise InputError(f"--output: {target}: the folder {target.parent} does not exist")
    exp = "" if request.run else request.needed("exp", "imdb_lsh")
    path = classifier_folder(request.runs, request.run, exp).absolute()
    folder = RunFolder(path.parent.parent, "finetune", path.name, "--run")
    classifier = load_classifier(folder, request.flagged_options(CHANGEABLE))
    about = write_export(target, folder, classifier)
    size = sum(file.stat().st_size for file in target.iterdir()) / 2**20
    say(f"written: {target} ({size:,.1f} MiB); StableHLO with {how_lengths(about)}")
