"""Cells that a spreadsheet does not compute."""

from pathlib import Path

import numpy as np
import pytest

from jaxattn.runs.predictions import read_predictions, write_predictions
from jaxattn.runs.spreadsheets import plain, safe

FORMULAS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "＝1+1",
    "'=1",
    "''-x",
]
TEXTS = ["", "-1", "+1", "-1.5e-3", "+,5", "a=b", "don't", "'quoted'", "1-1", "'"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_made_a_text_that_is_read_back(text: str) -> None:
    assert safe(text) == f"'{text}" and plain(safe(text)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_numbers_and_other_texts_stay(text: str) -> None:
    assert safe(text) == text == plain(text)


def test_classes_called_like_formulas_are_read_back(tmp_path: Path) -> None:
    names = ("=1+1", "-1", "'=1+1", "@x")
    labels, probabilities = np.arange(4), np.eye(4)
    write_predictions(tmp_path / "p.csv", names, labels, probabilities)
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["'=1+1", "-1", "''=1+1", "'@x"]
    found = read_predictions(tmp_path / "p.csv")
    assert found.names == names and found.predicted.tolist() == labels.tolist()
    # As earlier versions wrote it.
    (tmp_path / "p.csv").write_text("row,label,predicted,p_=1,p_-1\n0,=1,-1,0.1,0.9\n")
    assert read_predictions(tmp_path / "p.csv").predicted.tolist() == [1]
