"""--mode=predict: labels and probabilities for texts from a file or standard input."""

import os
from pathlib import Path

from jaxattn.classifier.labelled_rows import FORMATS
from jaxattn.console import say
from jaxattn.data.read.form import Form
from jaxattn.data.read.stream import Records
from jaxattn.errors import InputError
from jaxattn.request import Request
from jaxattn.startup import collector_paused
from jaxattn.streams import output_is_closed

ON_BAD_ROW = ("keep", "stop")

STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Names of standard output, which is not opened again: of a file that would be another place."""


def run(request: Request) -> None:
    """Writes every row of the input with the label and the probability of every class.

    Input: .csv, .tsv, .jsonl or .parquet with a text column, or lines of text. A bad row is told,
    and kept with an empty label and an `error`.
    """
    source = request.input or "-"
    output = "" if request.output in STDOUT else request.output
    out_format = request.format or _format_of(output)
    if out_format not in FORMATS:
        raise InputError(f"--format: found {out_format!r}, allowed: {', '.join(FORMATS)}")
    if request.on_bad_row not in ("", *ON_BAD_ROW):
        raise InputError(
            f"--on_bad_row: found {request.on_bad_row!r}, allowed: {', '.join(ON_BAD_ROW)}"
        )
    if source != "-" and not Path(source).is_file():
        raise InputError(f"--input: {source}: no such file; give a file, or - for standard input")
    if request.raw and out_format != "csv":
        raise InputError(f"--raw: it is of CSV, whose cells may be formulas, not of {out_format}")
    _check(output, out_format)
    if output and os.path.realpath(output) == os.path.realpath(source):
        raise InputError(f"--output: {output} is the file of --input; give another name")
    # A flag that is refused need not wait for jax.
    with collector_paused():
        from jaxattn.classifier.label import label_rows
        from jaxattn.classifier.load import CHANGEABLE, classifier_folder, open_classifier
        from jaxattn.classifier.text_classifier import TextClassifier

        options = request.flagged_options(CHANGEABLE)
        exp = "" if request.run else request.needed("exp", "imdb_lsh")
        folder = classifier_folder(request.runs, request.run, exp)
        classifier = TextClassifier(open_classifier(folder, options))
    data = classifier.config.data
    records = Records(source, data.text_column, Form.of(data))
    if records.form:
        say(f"{records.name}: {', '.join(records.form)}")
    stop = request.on_bad_row == "stop"
    label_rows(classifier, records, output, out_format, stop=stop, raw=request.raw)


def _check(output: str, out_format: str) -> None:
    """Raises InputError for an --output that could not be written when the work is done."""
    # What a link points to is what will be written.
    path = Path(os.path.realpath(output))
    if out_format == "parquet" and (not output or path.is_fifo()):
        raise InputError("--format=parquet needs --output=<file>; others take jsonl, csv")
    if not output:
        if output_is_closed():
            raise InputError("standard output is closed; give --output=<file>")
        return
    if not path.parent.is_dir():
        raise InputError(f"--output: {output}: its folder does not exist")
    if path.is_dir():
        raise InputError(f"--output: {output} is a folder; give a file name")
    written = path if path.exists() and not path.is_file() else path.parent
    if not os.access(written, os.W_OK):
        raise InputError(f"--output: {output}: {written} cannot be written to; give another place")


def _format_of(output: str) -> str:
    ending = Path(output).suffix.lower().removeprefix(".")
    return ending if ending in ("csv", "parquet") else "jsonl"
