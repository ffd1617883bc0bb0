"""--mode=predict: labels and probabilities for texts from a file or standard input."""

import contextlib
import csv
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from jaxattn.checked import did_you_mean
from jaxattn.data.derived import joined_text, text_columns
from jaxattn.errors import InputError
from jaxattn.modes.classifier import load_classifier
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder
from jaxattn.modes.training import say

CHUNK = 2048
"""Texts held in memory at a time."""


def run(request: Request) -> None:
    """Writes one JSONL or CSV record per text: the label and the probability of every class.

    Input: lines of text (standard input, or any other file), or the text column of .csv / .jsonl.
    """
    folder = RunFolder(request.runs, "finetune", request.needed("exp", "imdb_lsh"))
    source = request.input or "-"
    out_format = request.format or ("csv" if request.output.endswith(".csv") else "jsonl")
    if out_format not in ("jsonl", "csv"):
        raise InputError(f"--format: found {out_format!r}, allowed: jsonl, csv")
    if source != "-" and not Path(source).is_file():
        raise InputError(f"--input: {source}: no such file; give a file, or - for standard input")
    if request.output and not Path(request.output).absolute().parent.is_dir():
        raise InputError(f"--output: {request.output}: its folder does not exist")
    if Path(request.output or "-").is_dir():
        raise InputError(f"--output: {request.output} is a folder; give a file name")
    classifier = load_classifier(folder)
    texts = read_texts(source, classifier.config.data.text_column)
    if not request.output:
        _write(sys.stdout, out_format, classifier, texts)
        return
    temporary = Path(f"{request.output}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            count = _write(file, out_format, classifier, texts)
        os.replace(temporary, request.output)
    finally:
        temporary.unlink(missing_ok=True)
    say(f"written: {request.output} ({count:,} texts)")


def _lines(source: str) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends; raises InputError at bytes that are not UTF-8."""
    name = "standard input" if source == "-" else source
    with contextlib.ExitStack() as stack:
        # Standard input is not ours to close.
        stream = sys.stdin.buffer if source == "-" else stack.enter_context(open(source, "rb"))
        for number, raw in enumerate(stream, 1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{name}, line {number}: byte {error.object[error.start]:#04x} is not UTF-8; "
                    "texts must be UTF-8"
                ) from None


def read_texts(source: str, text_column: str) -> Iterator[str]:
    """The texts of a file, by its name's ending, or of standard input ("-").

    Raises:
      InputError: bytes that are not UTF-8, a broken JSON line, or a missing text column, each
        with file and line.
    """
    ending = Path(source).suffix.lower()
    if ending in (".jsonl", ".ndjson"):
        for number, line in _lines(source):
            if line.strip():
                yield _json_text(source, number, line, text_column)
    elif ending in (".csv", ".tsv"):
        csv.field_size_limit(sys.maxsize)
        rows = csv.DictReader(
            (line for _, line in _lines(source)),
            delimiter="\t" if ending == ".tsv" else ",",
            strict=True,
        )
        names = list(rows.fieldnames or ())
        wanted = text_columns(text_column, names)
        for column in wanted:
            if column not in names:
                raise InputError(
                    f"{source}, line 1: no column {column!r}; there are: {', '.join(names)}"
                    f"{did_you_mean(column, names)}"
                )
        try:
            for row in rows:
                for column in wanted:
                    if row[column] is None:
                        where = f"{source}, line {rows.line_num}"
                        raise InputError(f"{where}: no value for {column!r}")
                yield _joined([row[column] for column in wanted])
        except csv.Error as error:
            raise InputError(f"{source}, line {rows.line_num}: {error}") from None
    elif ending in (".json", ".parquet", ".gz", ".zst", ".xlsx"):
        raise InputError(f"{source}: cannot read {ending}; allowed: .jsonl, .csv, .tsv, plain text")
    else:
        for _, line in _lines(source):
            yield line.rstrip("\r\n")


def _joined(cells: list[str]) -> str:
    """One cell as it is; several as a corpus joins them."""
    return cells[0] if len(cells) == 1 else joined_text(cells)


def _json_text(source: str, number: int, line: str, column: str) -> str:
    try:
        record: Any = json.loads(line)
    except ValueError as error:
        raise InputError(f"{source}, line {number}: not valid JSON ({error})") from None
    wanted = text_columns(column, list(record)) if isinstance(record, dict) else ()
    if not wanted or not all(isinstance(record.get(name), str) for name in wanted):
        found = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise InputError(
            f"{source}, line {number}: expected an object with a text in {column!r}, found {found}"
        )
    text = _joined([record[name] for name in wanted])
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{source}, line {number}: {column!r} holds half a surrogate pair")
    return text


def _write(file: TextIO, out_format: str, classifier: Any, texts: Iterator[str]) -> int:
    names = classifier.label_names
    writer = csv.writer(file, lineterminator="\n")
    if out_format == "csv":
        writer.writerow(["text", "label", *(f"p_{name}" for name in names)])
    count = 0
    while chunk := list(itertools.islice(texts, CHUNK)):
        for text, row in zip(chunk, classifier.probabilities(chunk), strict=True):
            label = names[int(row.argmax())]
            rounded = [round(float(value), 6) for value in row]
            if out_format == "csv":
                writer.writerow([text, label, *rounded])
            else:
                record = {
                    "text": text,
                    "label": label,
                    "probabilities": dict(zip(names, rounded, strict=True)),
                }
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        file.flush()
        count += len(chunk)
    return count
