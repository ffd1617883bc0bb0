"""A run whose data lie elsewhere now goes on if they are the same, else it says what differs."""

import shutil
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.config import replace
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.finetune import finetune
from jaxattn.stages.moved import hash_of_data
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.job import InterruptedRun


@pytest.fixture
def halved(tmp_path: Path, tiny_flags: list[str], corpus: Path) -> tuple[RunFolder, list[str]]:
    """A fine-tuning that was interrupted after 3 of 8 steps, and the flags it was begun with."""
    hash_of_data.cache_clear()
    data = shutil.copytree(corpus, tmp_path / "data")
    flags = [
        "finetune", *tiny_flags, "--pretrain=none", "--exp=x", f"--runs={tmp_path / 'runs'}",
        "--config.data.length_buckets=32", "--config.train.epochs=1", "--config.data.cache=false",
    ]  # fmt: skip
    request = cli.parse([*flags, f"--config.data.path={data}"])
    assert request is not None
    folder = RunFolder(tmp_path / "runs", "finetune", "x")
    config = replace(request.resolved(), {"train.precision": "float32"})
    with pytest.raises(InterruptedRun):
        finetune(folder, config, request.runs, "none", stop_after=3)
    return folder, flags


def path_of(folder: RunFolder) -> str:
    return folder.saved.config()[0].data.path


def test_the_same_data_elsewhere(
    halved: tuple[RunFolder, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, flags = halved
    data, moved, other = (tmp_path / name for name in ("data", "moved", "other"))
    data.rename(moved)
    shutil.copytree(moved, other)
    lines = (other / "train.jsonl").read_text().splitlines(keepends=True)
    (other / "train.jsonl").write_text("".join(lines[:-5]))

    # Fewer texts: refused before anything of the run has changed.
    state = folder.status()
    assert cli.run([*flags, f"--config.data.path={other}", "--resume"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"data.path: found {str(other)!r}: the data have changed since" in said
    assert f"(data.path was {str(data)!r})" in said
    assert "115 training texts instead of 120;" in said
    assert (folder.status(), path_of(folder)) == (state, str(data))

    # As many, one of them another.
    (other / "train.jsonl").write_text("".join([*lines[:-1], lines[0]]))
    assert cli.run([*flags, f"--config.data.path={other}", "--resume"]) == 2
    assert "as many texts, but not the same ones" in capsys.readouterr().err

    assert cli.run([*flags, f"--config.data.path={moved}", "--resume"]) == 0
    assert "resuming after step 3 of 8" in capsys.readouterr().err
    assert (folder.state, path_of(folder)) == ("finished", str(moved))

    # Of a finished run too, the data are compared.
    assert cli.run([*flags, f"--config.data.path={moved}/.", "--resume"]) == 0
    assert "is finished already" in capsys.readouterr().err
    assert path_of(folder) == f"{moved}/."
    assert folder.saved.config()[1]["label_names"] == ["cats", "dogs"]
    assert cli.run(["eval", "--exp=x", f"--runs={folder.runs}", "--split=test"]) == 0
    capsys.readouterr()
    assert cli.run([*flags, f"--config.data.path={other}", "--resume"]) == 2
    assert "the data have changed since" in capsys.readouterr().err
    # What is no place is compared as before.
    assert cli.run([*flags, "--config.data.text_column=x", "--resume"]) == 2
    assert "data.text_column: found 'x'" in capsys.readouterr().err


def test_before_the_first_checkpoint_it_begins_anew(
    halved: tuple[RunFolder, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, flags = halved
    shutil.rmtree(folder.path / "checkpoints")
    (folder.path / "events.jsonl").unlink()
    folder.set_state("interrupted", "killed")
    folder.tokenizer_path.write_text("of other data")
    (tmp_path / "data").rename(tmp_path / "moved")
    again = [*flags, f"--config.data.path={tmp_path / 'moved'}", "--resume"]
    assert cli.run(again) == 0
    assert "nothing was trained yet; it begins anew with" in capsys.readouterr().err
    assert path_of(folder) == str(tmp_path / "moved")
    document = Checkpoints(folder.path / "checkpoints", 1).document(8)
    assert document["data_size"] == {"training": 120, "validation": 40, "test": 40}
