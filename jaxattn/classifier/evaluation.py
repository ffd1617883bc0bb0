"""A finished classifier on labelled texts: metrics, speed and errors."""

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from jaxattn.classifier.classifier import Classifier
from jaxattn.config import Config
from jaxattn.data.corpora.splits import (
    Examples,
    LabelledCorpus,
    data_hash,
    load_labelled,
    load_labelled_file,
    texts_hash,
)
from jaxattn.errors import InputError, did_you_mean
from jaxattn.evaluate.calibration import calibration
from jaxattn.evaluate.class_notes import class_notes
from jaxattn.evaluate.corpus import report_on_test
from jaxattn.evaluate.intervals import macro_f1_interval
from jaxattn.evaluate.metrics import classification_metrics, confusion, per_class
from jaxattn.files import read_object, real, require_place
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.predictions import read_predictions, write_predictions
from jaxattn.runs.publish import log_evaluation
from jaxattn.runs.signed import write_signed
from jaxattn.stages import machine

PREDICTIONS = "evaluation_test.csv"

SPLITS = ("train", "validation", "test")

BATCH_SIZES = (1, 32)
"""At which latency and throughput are told."""

MOST_BATCHES = 32
"""Of each size are timed."""


_ROW, _CELL = 40, 12
"""Bytes of a row of predictions, and of a probability in it."""


def evaluate_splits(folder: RunFolder, classifier: Classifier) -> dict[str, Any]:
    """The report on validation and test; writes evaluation.json and `PREDICTIONS` in the run."""
    config = classifier.config
    corpus = _corpus(config, classifier.label_names)
    _require_place(folder, len(corpus.test.texts), len(classifier.label_names))
    report = report_on_test(folder, corpus, classifier.read, PREDICTIONS)
    report["long"] = config.predict.long
    report |= _described(classifier, folder.path / PREDICTIONS, corpus.test.texts)
    report["data_hash"] = data_hash(corpus)
    write_signed(folder.path / "evaluation.json", report)
    log_evaluation(folder, config.log, "test", report["test"])
    return report


def evaluate_texts(
    folder: RunFolder, classifier: Classifier, file: str, split: str
) -> tuple[str, dict[str, Any]]:
    """Name and report of the texts in `file`, or where that is empty in a split of the data.

    Writes evaluation_<name>.json and .csv, beside those of the test split, where name is the split,
    or file_ and the file's name, with those of the folders above it where another file has it.

    Raises:
      InputError: no such file or split, or a file, text or label that cannot be read.
    """
    config, names = classifier.config, classifier.label_names
    if file:
        path = Path(file)
        if not path.is_file():
            raise InputError(f"--input: {path}: no such file")
        examples = load_labelled_file(path, config.data, names)
        name = _name_of_file(folder, real(path))
    else:
        if split not in SPLITS:
            hint = did_you_mean(split, SPLITS)
            raise InputError(f"--split: found {split!r}, allowed: {', '.join(SPLITS)}{hint}")
        name = split
        examples = getattr(_corpus(config, names), split)
    _require_place(folder, len(examples.texts), len(names))
    probabilities, long_share = classifier.read(examples.texts)
    predictions = folder.path / f"evaluation_{name}.csv"
    write_predictions(predictions, names, examples.labels, probabilities)
    labels = " ".join(map(str, examples.labels))
    counts = confusion(probabilities, examples.labels)
    notes = class_notes(counts, names, "these texts" if file else name)
    report: dict[str, Any] = {
        "texts": len(examples.texts),
        **({"input": str(real(Path(file)))} if file else {}),
        "long": config.predict.long,
        "long_share": long_share,
        **classification_metrics(probabilities, examples.labels),
        "confusion": counts,
        **({"notes": notes} if notes else {}),
        **_described(classifier, predictions, examples.texts),
        "data_hash": texts_hash(examples.texts, [*names, labels]),
    }
    write_signed(predictions.with_suffix(".json"), report)
    log_evaluation(folder, config.log, name, report)
    return name, report


def _require_place(folder: RunFolder, texts: int, classes: int) -> None:
    """Before the work is done: the report, and a row of predictions for each text."""
    require_place(folder.path, 2**16 + texts * (_ROW + _CELL * classes) + _CELL * classes**2)


def _name_of_file(folder: RunFolder, path: Path) -> str:
    """file_<stem>, or file_<folder>_<stem> and so on where that is the name of another file's."""
    parts = [re.sub(r"[^\w.-]", "_", part) for part in (*path.parent.parts[1:], path.stem)]
    for start in range(len(parts) - 1, -1, -1):
        name = "_".join(["file", *parts[start:]])
        report = folder.path / f"evaluation_{name}.json"
        # A report of before does not say of which file it is.
        if not report.is_file() or read_object(report).get("input", str(path)) == str(path):
            return name
    return f"{name}_{texts_hash([str(path)])[:8]}"


def _described(classifier: Classifier, path: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Classes, interval and calibration of the predictions in `path`, and the speed on `texts`."""
    predictions = read_predictions(path)
    interval = macro_f1_interval((predictions,))
    return {
        "per_class": per_class(predictions.labels, predictions.predicted, classifier.label_names),
        "macro_f1_interval": [interval.low, interval.high],
        "calibration_error": calibration(predictions).error,
        "speed": _speed(classifier, texts),
        "device": machine.device_name(),
    }


def _speed(classifier: Classifier, texts: Sequence[str]) -> list[dict[str, float | int]]:
    """What a classification takes at each of `BATCH_SIZES`, of token ids to probabilities.

    `median_ms` is of a batch, `texts_per_second` of all together, `texts` how many were timed:
    the same ones for every run on the same data, chosen by chance.
    """
    rng = np.random.default_rng(0)
    rows = []
    for size in BATCH_SIZES:
        count = min(len(texts), MOST_BATCHES * size)
        chosen = [texts[index] for index in rng.permutation(len(texts))[:count]]
        seconds, held = classifier.batch_seconds(chosen, size)
        rows.append(
            {
                "batch_size": size,
                "texts": count,
                "median_ms": 1000 * median(seconds),
                "texts_per_second": sum(held) / sum(seconds),
            }
        )
    return rows


def _corpus(config: Config, names: tuple[str, ...]) -> LabelledCorpus:
    """The corpus with its labels numbered as the classifier numbers them."""
    corpus = load_labelled(config.data)
    if corpus.label_names == names:
        return corpus
    unknown = sorted(set(corpus.label_names) - set(names))
    if unknown:
        raise InputError(
            f"unknown label {unknown[0]!r} in the data; the classifier knows: {', '.join(names)}"
        )
    index = np.array([names.index(name) for name in corpus.label_names], np.int32)
    train, validation, test = (
        Examples(split.texts, index[split.labels])
        for split in (corpus.train, corpus.validation, corpus.test)
    )
    return LabelledCorpus(train, validation, test, names)
