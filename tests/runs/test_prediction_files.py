"""Predictions come back from their file, and a broken file is told in a sentence."""

from pathlib import Path

import numpy as np
import pytest

from jaxattn.errors import InputError
from jaxattn.runs.predictions import read_predictions, write_predictions

NAMES = ("=1+1", "<script>", 'a,"b"\nc')
TABLE = np.array([[0.2, 0.5, 0.3], [0.8, 0.1, 0.1], [1 / 3, 1 / 3, 1 / 3]])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Names as they are; of equal probabilities the first class."""
    path = tmp_path / "p.csv"
    write_predictions(path, NAMES, np.array([1, 2, 0]), TABLE)
    found = read_predictions(path)
    assert found.names == NAMES
    assert (found.labels.tolist(), found.predicted.tolist()) == ([1, 2, 0], [1, 0, 0])
    np.testing.assert_allclose(found.probabilities, TABLE, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "missing"),
        ("", "not a readable table"),
        ("row,label,predicted,p_a\n", "expected the columns"),
        ("row,label,predicted,p_a,p_b\n", "no predictions"),
        ("row,label,predicted,p_a,p_b\n0,a,c,1,0\n", "another number"),
        ("row,label,predicted,p_a,p_b\n0,a,b,1\n", "lacks|another number"),
        ("row,label,predicted,p_a,p_b\n0,a,b,1,0\n1,a", "another number"),
        ("row,label,predicted,p_a,p_b\n0,a,b,nan,0\n", "finite"),
        ("row,label,predicted,p_a,p_b\n0,a,b,x,0\n", "another number"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    """Half-written, of other columns, or none."""
    path = tmp_path / "p.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_predictions(path)
