"""--mode=predict: labels and probabilities for texts from a file or standard input."""

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxattn.collector import collector_paused
from jaxattn.data.records import Record, Records
from jaxattn.errors import InputError
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder
from jaxattn.predictions.labelled_rows import (
    FORMATS,
    CsvWriter,
    JsonWriter,
    Labelled,
    ParquetWriter,
)

CHUNK = 1024
"""Rows held in memory at a time."""
OPTIONS = ("predict.long", "predict.overlap", "data.text_column")
"""That can be given here; all others are the run's."""
ON_BAD_ROW = ("keep", "stop")
_SHOWN = 20
_SECONDS_BETWEEN_LINES = 5.0


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
        from jaxattn.modes.text_classifier import open_classifier

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


class _Job:
    """One file from beginning to end, and what is to be said of it."""

    def __init__(self, classifier: Any, records: Records, stop: bool) -> None:
        self._classifier, self._records, self._stop = classifier, records, stop
        self._rows = self._bad = self._long = 0
        self._began = self._said = time.monotonic()

    def write(self, out_format: str, path: Path | None) -> None:
        """Writes all rows to a file, or to standard output.

        Raises:
          InputError: not one row can be read; or, with --on_bad_row=stop, one cannot.
        """
        chunks = self._labelled()
        # Nothing is written before the first rows have been read: all of them may be bad.
        first = next(chunks, [])
        columns = self._records.columns
        if columns is None and out_format != "jsonl" and self._records.share is not None:
            columns = self._records.json_columns()
        elif columns is None:
            columns = tuple(dict.fromkeys(name for row in first for name in row.cells))
        names = [str(name) for name in self._classifier.classes_]
        with contextlib.ExitStack() as stack:
            writer: JsonWriter | CsvWriter | ParquetWriter
            if out_format == "parquet":
                assert path is not None
                writer = ParquetWriter(path, names, columns, self._records.schema)
            else:
                file = sys.stdout
                if path is not None:
                    file = stack.enter_context(open(path, "w", encoding="utf-8", newline=""))
                kind = CsvWriter if out_format == "csv" else JsonWriter
                writer = kind(file, names, columns)
            with contextlib.closing(writer):
                for rows in itertools.chain([first] if first else [], chunks):
                    writer.write(rows)
                    self._progress()
        if self._bad and self._bad == self._rows:
            raise InputError(
                f"{self._records.name}, {self._first_bad}; not one of {self._rows:,} rows can be "
                "classified"
            )

    def _labelled(self) -> Iterator[list[Labelled]]:
        """The rows with their labels, a chunk at a time."""
        records = iter(self._records)
        while chunk := list(itertools.islice(records, CHUNK)):
            for record in chunk:
                if record.error:
                    self._tell(record)
            good = [record for record in chunk if not record.error]
            found, long = self._classifier.classify([record.text for record in good])
            self._rows += len(chunk)
            self._long += int(np.count_nonzero(long))
            of_row = dict(zip(map(id, good), found, strict=True))
            yield [self._row(record, of_row.get(id(record))) for record in chunk]

    def _row(self, record: Record, found: np.ndarray | None) -> Labelled:
        label = "" if found is None else str(self._classifier.classes_[found.argmax()])
        return Labelled(record.number, record.cells, label, found, record.error)

    def _tell(self, record: Record) -> None:
        sentence = f"{self._records.unit} {record.number}: {record.error}"
        if self._stop:
            raise InputError(f"{self._records.name}, {sentence}")
        if not self._bad:
            self._first_bad = sentence
        if self._bad < _SHOWN:
            _say(f"{self._records.name}, {sentence}")
        elif self._bad == _SHOWN:
            _say("further bad rows are counted, and have their error in the output")
        self._bad += 1

    def _progress(self) -> None:
        now = time.monotonic()
        if now - self._said < _SECONDS_BETWEEN_LINES:
            return
        self._said, seconds = now, now - self._began
        line = f"{self._rows:,} texts, {self._rows / seconds:,.0f} a second"
        share = self._records.share
        if share:
            line += f", {100 * share:.0f} % read, {seconds * (1 / share - 1):,.0f} s left"
        _say(line)

    def report(self, output: str) -> None:
        """Says what was written, and what was not as it should be."""
        if output:
            _say(f"written: {output} ({self._rows:,} rows)")
        if self._long:
            config = self._classifier.config
            how = "read in windows" if config.predict.long == "window" else "cut"
            _say(f"longer than {config.data.max_length} tokens, and {how}: {self._long:,} texts")
        if self._bad:
            _say(f"{self._bad:,} of {self._rows:,} rows have no label: they could not be read")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
