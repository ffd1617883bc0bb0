"""A pretraining written down first: edited, then begun by its name alone."""

import json
from pathlib import Path

import pytest
import yaml

from jaxattn import cli
from jaxattn.config import Config, commented, declared, read_yaml, replace
from jaxattn.errors import InputError
from jaxattn.report.collect import collect
from jaxattn.runs.folder import RunFolder


def refused(capsys: pytest.CaptureFixture[str], argv: list[str], *words: str) -> None:
    assert cli.run(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    for word in words:
        assert word in error


def test_the_defaults_come_back_with_every_option_described(tmp_path: Path) -> None:
    text = commented(Config(), "head")
    (tmp_path / "config.yaml").write_text(text)
    assert read_yaml(tmp_path / "config.yaml") == (Config(), {})
    lines = text.splitlines()
    assert max(map(len, lines)) <= 140
    for name in declared(Config):
        leaf = name.rpartition(".")[2]
        places = [n for n, line in enumerate(lines) if line.strip().startswith(f"{leaf}: ")]
        assert all(lines[n - 1].strip().startswith("#") for n in places)
        assert places
    assert "# attention of every block [sdpa, reformer_lsh, performer_favor, local]" in text
    assert "  # encoder blocks [1 to 128]\n  num_layers: 4" in text


def test_a_template_is_written_once_and_read_as_yaml(
    tiny_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*tiny_flags, "--mode=new", "--exp=mine", f"--runs={tmp_path}"]
    assert cli.run(argv) == 0
    folder = RunFolder(tmp_path, "pretrain", "mine")
    assert [path.name for path in folder.path.iterdir()] == ["config.yaml"]
    assert folder.saved.config()[0].model.hidden_dim == 16
    assert (folder.drafted, folder.begun, folder.state) == (True, False, "")
    before = folder.saved.path.read_bytes()
    refused(capsys, argv, "drafted already", "--exp")
    assert folder.saved.path.read_bytes() == before
    for name in ("none", "../up", "-x"):
        refused(capsys, [*tiny_flags, "--mode=new", f"--exp={name}"], name)
    refused(capsys, ["--mode=new"], "--exp")


def test_without_a_template_the_defaults_are_written(tmp_path: Path) -> None:
    assert cli.run(["--mode=new", "--exp=plain", f"--runs={tmp_path}"]) == 0
    drafted = RunFolder(tmp_path, "pretrain", "plain").saved.config()[0]
    assert drafted == replace(Config(), {"train.precision": "auto"})


def test_a_draft_is_no_broken_run(tmp_path: Path) -> None:
    assert cli.run(["--mode=new", "--exp=plain", f"--runs={tmp_path}"]) == 0
    with pytest.raises(InputError, match="found no run"):
        collect(tmp_path)
    other = tmp_path / "pretrain" / "other"
    other.mkdir()
    (other / "status.json").write_text(json.dumps({"state": "failed", "reason": "x"}))
    assert [record.exp for record in collect(tmp_path)] == ["other"]


def test_an_edited_draft_is_begun_by_its_name(
    tiny_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = f"--runs={tmp_path}"
    assert cli.run([*tiny_flags, "--mode=new", "--exp=mine", runs]) == 0
    folder = RunFolder(tmp_path, "pretrain", "mine")
    text = folder.saved.path.read_text()
    start = ["--mode=pretrain", "--exp=mine", runs]

    refused(capsys, [*tiny_flags, *start], "--config", "config.yaml")

    # A mistake shows before anything is trained and leaves the draft as it is.
    folder.saved.path.write_text(text.replace("epochs: 2", "epochs: 0"))
    refused(capsys, start, "config.yaml", "train.epochs", "at least 1")
    folder.saved.path.write_text(text.replace("kind: wordpiece", "kind: words  # mine"))
    assert folder.drafted

    edited = text.replace("epochs: 2", "epochs: 1").replace(
        "learning_rate: 0.005", "learning_rate: 3e-3"
    )
    folder.saved.path.write_text(edited)
    assert cli.run(start) == 0
    assert folder.state == "finished"
    saved = yaml.safe_load(folder.saved.path.read_text())
    assert (saved["train"]["epochs"], saved["train"]["learning_rate"]) == (1, 0.003)
    assert "# encoder blocks [1 to 128]" in folder.saved.path.read_text()
    refused(capsys, [*tiny_flags, "--mode=new", "--exp=mine", runs], "already exists")


def test_comments_stay_where_nothing_changes(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "pretrain", "mine")
    folder.path.mkdir(parents=True)
    text = commented(Config(), "why I made this")
    folder.saved.path.write_text(text)
    folder.begin(Config(), {}, {})
    assert folder.saved.path.read_text() == text
    assert folder.begun


def test_comments_stay_where_the_precision_is_settled(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "pretrain", "mine")
    folder.path.mkdir(parents=True)
    text = commented(replace(Config(), {"train.precision": "auto"}), "why I made this")
    folder.saved.path.write_text(text.replace("precision: auto", "precision: auto  # any GPU"))
    folder.begin(replace(Config(), {"train.precision": "float16"}), {}, {})
    assert folder.saved.config()[0].train.precision == "float16"
    assert folder.saved.path.read_text() == text.replace(
        "precision: auto", "precision: float16  # any GPU"
    )


def test_bad_data_leave_the_draft(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "pretrain", "mine")
    folder.path.mkdir(parents=True)
    folder.saved.path.write_text(commented(Config(), "mine"))
    folder.begin(Config(), {}, {})
    with pytest.raises(InputError), folder.running():
        raise InputError("no such data")
    assert [path.name for path in folder.path.iterdir()] == ["config.yaml"]
    assert folder.drafted
