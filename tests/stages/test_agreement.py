"""A run goes on, is used and is started from with its own tokenizer, options and checkpoint."""

import json
import shutil
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.config import replace
from jaxattn.errors import InputError
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.finetune import finetune
from jaxattn.train.job import InterruptedRun
from tests.earlier_version import unsigned


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_flags: list[str]) -> Path:
    """A pretraining, a fine-tuning from it, and one that was interrupted after 3 of 8 steps."""
    runs = tmp_path_factory.mktemp("agreement") / "runs"
    few = ["--config.data.length_buckets=32", "--config.train.max_steps=2", f"--runs={runs}"]
    assert cli.run(["pretrain", "--exp=p", *tiny_flags, *few]) == 0
    request = cli.parse(["finetune", "--exp=h", "--pretrain=none", *tiny_flags, *few])
    assert request is not None
    config = replace(request.resolved(), {"train.precision": "float32", "train.max_steps": 8})
    with pytest.raises(InterruptedRun):
        finetune(RunFolder(runs, "finetune", "h"), config, runs, "none", stop_after=3)
    return runs


@pytest.fixture
def copy(runs: Path, tmp_path: Path) -> Path:
    return shutil.copytree(runs, tmp_path / "runs")


def other_word(folder: Path) -> None:
    """Another vocabulary of the same size."""
    path = folder / "tokenizer.json"
    text = path.read_text()
    assert '"kitten"' in text
    path.write_text(text.replace('"kitten"', '"pebble"', 1))


def refused(capsys: pytest.CaptureFixture[str], argv: list[str], *words: str) -> None:
    capsys.readouterr()
    assert cli.run(argv) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("jaxattn: ") and all(word in said for word in words), said


@pytest.mark.filterwarnings("ignore:.*is interrupted, not finished")
def test_a_run_does_not_go_on_with_another_tokenizer(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It finished at chance, and was ranked. With its own it ends as it would have."""
    folder = copy / "finetune" / "h"
    text = (folder / "tokenizer.json").read_text()
    other_word(folder)
    resume = ["finetune", "--exp=h", f"--runs={copy}", "--resume"]
    refused(capsys, resume, "tokenizer.json: not the tokenizer that its checkpoint was trained")
    with pytest.raises(InputError, match="tokenizer.json"):
        cli_load(copy, "h")
    assert cli.run(["check", f"--run={folder}"]) == 1
    assert not (folder / "results.json").exists()
    (folder / "tokenizer.json").write_text(text)
    assert cli.run(resume) == 0
    assert cli.run(["check", f"--run={folder}"]) == 0


def cli_load(runs: Path, exp: str) -> object:
    from jaxattn.classifier.load import load_classifier

    return load_classifier(RunFolder(runs, "finetune", exp))


@pytest.mark.filterwarnings("ignore:.*is interrupted, not finished")
def test_a_run_does_not_go_on_with_other_options(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "finetune" / "h" / "resolved_config.yaml"
    text = path.read_text()
    path.write_text(text.replace("head.pooling: mean", "head.pooling: max"))
    assert path.read_text() != text
    refused(capsys, ["finetune", "--exp=h", f"--runs={copy}", "--resume"], "head.pooling")
    with pytest.raises(InputError, match=r"head.pooling: found 'max', but its checkpoint"):
        cli_load(copy, "h")
    path.write_text(text.replace("- cats\n- dogs", "- dogs\n- cats"))
    assert path.read_text() != text
    with pytest.raises(InputError, match="label_names: found"):
        cli_load(copy, "h")
    refused(capsys, ["finetune", "--exp=h", f"--runs={copy}", "--resume"], "label_names: found")
    assert RunFolder(copy, "finetune", "h").state == "interrupted"


@pytest.mark.filterwarnings("default:.*are lost")
def test_garbage_in_the_log_is_told_in_a_sentence(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "finetune" / "h" / "metrics.csv"
    text = path.read_text()
    path.write_text(text.replace("\n3,", "\nx,"))
    assert path.read_text() != text
    resume = ["finetune", "--exp=h", f"--runs={copy}", "--resume"]
    refused(capsys, resume, "metrics.csv: not a table that training has written")
    path.unlink()
    assert cli.run(resume) == 0
    assert "metrics.csv: missing; its rows up to step 3 are lost" in capsys.readouterr().err


def test_another_machine_is_said(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy / "finetune" / "h" / "environment.json"
    environment = json.loads(path.read_text())
    path.write_text(json.dumps(environment | {"device": "cpu of a friend"}))
    assert cli.run(["finetune", "--exp=h", f"--runs={copy}", "--resume"]) == 0
    said = "begun elsewhere, so other bits may come of it: device was cpu of a friend, is cpu"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_no_run_starts_from_what_does_not_go_together(
    copy: Path, tiny_flags: list[str], signed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy / "pretrain" / "p"
    if not signed:
        unsigned(folder)
    start = ["finetune", "--exp=f", "--pretrain=p", *tiny_flags, f"--runs={copy}"]
    text = (folder / "tokenizer.json").read_text()
    other_word(folder)
    refused(capsys, start, str(folder / "tokenizer.json"))
    (folder / "tokenizer.json").write_text(text)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("positions: rope", "positions: sinusoidal"))
    assert (folder / "config.yaml").read_text() != config
    refused(capsys, start, "model.positions")
    assert not (copy / "finetune" / "f").exists()


def test_another_checkpoint_in_its_place_is_noticed(copy: Path) -> None:
    """Whole by itself, of the same options, but not the one that was signed."""
    assert cli.run(["finetune", "--exp=h", f"--runs={copy}", "--resume"]) == 0
    folder = copy / "finetune" / "h"
    best = json.loads((folder / "results.json").read_text())["best_step"]
    other = shutil.copytree(folder / "checkpoints" / f"step_{best:08d}", copy / "other")
    (other / "_CHECKPOINT_METADATA").write_text("{}")
    from jaxattn.files import write_json
    from jaxattn.train.checkpoints import _digests

    write_json(other / "manifest.json", {"format": 1} | _digests(other))
    shutil.rmtree(folder / "checkpoints" / f"step_{best:08d}")
    other.rename(folder / "checkpoints" / f"step_{best:08d}")
    with pytest.raises(InputError, match=rf"step_{best:08d}/manifest.json: changed since"):
        cli_load(copy, "h")
