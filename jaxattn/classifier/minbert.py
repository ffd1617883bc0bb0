"""Predictions on dev and test in the two forms of the minBERT course.

Test labels need not be there, as in the course's files: then there is no accuracy either.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxattn.classifier.classifier import Classifier
from jaxattn.config import DataConfig
from jaxattn.console import say
from jaxattn.data.corpora.files import VALIDATION_NAMES
from jaxattn.data.corpora.sources import open_source
from jaxattn.data.read.form import Form
from jaxattn.data.read.rows import Rows, row_ids
from jaxattn.errors import InputError
from jaxattn.files import write_text


def write_predictions(classifier: Classifier, data: DataConfig, target: Path) -> None:
    """Writes <task>-dev-out.csv and <task>-test-out.csv, or -output.txt for tables without ids.

    Args:
      classifier: predicts.
      data: where dev and test are; `data.file_part` or its name is the task.
      target: folder, made where it is not there.

    Raises:
      InputError: a split has no texts, or a label is none of the classifier's.
    """
    splits = _splits(data)
    # All labels are looked at before the first file is written.
    labels = {name: _gold(rows, classifier.label_names) for name, rows in splits.items()}
    target.mkdir(parents=True, exist_ok=True)
    task = data.file_part or data.name
    for name, rows in splits.items():
        gold = labels[name]
        texts, ids = list(rows.texts), row_ids(rows, Form.of(data))
        predicted = classifier.cut(texts).probabilities.argmax(axis=1)
        if ids is None:
            path = target / f"{task}-{name}-output.txt"
            write_by_text(path, texts, predicted)
        else:
            path = target / f"{task}-{name}-out.csv"
            write_by_id(path, ids, predicted)
        told = "no labels, so no accuracy"
        if gold is not None:
            told = f"accuracy {np.mean(predicted == gold):.3f}"
        say(f"written: {path}: {len(texts):,} texts, {told}")


def _splits(data: DataConfig) -> dict[str, Rows]:
    """dev and test, labelled or not; InputError where one has no file."""
    source = open_source(data)
    dev = VALIDATION_NAMES if data.validation_split in VALIDATION_NAMES else ()
    wanted = {"dev": (data.validation_split, dev), "test": ("test", ())}
    found = {}
    for name, (split, synonyms) in wanted.items():
        rows = source.read(split, synonyms)
        if rows is None or not len(rows):
            raise InputError(
                f"{source.name} has no texts of a {name} split (found: "
                f"{', '.join(source.splits) or 'nothing'})"
            )
        found[name] = rows
    return found


def _gold(rows: Rows, names: Sequence[str]) -> np.ndarray | None:
    """Class numbers, int [n]; None where a label is missing."""
    numbers = {name: number for number, name in enumerate(names)}
    # A file may hold the numbers of classes, but not where the names are numbers that differ.
    if not any(name.isdecimal() for name in names):
        numbers |= {str(number): number for number in range(len(names))}
    if any(label is None for label in rows.labels):
        return None
    for index, label in enumerate(rows.labels):
        if str(label) not in numbers:
            raise InputError(
                f"{rows.place(index)}: unknown label {label!r}; the classifier knows: "
                f"{', '.join(names)}"
            )
    return np.array([numbers[str(label)] for label in rows.labels])


# With its blanks as the course's own program writes them.
_HEADER = "id \t Predicted_Sentiment \n"


def write_by_id(path: Path, ids: Sequence[str], predicted: np.ndarray) -> None:
    """Stanford's form, `<id> , <class number>` a line; `predicted` int [n]."""
    lines = (f"{name} , {number} \n" for name, number in zip(ids, predicted, strict=True))
    write_text(path, _HEADER + "".join(lines))


def write_by_text(path: Path, texts: Sequence[str], predicted: np.ndarray) -> None:
    """CMU's form, `<class number> ||| <text>` a line, for tables without ids."""
    pairs = zip(texts, predicted, strict=True)
    lines = (f"{number} ||| {' '.join(text.split())}\n" for text, number in pairs)
    write_text(path, "".join(lines))
