"""A disk that is full, read-only or not ours: one sentence that names the file, no other cause."""

import errno
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from jaxattn import cli
from jaxattn.disk import disk_error, naming, sentence
from jaxattn.files import write_text
from jaxattn.runs.folder import RunFolder
from jaxattn.train import checkpoints
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.log import RunLog

# As TensorStore, tokenizers and pyarrow tell it, and as XLA tells that a device has no memory.
TENSORSTORE = (
    'RESOURCE_EXHAUSTED: Failed writing: "/runs/step_00000020.orbax-checkpoint-tmp/d/81e2": Failed '
    "to write 111303 bytes to file 12: No space left on device [os_error_code='28']"
)
RUST = "No space left on device (os error 28)"
ARROW = "[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"
XLA = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 34359738368 bytes."


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_and_a_full_memory_are_told_apart() -> None:
    for text in (TENSORSTORE, RUST, ARROW):
        assert disk_error(ValueError(text)) == errno.ENOSPC
    assert disk_error(OSError(errno.EROFS, "x")) == errno.EROFS
    assert disk_error(RuntimeError("Permission denied [os_error_code='13']")) == errno.EACCES
    assert disk_error(RuntimeError(XLA)) is None
    assert disk_error(FileNotFoundError(errno.ENOENT, "x")) is None
    assert disk_error(ValueError("line 28")) is None


def test_the_file_is_named() -> None:
    path = Path("runs/x/step_1")
    for error in (ValueError(TENSORSTORE), Exception(RUST), OSError(errno.ENOSPC, "full")):
        with pytest.raises(OSError, match="step_1") as told, naming(path):
            raise error
        assert sentence(told.value).startswith("no space left on the disk of runs/x/step_1;")
    with pytest.raises(ValueError, match="Out of memory"), naming(path):
        raise ValueError(XLA)
    quota = OSError(errno.EDQUOT, "x", "a.csv")
    assert sentence(quota).startswith("no space left in your quota of the disk of a.csv;")
    assert sentence(OSError(errno.EROFS, "Read-only file system", "a")) == (
        "a: Read-only file system; give a folder of another disk"
    )
    assert sentence(OSError(errno.EACCES, "Permission denied")) == ""
    assert "standard output" in sentence(OSError(errno.ENOSPC, "x"))


def test_a_file_that_is_written_whole_is_named_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError) as told:
        write_text(tmp_path / "nowhere" / "a.txt", "x")
    assert told.value.filename == str(tmp_path / "nowhere" / "a.txt")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as told_full:
        write_text(tmp_path / "a.txt", "x")
    assert told_full.value.filename == str(tmp_path / "a.txt")
    assert not list(tmp_path.iterdir())


def test_a_read_only_disk_has_the_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux says EROFS of a file that is not there, too."""

    def read_only(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "write_text", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(OSError, match="Read-only") as caught:
        write_text(tmp_path / "results.json", "{}")
    assert caught.value.filename == str(tmp_path / "results.json")


def test_a_checkpoint_that_does_not_fit_leaves_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Checkpoints(tmp_path / "checkpoints", keep=1)

    def fail(path: Path, *_: Any, **__: Any) -> None:
        part = path.with_name(f"{path.name}.orbax-checkpoint-tmp")
        part.mkdir()
        (part / "half").write_text("x")
        raise ValueError(TENSORSTORE)

    monkeypatch.setattr(checkpoints.ocp, "save_checkpointables", fail)
    with pytest.raises(OSError, match="step_00000020") as told:
        saved.save(20, {"params": {"w": jnp.zeros(2)}}, {}, None)
    assert told.value.errno == errno.ENOSPC
    assert not list(saved.folder.iterdir())


def test_the_state_says_that_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path, "finetune", "x")
    folder.path.mkdir(parents=True)
    with pytest.raises(OSError, match="No space"), folder.running(), naming(folder.path / "m.csv"):
        full()
    assert folder.status().state == "failed"
    assert folder.reason.startswith(f"no space left on the disk of {folder.path / 'm.csv'};")
    with pytest.raises(ValueError, match="RESOURCE"), folder.running():
        raise ValueError(XLA)
    assert folder.reason.startswith("out of memory: RESOURCE_EXHAUSTED")

    # Not one file more fits.
    with pytest.raises(OSError, match="No space"), folder.running():
        monkeypatch.setattr(os, "replace", full)
        full()
    assert folder.status().state == "failed"
    assert folder.reason.startswith("no space left on the disk of")


def test_a_run_that_cannot_begin_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jaxattn.config import Config

    folder = RunFolder(tmp_path, "finetune", "x")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"environment\.json"):
        folder.begin(Config(), {}, {})
    assert not folder.path.exists()


def test_the_logs_name_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jaxattn.config import Config

    log = RunLog(tmp_path, Config().log, "x", {})
    monkeypatch.setattr("csv.DictWriter.writerow", full)
    with pytest.raises(OSError, match=r"metrics\.csv"):
        log.metrics(1, 0.5, "train", {"loss": 1.0})


def test_what_a_full_disk_answers_to_nobody_is_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli._uncaught(RuntimeError, RuntimeError("Event loop is closed"), None)
    assert capsys.readouterr().err == ""
    cli._uncaught(RuntimeError, RuntimeError("anything else"), None)
    assert capsys.readouterr().err == "RuntimeError: anything else\n"


def test_the_command_says_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jaxattn.modes import compare

    def run(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/report/results.csv")

    monkeypatch.setattr(compare, "run", run)
    assert cli.run(["compare"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("jaxattn: no space left on the disk of runs/report/results.csv; make")
    assert len(said.splitlines()) == 1
