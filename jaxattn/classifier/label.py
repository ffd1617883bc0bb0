"""Labels for the texts of a file, batch by batch."""

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxattn.classifier.classifier import CHUNK
from jaxattn.classifier.labelled_rows import CsvWriter, JsonWriter, Labelled, ParquetWriter
from jaxattn.classifier.text_classifier import TextClassifier
from jaxattn.console import say
from jaxattn.data.read.stream import Record, Records
from jaxattn.errors import InputError
from jaxattn.files import given

_SHOWN = 20

_SECONDS_BETWEEN_LINES = 5.0


def label_rows(
    classifier: TextClassifier,
    records: Records,
    output: str,
    out_format: str,
    *,
    stop: bool,
    raw: bool,
) -> None:
    """Writes all rows to the file `output`, whole or not at all, or to standard output ("").

    A device or a FIFO is written to; what a link points to is written as a file is.

    Args:
      classifier: of the texts.
      records: the rows.
      output: the file.
      out_format: one of `labelled_rows.FORMATS`.
      stop: whether the first row that cannot be read ends it.
      raw: whether cells of CSV may be formulas to a spreadsheet.

    Raises:
      InputError: not one row can be read; or, with `stop`, one cannot.
    """
    job = _Job(classifier, records, stop, raw)
    if output:
        with given(Path(output)) as path:
            job.write(out_format, path)
    else:
        job.write(out_format, None)
    job.report(output)


class _Job:
    """One file from beginning to end, and what is to be said of it."""

    def __init__(self, classifier: TextClassifier, records: Records, stop: bool, raw: bool) -> None:
        self._classifier, self._records, self._stop, self._raw = classifier, records, stop, raw
        self._rows = self._bad = self._long = 0
        self._began = self._said = time.monotonic()

    def write(self, out_format: str, path: Path | None) -> None:
        """Writes all rows to a file, or to standard output."""
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
                writer = (
                    CsvWriter(file, names, columns, raw=self._raw)
                    if out_format == "csv"
                    else JsonWriter(file, names, columns)
                )
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
            probabilities, long = self._classifier.classify([record.text for record in good])
            self._rows += len(chunk)
            self._long += int(np.count_nonzero(long))
            of_good = iter(probabilities)
            yield [self._row(row, None if row.error else next(of_good)) for row in chunk]

    def _row(self, record: Record, probabilities: np.ndarray | None) -> Labelled:
        label = ""
        if probabilities is not None:
            label = str(self._classifier.classes_[probabilities.argmax()])
        return Labelled(record.number, record.cells, label, probabilities, record.error)

    def _tell(self, record: Record) -> None:
        sentence = f"{self._records.unit} {record.number}: {record.error}"
        if self._stop:
            raise InputError(f"{self._records.name}, {sentence}")
        if not self._bad:
            self._first_bad = sentence
        if self._bad < _SHOWN:
            say(f"{self._records.name}, {sentence}")
        elif self._bad == _SHOWN:
            say("further bad rows are counted, and have their error in the output")
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
        say(line)

    def report(self, output: str) -> None:
        """Says what was written, and what was not as it should be."""
        if output:
            say(f"written: {output} ({self._rows:,} rows)")
        if self._long:
            config = self._classifier.config
            how = "read in windows" if config.predict.long == "window" else "cut"
            say(f"longer than {config.data.max_length} tokens, and {how}: {self._long:,} texts")
        if self._bad:
            say(f"{self._bad:,} of {self._rows:,} rows have no label: they could not be read")
