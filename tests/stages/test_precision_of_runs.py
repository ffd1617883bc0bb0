"""train.precision=auto: settled by the device a run begins on, and never asked again."""

import json
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.config import Config, replace, to_plain
from jaxattn.runs.folder import RunFolder
from jaxattn.stages import precision
from jaxattn.train.checkpoints import Checkpoints


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs begin as on a device made for bfloat16; the CPU computes it too."""
    monkeypatch.setattr(
        precision, "automatic_precision", lambda device: ("bfloat16", "a stand-in has its units")
    )


def saved(folder: RunFolder) -> set[str]:
    """What the files of a run say of its precision."""
    checkpoints = Checkpoints(folder.path / "checkpoints", 1)
    latest = checkpoints.latest()
    assert latest is not None
    environment = json.loads((folder.path / "environment.json").read_text())
    return {
        folder.saved.config()[0].train.precision,
        checkpoints.document(latest)["config"]["train.precision"],
        environment["precision"],
    }


def test_what_is_not_auto_stays(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("float32", "bfloat16", "float16"):
        config = replace(Config(), {"train.precision": name})
        assert precision.settled(config) is config
    assert capsys.readouterr().err == ""


def test_a_run_keeps_what_it_was_begun_with(
    on_a_gpu: None,
    tiny_flags: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    short = [
        *tiny_flags,
        "--config.data.length_buckets=32",
        "--config.train.epochs=1",
        f"--runs={tmp_path}",
    ]
    pretrain = [*short, "--mode=pretrain", "--exp=auto"]
    assert cli.run(pretrain) == 0
    said = capsys.readouterr().err
    assert said.count("precision: bfloat16 (a stand-in has its units)") == 1
    folder = RunFolder(tmp_path, "pretrain", "auto")
    assert saved(folder) == {"bfloat16"}

    # From here on the machine is a CPU, which would take float32.
    monkeypatch.undo()
    assert cli.run([*pretrain, "--resume"]) == 0
    assert "finished already" in capsys.readouterr().err
    checkpoints = Checkpoints(folder.path / "checkpoints", 1)
    before = checkpoints.latest()
    folder.set_state("interrupted")
    assert cli.run([*pretrain, "--resume"]) == 0
    assert "precision:" not in capsys.readouterr().err
    assert checkpoints.latest() == before and saved(folder) == {"bfloat16"}
    assert cli.run([*pretrain, "--resume", "--config.train.precision=float32"]) == 2
    assert "train.precision: found 'float32'" in capsys.readouterr().err

    assert cli.run(["--mode=verify", f"--run={folder.path}"]) == 0
    assert "all parameters are bitwise equal" in capsys.readouterr().out

    # A later stage is a run of its own: it takes what suits its machine.
    finetune = [*short, "--mode=finetune", "--exp=auto", "--pretrain=auto"]
    assert cli.run(finetune) == 0
    assert "precision: float32 (cpu is no NVIDIA GPU)" in capsys.readouterr().err
    assert saved(RunFolder(tmp_path, "finetune", "auto")) == {"float32"}


def test_a_baseline_is_the_same_on_every_machine(
    on_a_gpu: None, tiny_flags: list[str], tmp_path: Path
) -> None:
    argv = [*tiny_flags, "--mode=baseline", "--exp=words", f"--runs={tmp_path}"]
    assert cli.run(argv) == 0
    folder = RunFolder(tmp_path, "baseline", "words")
    assert folder.saved.config()[0].train.precision == "float32"
    assert cli.run([*argv, "--resume"]) == 0


def test_a_plan_is_of_what_would_be_run(
    on_a_gpu: None, tiny_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*tiny_flags, "--mode=plan", "--exp=planned", f"--runs={tmp_path}"]
    assert cli.run([*argv, "--config.plan.seconds=1"]) == 0
    plan = json.loads((tmp_path / "plan" / "pretrain" / "planned" / "plan.json").read_text())
    assert plan["precision"] == plan["options"]["train.precision"] == "bfloat16"


def test_a_continued_configuration_says_what_was_saved(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "pretrain", "a")
    folder.begin(replace(Config(), {"train.precision": "float16"}), {}, {})
    given = replace(Config(), {"train.precision": "auto", "log.every_steps": 7})
    continued = folder.saved.continued(given)
    assert to_plain(continued) == to_plain(replace(given, {"train.precision": "float16"}))
