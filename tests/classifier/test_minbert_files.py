"""The course's two forms of predictions, character for character."""

from pathlib import Path

import numpy as np

from jaxattn.classifier.minbert import write_by_id, write_by_text


def test_by_id(tmp_path: Path) -> None:
    write_by_id(tmp_path / "out.csv", ["a1", "b2"], np.array([4, 0]))
    wanted = "id \t Predicted_Sentiment \na1 , 4 \nb2 , 0 \n"
    assert (tmp_path / "out.csv").read_text() == wanted


def test_by_text(tmp_path: Path) -> None:
    write_by_text(tmp_path / "out.txt", ["A film .", "two\nlines"], np.array([1, 0]))
    assert (tmp_path / "out.txt").read_text() == "1 ||| A film .\n0 ||| two lines\n"
