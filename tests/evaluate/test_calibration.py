"""The expected calibration error on cases that can be computed by hand."""

import numpy as np
import pytest

from jaxattn.evaluate.calibration import calibration
from jaxattn.runs.predictions import Predictions


def test_two_bins_by_hand() -> None:
    """Says 0.9 and is right in 1 of 2; says 0.6 and is right in 2 of 2."""
    p = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6]])
    made = Predictions(("a", "b"), np.array([0, 0, 0, 1]), p.argmax(1), p)
    found = calibration(made)
    assert found.error == pytest.approx((2 * 0.4 + 2 * 0.4) / 4)
    assert found.count == (2, 2) and found.right == (1.0, 0.5)
    assert found.confidence == pytest.approx((0.6, 0.9))


def test_certainty_that_is_justified_has_no_error() -> None:
    """Probability 1 falls into the last bin."""
    labels = np.array([0, 1, 1])
    found = calibration(Predictions(("a", "b"), labels, labels, np.eye(2)[labels]))
    assert (found.error, found.count) == (0.0, (3,))
