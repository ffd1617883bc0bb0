"""Predictions to compute with."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from jaxattn.runs.predictions import Predictions

Guesses = Callable[..., Predictions]


@pytest.fixture
def guesses() -> Guesses:
    """Builds predictions on `size` texts that are right in about `share` of them."""

    def build(
        share: float, seed: int = 0, *, size: int = 400, names: Sequence[str] = ("a", "b", "c")
    ) -> Predictions:
        labels = np.random.default_rng(99).integers(len(names), size=size)
        rng = np.random.default_rng(seed)
        wrong = (labels + rng.integers(1, len(names), size=size)) % len(names)
        predicted = np.where(rng.random(size) < share, labels, wrong)
        probabilities = np.full((size, len(names)), 0.3 / (len(names) - 1))
        probabilities[np.arange(size), predicted] = 0.7
        return Predictions(tuple(names), labels, predicted, probabilities)

    return build
