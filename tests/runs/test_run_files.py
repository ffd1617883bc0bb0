"""The files of a run: typed, of a known format, and read alike by everybody."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxattn.config import Config
from jaxattn.errors import InputError
from jaxattn.report.collect import collect
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.results import Cost, Results, Stage

GOLDEN = Path(__file__).parents[1] / "golden" / "v0_1_0" / "runs"


def filled() -> Results:
    """Results with a value in every entry."""
    cost = Cost(*range(10, 17), 17.5, 0.5, 812.0, "resident", 3.5)
    stage = Stage.of("pretrain", "wiki", Config(), 7, cost)
    metrics = {"loss": 0.25, "auroc": None}
    special = {
        "cost": cost,
        "pretrain_cost": cost,
        "stages": (stage, dataclasses.replace(stage, imported_from="bert", cost=None)),
        "confusion": [[3, 1], [0, 4]],
        "grid": [{"features": 3}],
    }
    samples = {str: "x", str | None: "x", int | None: 3, float | None: 0.5}
    entries = {
        field.name: special.get(field.name, samples.get(field.type, metrics))
        for field in dataclasses.fields(Results)
    }
    return Results(**entries)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    filled().write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == filled()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/*/results.json")), ids=str)
def test_old_results_lose_nothing(path: Path, tmp_path: Path) -> None:
    """Every entry that version 0.1.0 wrote is there again, but for costs that are not known."""
    Results.read(path).write(tmp_path / "results.json")
    old, new = json.loads(path.read_text()), json.loads((tmp_path / "results.json").read_text())

    def known(tree: object) -> object:
        if isinstance(tree, dict):
            return {name: known(value) for name, value in tree.items() if value is not None}
        return [known(value) for value in tree] if isinstance(tree, list) else tree

    assert known(new) == known({"format": 1} | old)


def test_what_says_nothing_is_left_out_and_what_says_none_is_null(tmp_path: Path) -> None:
    Results(kind="pretrain", exp="x", cost=Cost(steps=3)).write(tmp_path / "results.json")
    tree = json.loads((tmp_path / "results.json").read_text())
    # As version 0.1.0 wrote it where no GPU was: scripts read the entry.
    assert tree["cost"] == {"steps": 3, "energy_joules_per_epoch": None}
    assert tree["format"] == 1 and tree["vocabulary"] is None and "test" not in tree


def test_an_entry_of_another_type_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('{"cost": {"steps": 1.5}}')
    with pytest.raises(InputError, match=r"results.json: cost.steps is 1.5, expected a whole num"):
        Results.read(path)


def run(root: Path) -> RunFolder:
    folder = RunFolder(root, "finetune", "x")
    folder.begin(Config(), {"pretrain": "none"}, {})
    folder.set_state("finished")
    Results(kind="finetune", exp="x", test={"macro_f1": 0.5}).write(folder.results_path)
    return folder


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("results.json", lambda folder: folder.results()),
        ("status.json", lambda folder: folder.state),
        ("resolved_config.yaml", lambda folder: folder.saved.config()),
        ("resolved_config.yaml", lambda folder: folder.saved.flat()),
    ],
)
def test_a_file_of_a_later_version_is_refused(
    tmp_path: Path, name: str, read: Callable[[RunFolder], object]
) -> None:
    folder = run(tmp_path)
    read(folder)
    path = folder.path / name
    mark = {"results.json": '"format": 1', "status.json": '"format": 1'}.get(name, "format: 1")
    assert mark in path.read_text()
    path.write_text(path.read_text().replace(mark, mark.replace("1", "2")))
    later = rf"{name}: format: found 2, allowed: up to 1; it was made by a later version of jaxattn"
    with pytest.raises(InputError, match=later):
        read(folder)
    (record,) = collect(tmp_path)
    assert record.state == "failed" and f"{name}: format: found 2" in record.reason


def test_the_format_is_no_option(tmp_path: Path) -> None:
    folder = run(tmp_path)
    assert folder.saved.config() == (Config(), {"pretrain": "none"})
    assert "format" not in folder.saved.flat()


def test_options_of_an_old_run_are_not_written_again(tmp_path: Path) -> None:
    folder = run(tmp_path)
    text = folder.saved.path.read_text().replace("format: 1\n", "# old\n")
    folder.saved.path.write_text(text)
    folder.begin(Config(), {"pretrain": "none"}, {})
    assert folder.saved.path.read_text() == text


def test_a_dead_run_whose_number_was_given_away_is_dead_for_everybody(tmp_path: Path) -> None:
    """The process that has the number now was started at another time."""
    folder = run(tmp_path)
    path = folder.path / "status.json"
    status = {"state": "running", "reason": "", "pid": os.getpid(), "started": "boot:0"}
    path.write_text(json.dumps(status))
    assert folder.writer is None
    assert folder.status().state == "interrupted"
    (record,) = collect(tmp_path)
    said = f"process {os.getpid()} ended without a word"
    assert (record.state, record.reason) == ("interrupted", said)
    folder.set_state("running")
    assert folder.writer == os.getpid() and folder.status().state == "running"
    assert collect(tmp_path)[0].state == "running"
