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


def unpredicted_in_runs(runs: Sequence[Predictions], share: str) -> str:
    """As `unpredicted`; of several runs it says in how many of them, without numbers of texts.

    `share` puts both numbers of runs into words, as "in {} of {} runs".
    """
    if len(runs) == 1:
        return unpredicted(confusion_counts(runs[0]), runs[0].names)
    only: list[str] = []
    never: list[list[str]] = []
    for run in runs:
        labelled, predicted = np.unique(run.labels), np.unique(run.predicted)
        missing = np.setdiff1d(labelled, predicted)
        if len(run.labels) > 1 and len(predicted) == 1:
            only.append(run.names[predicted[0]])
        elif len(missing):
            never.append([run.names[place] for place in missing])
    said = []
    if only:
        classes = listed(list(dict.fromkeys(only)))
        said.append(f"{share.format(len(only), len(runs))} it predicts one class only, {classes}")
    if never:
        names = list(dict.fromkeys(name for each in never for name in each))
        which = f"class {listed(names)} is"
        if len(names) > 1:
            every = all(len(each) == len(names) for each in never)
            which = f"{'' if every else 'some of '}the classes {listed(names)} are"
        said.append(f"{share.format(len(never), len(runs))} {which} never predicted")
    return "; ".join(said)


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
