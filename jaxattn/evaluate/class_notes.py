"""What a score hides: classes that are never predicted, and classes that a split lacks."""

from collections.abc import Sequence

import numpy as np

from jaxattn.console import listed
from jaxattn.runs.predictions import Predictions

Counts = np.ndarray | Sequence[Sequence[int]]
"""Texts by true class (row) and predicted class (column), [c, c]."""


def class_notes(counts: Counts, names: Sequence[str], split: str) -> list[str]:
    """Sentences without their full stop on the predictions for a split, named first."""
    notes = [unpredicted(counts, names), _absent(counts, names)]
    return [f"on {split} {note}" for note in notes if note]


def unpredicted(counts: Counts, names: Sequence[str]) -> str:
    """The classes that have texts and are never predicted, in words; "" where all are."""
    counts = np.asarray(counts)
    labelled, predicted = counts.sum(axis=1), counts.sum(axis=0)
    if labelled.sum() > 1 and np.count_nonzero(predicted) == 1:
        return f"it predicts one class only, {listed([names[int(predicted.argmax())]])}"
    never = np.flatnonzero((labelled > 0) & (predicted == 0)).tolist()
    if not never:
        return ""
    texts = int(labelled[never].sum())
    of = f"({texts:,} of {int(labelled.sum()):,} texts)"
    which = listed([names[index] for index in never])
    if len(never) == 1:
        return f"class {which} is never predicted {of}"
    return f"{len(never):,} classes are never predicted {of}: {which}"


def confusion_counts(predictions: Predictions) -> np.ndarray:
    """Texts by true class (row) and predicted class (column), int [c, c]."""
    size = len(predictions.names)
    pairs = size * predictions.labels.astype(np.int64) + predictions.predicted
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def _absent(counts: Counts, names: Sequence[str]) -> str:
    """The classes that no text has; they are in macro-F1 where they are predicted."""
    counts = np.asarray(counts)
    labelled, predicted = counts.sum(axis=1), counts.sum(axis=0)
    absent = np.flatnonzero(labelled == 0).tolist()
    if not absent:
        return ""
    which = listed([names[index] for index in absent])
    one = len(absent) == 1
    lacking = f"class {which} has no text" if one else f"{len(absent):,} classes have no text"
    if not one:
        lacking += f" ({which})"
    kept = np.count_nonzero((labelled > 0) | (predicted > 0))
    if kept == len(names):
        return f"{lacking} but {'is' if one else 'are'} predicted: macro-F1 counts that as 0"
    return (
        f"{lacking}: macro-F1 is over {kept:,} of the {len(names):,} classes, those with texts or "
        "predictions"
    )
