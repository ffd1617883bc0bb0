"""Whether a classifier is right as often as it says."""

import dataclasses

import numpy as np

from jaxattn.runs.predictions import Predictions

BINS = 15
"""Of equal width from 0 to 1, as is usual."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """`error` is the expected calibration error (Naeini et al. 2015; Guo et al. 2017, eq. 3).

    Of every bin that holds texts: mean `confidence`, share `right` (both of 1) and `count`.
    """

    error: float
    confidence: tuple[float, ...]
    right: tuple[float, ...]
    count: tuple[int, ...]


def calibration(predictions: Predictions) -> Calibration:
    """Calibration of the probability of the predicted class."""
    rows = np.arange(len(predictions.labels))
    confidence = predictions.probabilities[rows, predictions.predicted]
    right = predictions.predicted == predictions.labels
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(places, minlength=BINS)
    held = count > 0
    said = np.bincount(places, confidence, BINS)[held] / count[held]
    was = np.bincount(places, right, BINS)[held] / count[held]
    error = float((count[held] * np.abs(said - was)).sum() / len(rows))
    return Calibration(
        error, tuple(said.tolist()), tuple(was.tolist()), tuple(count[held].tolist())
    )
