"""Labels for the texts of a file, batch by batch."""

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxattn.classifier.labelled_rows import CsvWriter, JsonWriter, Labelled, ParquetWriter
from jaxattn.data.read.stream import Record, Records
from jaxattn.errors import InputError

CHUNK = 1024
"""Rows held in memory at a time."""

_SHOWN = 20

_SECONDS_BETWEEN_LINES = 5.0


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
