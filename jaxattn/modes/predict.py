"""--mode=predict: labels and probabilities for texts from a file or standard input."""

import os
from pathlib import Path

from jaxattn.classifier.label import _Job
from jaxattn.classifier.labelled_rows import FORMATS
from jaxattn.data.read.stream import Records
from jaxattn.errors import InputError
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.startup import collector_paused

OPTIONS = ("predict.long", "predict.overlap", "data.text_column")
"""That can be given here; all others are the run's."""

ON_BAD_ROW = ("keep", "stop")


def run(request: Request) -> None:
    """Writes every row of the input with the label and the probability of every class.

    Input: .csv, .tsv, .jsonl or .parquet with a text column, or lines of text. A bad row is told,
    and kept with an empty label and an `error`.
    """
    source = request.input or "-"
    out_format = request.format or _format_of(request.output)
    if out_format not in FORMATS:
        raise InputError(f"--format: found {out_format!r}, allowed: {', '.join(FORMATS)}")
    if request.on_bad_row not in ("", *ON_BAD_ROW):
        raise InputError(
            f"--on_bad_row: found {request.on_bad_row!r}, allowed: {', '.join(ON_BAD_ROW)}"
        )
    if source != "-" and not Path(source).is_file():
        raise InputError(f"--input: {source}: no such file; give a file, or - for standard input")
    if request.output and not Path(request.output).absolute().parent.is_dir():
        raise InputError(f"--output: {request.output}: its folder does not exist")
    if Path(request.output or "-").is_dir():
        raise InputError(f"--output: {request.output} is a folder; give a file name")
    if out_format == "parquet" and not request.output:
        raise InputError("--format=parquet needs --output=<file>; standard output takes jsonl, csv")
    options = request.flagged_options(OPTIONS)
    folder = classifier_folder(request)
    with collector_paused():
        from jaxattn.classifier.load import open_classifier

        classifier = open_classifier(folder, options)
    records = Records(source, classifier.config.data.text_column)
    job = _Job(classifier, records, request.on_bad_row == "stop")
    if not request.output:
        job.write(out_format, None)
    else:
        temporary = Path(f"{request.output}.{os.getpid()}.tmp")
        try:
            job.write(out_format, temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, request.output)
        finally:
            temporary.unlink(missing_ok=True)
    job.report(request.output)


def classifier_folder(request: Request) -> Path:
    """The run that --exp names, or the folder that --run names (of a run, or exported)."""
    if request.run:
        return Path(request.run)
    folder = RunFolder(request.runs, "finetune", request.needed("exp", "imdb_lsh"))
    folder.must_exist()
    return folder.path


def _format_of(output: str) -> str:
    ending = Path(output).suffix.lower().removeprefix(".")
    return ending if ending in ("csv", "parquet") else "jsonl"
