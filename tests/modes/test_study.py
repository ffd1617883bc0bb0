"""The main job: every stage in a process of its own, then one comparison."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.sweeps.study import study_calls

ROOT = Path(__file__).parents[2]


def test_stages_follow_from_the_attentions() -> None:
    calls = study_calls("x", ("sdpa", "reformer_lsh"))
    assert [call[:2] for call in calls] == [
        ("--mode=pretrain", "--exp=x_sdpa"),
        ("--mode=finetune", "--exp=x_sdpa"),
        ("--mode=pretrain", "--exp=x_reformer_lsh"),
        ("--mode=finetune", "--exp=x_reformer_lsh"),
        ("--mode=baseline", "--exp=x_tfidf"),
    ]


def test_tapt_comes_between_where_it_is_asked_for() -> None:
    assert study_calls("x", ("sdpa",), tapt=True)[1:3] == [
        ("--mode=tapt", "--exp=x_sdpa", "--pretrain=x_sdpa"),
        ("--mode=finetune", "--exp=x_sdpa", "--pretrain=tapt/x_sdpa"),
    ]


def study(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "launch.py", "--mode=study", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_study_ends_with_the_table_and_goes_on_where_it_stopped(
    tiny_flags: list[str], tmp_path: Path
) -> None:
    flags = [*tiny_flags, f"--runs={tmp_path}", "--exp=s", "--config.study.attentions=sdpa"]
    first = study(*flags)
    assert first.returncode == 0, first.stderr
    assert "tfidf+logreg" in first.stdout
    assert "results.csv" in first.stdout
    with open(tmp_path / "report" / "results.csv", newline="") as file:
        runs = {(row["kind"], row["exp"]) for row in csv.DictReader(file)}
    assert runs == {("pretrain", "s_sdpa"), ("finetune", "s_sdpa"), ("baseline", "s_tfidf")}
    again = study(*flags)
    assert again.returncode == 2
    assert "already exists" in again.stderr
    assert "Traceback" not in again.stderr
    resumed = study(*flags, "--resume")
    assert resumed.returncode == 0
    assert resumed.stderr.count("is finished already") == 3


def test_a_failed_pretraining_leaves_the_rest_of_the_study(
    tiny_flags: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The run diverges within an epoch; the baseline is fitted and compared all the same."""
    flags = [*tiny_flags, f"--runs={tmp_path}", "--exp=s", "--config.study.attentions=sdpa"]
    wild = ["--config.train.learning_rate=10", "--config.train.clip_norm=1e30"]
    wild += ["--config.train.weight_decay=1e6", "--config.train.epochs=400"]
    assert cli.run(["--mode=study", *flags, *wild]) == 1
    said = capfd.readouterr()
    assert "its pretraining failed" in said.err
    assert "nan" in said.out or "inf" in said.out
    assert "tfidf+logreg" in said.out
