"""--mode=minbert on the course's files: with and without ids, with and without test labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxattn import cli
from jaxattn.config import Config, replace
from jaxattn.evaluate.corpus import Read
from jaxattn.modes import minbert

TEXTS = ["a good film", 'a "bad" film', "no film", "films , films"]
IDS = [f"id{number}" for number in range(4)]
NAMES = ("negative", "positive")


class StandIn:
    """A classifier that takes texts with an o in them to be positive."""

    def __init__(self, folder: Path) -> None:
        values = {"data.name": "cfimdb", "data.path": str(folder), "data.file_part": "cfimdb"}
        self.config, self.label_names = replace(Config(), values), NAMES

    def cut(self, texts: list[str]) -> Read:
        positive = np.array(["oo" in text for text in texts], float)
        return Read(np.stack([1 - positive, positive], axis=1), 0.0)


def write_course_table(path: Path, labels: list[int] | None) -> None:
    """As pandas writes it: the first column is an index without a name."""
    lines = ["\tid\tsentence" + ("" if labels is None else "\tsentiment")]
    for number, (name, text) in enumerate(zip(IDS, TEXTS, strict=True)):
        quoted = '"' + text.replace('"', '""') + '"' if '"' in text else text
        label = "" if labels is None else f"\t{labels[number]}"
        lines.append(f"{number}\t{name}\t{quoted}{label}")
    path.write_text("\n".join(lines) + "\n")


Predict = Callable[..., int]


def write_labelled_lines(path: Path, labels: list[int]) -> None:
    pairs = zip(labels, TEXTS, strict=True)
    path.write_text("".join(f"{label} ||| {text}\n" for label, text in pairs))


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Predict:
    def run(data: Path, *more: str) -> int:
        monkeypatch.setattr(minbert, "load_classifier", lambda folder: StandIn(data))
        target = f"--output={tmp_path / 'out'}"
        return cli.run(["--mode=minbert", "--exp=x", f"--runs={tmp_path}", target, *more])

    return run


def test_tables_with_ids_and_a_test_without_labels(
    predict: Predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_course_table(data / "ids-cfimdb-dev.csv", [1, 0, 1, 0])
    write_course_table(data / "ids-cfimdb-test-student.csv", None)
    # Another task's files beside them are left alone.
    write_course_table(data / "ids-sst-dev.csv", [1, 0, 1, 4])
    assert predict(data) == 0
    wanted = "id \t Predicted_Sentiment \nid0 , 1 \nid1 , 0 \nid2 , 0 \nid3 , 0 \n"
    for name in ("cfimdb-dev-out.csv", "cfimdb-test-out.csv"):
        assert (tmp_path / "out" / name).read_text() == wanted
    said = capsys.readouterr().err.splitlines()
    assert "4 texts, accuracy 0.750" in said[-2]
    assert "no labels, so no accuracy" in said[-1]


def test_lines_of_labels_and_texts(
    predict: Predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_labelled_lines(data / "cfimdb-dev.txt", [1, 0, 0, 0])
    write_labelled_lines(data / "cfimdb-test.txt", [0, 0, 0, 0])
    assert predict(data) == 0
    found = (tmp_path / "out" / "cfimdb-dev-output.txt").read_text().splitlines()
    assert found == [f"{p} ||| {text}" for p, text in zip([1, 0, 0, 0], TEXTS, strict=True)]
    said = capsys.readouterr().err.splitlines()
    assert "accuracy 1.000" in said[-2]
    assert "accuracy 0.750" in said[-1]


def test_what_is_missing_is_told(
    predict: Predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_labelled_lines(data / "cfimdb-dev.txt", [1, 0, 0, 0])
    assert predict(data) == 2
    assert "test split" in capsys.readouterr().err
    write_labelled_lines(data / "cfimdb-test.txt", [1, 0, 7, 0])
    assert predict(data) == 2
    assert "unknown label" in capsys.readouterr().err


def test_names_that_are_numbers_are_names_only(
    predict: Predict,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the classes 1 and 2 a label 0 is neither; it was the first one without a word."""
    monkeypatch.setattr(StandIn, "__init__", _with_names("1", "2"))
    data = tmp_path / "data"
    data.mkdir()
    write_labelled_lines(data / "ids-cfimdb-dev.txt", [1, 0, 1, 2])
    write_labelled_lines(data / "ids-cfimdb-test.txt", [1, 2, 1, 2])
    assert predict(data) == 2
    assert "unknown label '0'" in capsys.readouterr().err


def _with_names(*names: str) -> Callable[[StandIn, Path], None]:
    start = StandIn.__init__

    def init(self: StandIn, folder: Path) -> None:
        start(self, folder)
        self.label_names = names

    return init
