"""Files written whole or not at all, wherever they are to go, and what killed processes leave."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.disk import naming
from jaxattn.errors import InputError
from jaxattn.files import given, remove_unfinished, require_place, whole

GOLDEN = Path(__file__).parent / "golden" / "v0_1_0"


def test_a_link_that_a_person_gave_is_followed_and_others_are_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("before")
    link.symlink_to(target)
    with given(link) as path:
        path.write_text("given")
        assert target.read_text() == "before"
    assert link.is_symlink() and target.read_text() == "given"
    # A run folder may be a stranger's: its links lead nowhere.
    with whole(link) as path:
        path.write_text("whole")
    assert not link.is_symlink() and target.read_text() == "given"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target"]


def test_a_link_to_nothing_makes_what_it_points_to(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("later")
    with given(link) as path:
        path.write_text("given")
    assert link.is_symlink() and (tmp_path / "later").read_text() == "given"


@pytest.mark.skipif(os.name != "posix", reason="a FIFO is one of POSIX")
def test_a_fifo_and_a_device_stay_what_they_are(tmp_path: Path) -> None:
    fifo, read = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    with given(fifo) as path:
        path.write_text("rows")
    reader.join()
    assert read == ["rows"] and fifo.is_fifo()
    with given(Path("/dev/null")) as path:
        path.write_text("rows")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OSError, match="No space") as full, given(Path("/dev/full")) as path:
        path.write_text("rows")
    assert full.value.filename == "/dev/full"


def test_what_a_killed_process_left_is_taken_away_by_the_next(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    path = tmp_path / "labels [1].csv"
    with whole(path) as temporary:
        temporary.write_text("x")
    of_dead = temporary.with_name(temporary.name.replace(f"-{os.getpid()}.", f"-{dead.pid}."))
    of_alive = temporary.with_name(temporary.name.replace(f"-{os.getpid()}.", "-1."))
    of_dead.write_text("half")
    of_alive.write_text("half")
    strange = [tmp_path / name for name in (".labels [1].csv.tmp", ".labels [1].csv.x-12.tmp")]
    for file in strange:
        file.write_text("not ours")
    with whole(path) as temporary:
        temporary.write_text("y")
    assert not of_dead.exists() and of_alive.exists() and all(file.exists() for file in strange)


def test_who_leaves_at_once_leaves_no_half_files(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError),
        whole(tmp_path / "file") as file,
        whole(tmp_path / "folder") as folder,
    ):
        file.write_text("half")
        folder.mkdir()
        (folder / "half").write_text("half")
        remove_unfinished()
    assert not list(tmp_path.iterdir())


def test_predictions_go_where_they_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(GOLDEN)
    command = ["predict", "--exp=clf_sdpa", "--input=corpus/test.jsonl", "--format=csv"]
    assert cli.run(command) == 0
    expected = capfd.readouterr().out
    assert expected.startswith("text,")
    for name in ("-", "/dev/stdout"):
        assert cli.run([*command, f"--output={name}"]) == 0
        assert capfd.readouterr().out == expected

    fifo, read = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    assert cli.run([*command, f"--output={fifo}"]) == 0
    reader.join()
    assert read == [expected] and fifo.is_fifo()

    (tmp_path / "link.csv").symlink_to("target.csv")
    assert cli.run([*command, f"--output={tmp_path / 'link.csv'}"]) == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "target.csv").read_text() == expected

    (tmp_path / "nowhere").symlink_to("no/such/folder")
    refused = {
        ("--output=-", "--format=parquet"): "--format=parquet needs --output=<file>",
        (f"--output={fifo}", "--format=parquet"): "--format=parquet needs --output=<file>",
        (f"--output={tmp_path / 'nowhere'}",): "its folder does not exist",
        (f"--output={tmp_path}",): "is a folder",
    }
    if os.access("/proc/version", os.R_OK) and not os.access("/proc", os.W_OK):
        refused[("--output=/proc/x.csv",)] = "/proc cannot be written to"
    for flags, sentence in refused.items():
        capfd.readouterr()
        assert cli.run([*command[:-1], *flags]) == 2
        assert sentence in capfd.readouterr().err


def test_the_input_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, link = tmp_path / "texts.csv", tmp_path / "link.csv"
    texts.write_text("text\na\n")
    link.symlink_to(texts)
    for output in (texts, link):
        call = ["predict", f"--run={GOLDEN / 'exported'}", f"--input={texts}", f"--output={output}"]
        assert cli.run(call) == 2
        assert "is the file of --input; give another name" in capsys.readouterr().err
    assert texts.read_text() == "text\na\n"


@pytest.mark.skipif(os.name != "posix", reason="a closed stream is one of POSIX")
def test_labels_are_not_made_for_a_closed_output(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text\na\n")
    command = f"{sys.executable} -m jaxattn predict --run={GOLDEN / 'exported'} --input=texts.csv"
    for output in ("", "--output=/dev/stdout"):
        done = subprocess.run(
            ["sh", "-c", f"{command} {output} >&-"], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr == "jaxattn: standard output is closed; give --output=<file>\n"


def test_room_is_asked_for_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_place(tmp_path, 1)
    with pytest.raises(InputError, match="bytes are to be written, and .* are free on its disk"):
        require_place(tmp_path, 2**60)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InputError, match="cannot be written to"):
        require_place(tmp_path, 1)


def test_a_reader_of_a_fifo_that_goes_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jaxattn.modes import compare

    def run(_: object) -> None:
        with naming(Path("/tmp/fifo")):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(compare, "run", run)
    assert cli.run(["compare"]) == 1
    said = capsys.readouterr().err
    assert said == "jaxattn: /tmp/fifo: its reader has gone before all was written\n"
