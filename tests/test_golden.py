"""Run folders of version 0.1.0 (tests/golden/v0_1_0, made by make.sh there) still work.

They are read, compared, predicted with, resumed and replayed in a copy. Numbers are compared with
those of the machine that made them, hence to a tolerance; a replay on another processor may differ
in the last bits.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxattn import cli
from jaxattn.errors import InputError
from jaxattn.runs import publish

GOLDEN = Path(__file__).parent / "golden" / "v0_1_0"
pytestmark = pytest.mark.usefixtures("optimised")
CLASSIFIERS = ["sdpa", "reformer_lsh", "performer_favor"]


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    shutil.copytree(GOLDEN, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def inside(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs name their data by a path relative to the folder they stand in."""
    monkeypatch.chdir(golden)


def rows(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def results(run: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path("runs") / run / "results.json").read_text())
    return content


def table() -> dict[str, dict[str, str]]:
    """runs/report/results.csv: kind/name of the run -> its row."""
    with open("runs/report/results.csv", newline="") as file:
        return {f"{row['kind']}/{row['exp']}": row for row in csv.DictReader(file)}


def probabilities(path: str) -> np.ndarray:
    return np.array([list(row["probabilities"].values()) for row in rows(path)])


def test_the_comparison_of_old_runs_says_what_it_said() -> None:
    before = table()
    assert cli.run(["--mode=compare"]) == 0
    after = table()
    assert set(before) < set(after)  # one run, begun after the first comparison, is new
    for run, row in before.items():
        assert {name: after[run][name] for name in row} == row


def test_an_old_classifier_predicts_what_it_predicted() -> None:
    command = ["--mode=predict", "--exp=clf_sdpa", "--input=corpus/test.jsonl"]
    assert cli.run([*command, "--output=again.jsonl"]) == 0
    np.testing.assert_allclose(
        probabilities("again.jsonl"), probabilities("labels.jsonl"), atol=2e-6
    )


@pytest.mark.parametrize("attention", CLASSIFIERS)
def test_old_classifiers_are_evaluated_as_before(attention: str) -> None:
    run = f"finetune/clf_{attention}"
    assert cli.run(["--mode=eval", f"--exp=clf_{attention}"]) == 0
    again = json.loads((Path("runs") / run / "evaluation.json").read_text())["test"]
    for name, value in results(run)["test"].items():
        if isinstance(value, float):
            assert again[name] == pytest.approx(value, rel=1e-4), name


def test_an_old_export_predicts_as_its_run() -> None:
    run = ["--mode=predict", "--input=corpus/test.jsonl"]
    assert cli.run([*run, "--run=exported", "--output=exported.jsonl"]) == 0
    assert cli.run([*run, "--exp=clf_reformer_lsh", "--output=lsh.jsonl"]) == 0
    np.testing.assert_allclose(
        probabilities("exported.jsonl"), probabilities("lsh.jsonl"), atol=2e-6
    )


def test_an_old_interrupted_run_is_continued_to_the_end_of_its_twin() -> None:
    assert cli.run(["--mode=finetune", "--exp=halved", "--resume"]) == 0
    whole, halved = results("finetune/clf_performer_favor"), results("finetune/halved")
    assert halved["best_step"] == whole["best_step"]
    assert halved["validation"]["loss"] == pytest.approx(whole["validation"]["loss"], rel=1e-5)


@pytest.mark.parametrize("run", ["pretrain/mlm_sdpa", "tapt/clf_sdpa", "baseline/tfidf"])
def test_an_old_run_is_replayed(run: str) -> None:
    """Exit code 1 says that bits differ, as they may on another processor."""
    assert cli.run(["--mode=replay", f"--run=runs/{run}"]) in (0, 1)
    again, before = results(f"replays/{run}-1"), results(run)
    for split in ("validation", "test"):
        if split in before:
            for name, value in before[split].items():
                if isinstance(value, float):
                    assert again[split][name] == pytest.approx(value, rel=1e-4), (split, name)


def test_a_new_run_starts_from_an_old_one() -> None:
    command = ["--mode=finetune", "--exp=new", "--pretrain=tapt/clf_sdpa", "--config=base.py"]
    options = [
        "tokenizer.vocab_size=150",
        "data.name=animals",
        "data.path=corpus",
        "data.max_length=32",
        "train.max_steps=2",
    ]
    options += ["attention.reformer_lsh.chunk_size=8", "attention.reformer_lsh.num_hashes=2"]
    options += ["model.num_layers=1", "model.hidden_dim=16", "model.mlp_dim=32"]
    options += ["model.num_heads=2", "model.qkv_dim=16", "model.max_seq_len=32"]
    assert cli.run([*command, *(f"--config.{option}" for option in options)]) == 0


def test_a_run_that_says_wandb_sends_nothing_when_it_is_evaluated(
    golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who made the folder does not decide that; what is asked for in the call does."""

    def asked(*_: object) -> None:
        raise InputError("W&B was asked for")

    monkeypatch.setattr(publish, "WandbRun", asked)
    path = golden / "runs" / "finetune" / "clf_sdpa" / "resolved_config.yaml"
    before = path.read_text()
    path.write_text(before.replace("log.wandb: 'off'", "log.wandb: online"))
    assert path.read_text() != before
    command = ["--mode=eval", "--exp=clf_sdpa", "--split=test"]
    assert cli.run(command) == 0
    assert cli.run([*command, "--config.log.wandb=offline"]) == 2
    path.write_text(before)
