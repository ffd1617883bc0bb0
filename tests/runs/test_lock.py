"""Of two processes that would write a run, one does and the other is told."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxattn.errors import InputError
from jaxattn.processes import live_process, this_process
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.lock import holder, locked
from tests.other_process import held

RACE = """
import sys, time
from pathlib import Path
from jaxattn.runs.lock import locked
folder = Path(sys.argv[1])
while time.time() < float(sys.argv[2]):
    pass
for _ in range(200):
    with locked(folder, patience=60):
        # Read, think, write: wrong as soon as two are inside.
        number = int((folder / "number").read_text())
        (folder / "number").write_text(str(number + 1))
"""
SAY_WHO = """
import json
from jaxattn.processes import this_process
print(json.dumps(this_process()), flush=True)
input()
"""


def test_the_second_is_told_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "finetune" / "a"
    with held(folder) as process:
        assert holder(folder) == process.pid
        with pytest.raises(InputError, match=rf"a is being written by process {process.pid};"):
            locked(folder, patience=0).__enter__()
        with locked(folder.with_name("b")):
            pass
    assert not folder.exists()


def test_who_dies_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with held(folder) as process:
        process.kill()
        process.wait()
        assert holder(folder) is None
        with locked(folder, patience=0):
            pass
    assert not list(tmp_path.iterdir())


def test_it_can_be_nested_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "finetune" / "a"
    with locked(folder), locked(folder):
        assert holder(folder) is None  # but this process
    assert not list(tmp_path.iterdir())


def test_it_waits_for_who_ends_soon(tmp_path: Path) -> None:
    with held(tmp_path / "a", seconds=0.5), locked(tmp_path / "a", patience=30):
        pass


def test_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    command = [sys.executable, "-c", RACE, str(tmp_path), str(time.time() + 1)]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert (tmp_path / "number").read_text() == "800"


def test_a_reader_knows_who_runs_and_who_has_died(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "finetune", "a")
    run.path.mkdir(parents=True)
    run.set_state("running")
    record = run.path / "status.json"
    dead = record.read_text().replace(f'"pid": {os.getpid()}', '"pid": 4194305')
    record.write_text(dead)
    assert run.status().state == "interrupted"
    # On another machine, whose processes are not known here.
    with held(run.path) as process:
        assert run.status().state == "running" and run.writer == process.pid
    record.unlink()
    with held(run.path) as process:
        assert run.writer == process.pid  # which is preparing it
    assert run.writer is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_process_that_nobody_has_asked_about_is_dead(tmp_path: Path) -> None:
    """In a container the parent of a killed trainer may never reap it."""
    command = [sys.executable, "-c", SAY_WHO]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        record = json.loads(process.stdout.readline())
        assert live_process(record, tmp_path) == process.pid
        os.kill(process.pid, signal.SIGKILL)
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        assert live_process(record, tmp_path) is None
        assert live_process({"pid": process.pid}, tmp_path) is None
    assert live_process(this_process(), tmp_path) == os.getpid()


def test_a_link_and_what_it_points_to_are_one_run(tmp_path: Path) -> None:
    folder, link = tmp_path / "a", tmp_path / "elsewhere" / "b"
    folder.mkdir()
    link.parent.mkdir()
    link.symlink_to(folder)
    with held(folder) as process:
        assert holder(link) == process.pid
        with pytest.raises(InputError, match="is being written"):
            locked(link, patience=0).__enter__()


def test_a_full_disk_does_not_hold_the_lock_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with locked(tmp_path / "runs" / "finetune" / "a"):
        assert (tmp_path / "runs" / "finetune" / ".a.lock").exists()
    assert not any(tmp_path.iterdir())
