"""--mode=minbert: predictions on dev and test in the form of the minBERT course."""

from pathlib import Path

from jaxattn.classifier.load import load_classifier
from jaxattn.classifier.minbert import write_predictions
from jaxattn.config import replace
from jaxattn.errors import InputError
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder


def run(request: Request) -> None:
    """Writes the files of `write_predictions`.

    The data are those of the run, or those of --config where one is given.
    """
    folder = RunFolder(request.runs, "finetune", request.needed("exp", "sst"))
    classifier = load_classifier(folder)
    target = Path(request.output or folder.path)
    if target.exists() and not target.is_dir():
        raise InputError(f"--output={target} is a file; give a folder")
    config = replace(classifier.config, request.data_options())
    write_predictions(classifier, config.data, target)
