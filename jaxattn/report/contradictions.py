"""What contradicts the rest of a finished run: it is listed with the cause, and never ranked."""

import csv
import io
from pathlib import Path

import numpy as np

from jaxattn.errors import InputError
from jaxattn.evaluate.intervals import macro_f1, macro_f1_of_all
from jaxattn.files import LARGEST_TABLE, read_text
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.manifest import METRICS, RESULTS
from jaxattn.runs.predictions import NAME as PREDICTIONS
from jaxattn.runs.predictions import Predictions, read_predictions
from jaxattn.runs.results import Results

_SAME_SCORE = 1e-9
"""Sums in another order may differ in their last digits."""


def differs(score: float, saved: float) -> bool:
    """Whether two scores are not the same."""
    return abs(score - saved) > _SAME_SCORE


def changed_files(run: RunFolder) -> list[str]:
    """What is wrong with the files of a finished run, each in a sentence.

    Those that its manifest knows are compared with it, but for results.json, which is compared when
    it is read. Without one, metrics.csv has to be such a table.
    """
    manifest = run.manifest
    if manifest is None:
        return [fault] if (fault := metrics_fault(run.path / METRICS)) else []
    faults = {name: manifest.fault(name) for name in manifest.files if name != RESULTS}
    return [f"{name}: {fault} since it was finished" for name, fault in faults.items() if fault]


def predictions_of(run: RunFolder, results: Results) -> tuple[Predictions | None, str]:
    """The saved predictions; of a run that has none, None and why not.

    Raises:
      InputError: they cannot be read, or give other scores than `results`: of this version, or of
        those before 0.3.
    """
    path = run.path / PREDICTIONS
    if not path.exists():
        return None, f"{PREDICTIONS}: missing"
    found, test = read_predictions(path), results.test or {}
    scores = {
        "accuracy": [float(np.mean(found.labels == found.predicted))],
        "macro_f1": [macro_f1(found), macro_f1_of_all(found)],
    }
    for name, values in scores.items():
        saved = test.get(name)
        if saved is not None and all(differs(value, saved) for value in values):
            raise InputError(
                f"{path}: test.{name} is {values[0]:.6f} by it, but {RESULTS} has {saved:.6f}"
            )
    return found, ""


def metrics_fault(path: Path) -> str:
    """What is wrong with a metrics.csv, in a sentence; "" where nothing is, or there is none."""
    if not path.exists():
        return ""
    steps = [0]
    try:
        table = io.StringIO(read_text(path, LARGEST_TABLE))
        for number, row in enumerate(csv.DictReader(table, strict=True), 2):
            steps.append(int(row.pop("step")))
            row.pop("split")
            whole = None not in row and None not in row.values()
            numbers = [float(cell) for cell in row.values() if cell] if whole else []
            if not numbers or steps[-1] < steps[-2]:
                return f"{METRICS}: line {number}: not a row that training has written"
    except InputError as error:
        return str(error).replace(f"{path}: ", f"{METRICS}: ")
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        return f"{METRICS}: not a table that training has written ({error})"
    return "" if len(steps) > 1 else f"{METRICS}: no rows"
