"""predictions_test.csv: a row a text, with its class, the predicted class and all probabilities."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxattn.errors import InputError
from jaxattn.files import LARGEST_TABLE, unfit, write_text
from jaxattn.runs.spreadsheets import plain, safe

NAME = "predictions_test.csv"
"""What the file is called in a run folder."""

MOST_CLASSES = 10_000
"""Of a file that is read: what is made of it has a number for each pair of classes."""

_FIRST = ("row", "label", "predicted")

SUM_TOLERANCE = 1e-2
"""Rows may miss 1 by this much: a softmax in bfloat16 does."""


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions on n texts of c classes.

    `labels` and `predicted` are int [n] (0..c-1), `probabilities` float64 [n, c], `names` the
    classes. Two are equal only if they are the same object.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    def paired_with(self, other: "Predictions") -> bool:
        """Whether both are of the same texts, as far as classes and labels tell."""
        return self.names == other.names and np.array_equal(self.labels, other.labels)


def write_predictions(
    path: Path, names: Sequence[str], labels: np.ndarray, probabilities: np.ndarray
) -> None:
    """Writes the file whole or not at all; the predicted class is the first most probable one.

    `labels` int [n], `probabilities` [n, c], `names` of the c classes.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*_FIRST, *(f"p_{name}" for name in names)])
    for row, (label, p) in enumerate(zip(labels, probabilities, strict=True)):
        found = safe(names[label]), safe(names[int(p.argmax())])
        writer.writerow([row, *found, *(f"{value:.6g}" for value in p)])
    write_text(path, buffer.getvalue())


def read_predictions(path: Path) -> Predictions:
    """Reads the file.

    Raises:
      InputError: it cannot be read, is not such a table, or contradicts itself.
    """
    if why := unfit(path, LARGEST_TABLE):
        raise InputError(f"{path}: {why}")
    try:
        return _predictions(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _predictions(path: Path) -> Predictions:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
    except FileNotFoundError:
        raise InputError("missing") from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from None
    except (ValueError, csv.Error) as error:
        raise InputError(f"not a readable table ({error})") from None
    names = tuple(column.removeprefix("p_") for column in header[3:])
    if tuple(header[:3]) != _FIRST or len(names) < 2 or len(set(names)) < len(names):
        raise InputError("expected the columns row, label, predicted and p_<class> of each class")
    if not rows:
        raise InputError("found no predictions")
    if len(names) > MOST_CLASSES:
        raise InputError(f"found {len(names):,} classes, allowed: up to {MOST_CLASSES:,}")
    index = {name: place for place, name in enumerate(names)}
    try:
        labels = np.array([index[plain(row[1])] for row in rows])
        predicted = np.array([index[plain(row[2])] for row in rows])
        probabilities = np.array([row[3:] for row in rows], np.float64)
    except (KeyError, IndexError, ValueError):
        raise InputError("a row has another number of columns, class or probability") from None
    if probabilities.shape[1] != len(names) or not np.isfinite(probabilities).all():
        raise InputError("a row lacks a finite probability for every class")
    _check(np.array([row[0] for row in rows]), predicted, probabilities)
    return Predictions(names, labels, predicted, probabilities)


def _check(rows: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray) -> None:
    """Raises InputError for rows that `write_predictions` cannot have written."""
    most, chosen = probabilities.max(axis=1), probabilities[np.arange(len(rows)), predicted]
    for wrong, what in (
        (rows != np.arange(len(rows)).astype(str), "expected rows numbered from 0 on"),
        ((probabilities < 0).any(axis=1), "a probability is not between 0 and 1"),
        (np.abs(probabilities.sum(axis=1) - 1) > SUM_TOLERANCE, "probabilities do not sum to 1"),
        # Of two that are equal once they are rounded either may be it.
        (chosen < most, "predicted is not the most probable"),
    ):
        if wrong.any():
            raise InputError(f"row {int(wrong.argmax())}: {what}")
