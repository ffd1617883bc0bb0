"""A folder that somebody made to do harm: the others are compared, and one sentence says the cause.

Nothing hangs, nothing takes all memory, and nothing is executed.
"""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from jaxattn import cli
from jaxattn.config import LogConfig
from jaxattn.report.collect import collect
from jaxattn.report.compare import compare
from jaxattn.report.comparison import Comparison
from jaxattn.report.csv_files import results_rows
from jaxattn.report.page.page import page
from jaxattn.report.terminal import print_comparison

FILES = (
    "status.json",
    "results.json",
    "resolved_config.yaml",
    "environment.json",
    "predictions_test.csv",
    "metrics.csv",
    "events.jsonl",
    "evaluation.json",
)

WriteRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """What hangs fails."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def server(path: Path) -> None:
    """A socket; its address may have a hundred characters only."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


def huge(path: Path) -> None:
    """Two GiB with holes."""
    with open(path, "wb") as file:
        file.truncate(2**31)


def brackets(path: Path) -> None:
    path.write_text("[" * 100_000)


def one_line(path: Path) -> None:
    path.write_text("x" * 5_000_000)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("attack", [fifo, device, folder, server, huge, brackets, one_line])
def test_no_file_stops_the_comparison(
    attack: Callable[[Path], None], name: str, write_run: WriteRun, tmp_path: Path
) -> None:
    write_run("healthy")
    path = write_run("hostile") / name
    path.unlink(missing_ok=True)
    attack(path)
    compare(tmp_path / "runs", LogConfig())
    bad, good = sorted(collect(tmp_path / "runs"), key=lambda run: run.exp == "healthy")
    assert good.state == "finished"
    if name in (*FILES[:3], "predictions_test.csv", "metrics.csv"):
        assert bad.state == "failed" and bad.reason.startswith(name)
        assert len(bad.reason) < 300 and "\n" not in bad.reason
    else:
        assert bad.state == "finished"


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)

YAMLS = {
    "aliases of aliases": (BOMB, "aliases stand for more than"),
    "merged aliases": ("a: &a {b: 1}\nc: {<<: [" + "*a, " * 20_000 + "]}", "aliases stand for"),
    "itself": ("a: &a [*a]", "stands for nothing, or for itself"),
    "deep flow": ("a: " + "{b: " * 5_000, "levels deep"),
    "deep dashes": ("a:\n  " + "- " * 100_000 + "x", "levels deep"),
    "deep keys": ("? " * 100_000, "levels deep"),
    "long number": ("train.seed: " + "9" * 1_000_000, "a number of over 300 digits"),
    "minutes of minutes": ("train.seed: 1" + ":59" * 300_000, "a number of over 300 digits"),
    "program": ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
    "thirteenth month": ("data.name: 2001-13-01", "month must be in 1..12"),
    "date": ("data.name: 2001-12-01", "data.name: found datetime.date"),
    "set": ("train: {seed: !!set {1, 2}}", "train.seed: found {1, 2}"),
    "bytes": ("data.name: !!binary aGFsbG8=", "data.name: found b'hallo'"),
    "large number": ("train.seed: " + "9" * 200, "train.seed: found 9"),
    "unhashable": ("? {a: 1}\n: 2", "unhashable"),
}


@pytest.mark.parametrize("name", YAMLS)
def test_no_options_stop_the_comparison(name: str, write_run: WriteRun, tmp_path: Path) -> None:
    content, cause = YAMLS[name]
    write_run("healthy")
    (write_run("hostile") / "resolved_config.yaml").write_text(content)
    compare(tmp_path / "runs", LogConfig())
    good, bad = collect(tmp_path / "runs")
    assert (good.state, bad.state) == ("finished", "failed")
    assert cause in bad.reason and len(bad.reason) < 400


ODD: tuple[Any, ...] = (
    None, "", True, [], ["x", 1, None], -1, 2**62, 1e308, float("nan"), float("inf"), "x" * 100_000,
    "\x1b[31m", "$x^2$", "<b>", "=1+1",
)  # fmt: skip


@pytest.mark.parametrize("place", range(len(ODD)))
def test_odd_values_of_options_are_compared(
    place: int, write_run: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every option of the reports at once."""
    write_run("healthy")
    path = write_run("odd") / "resolved_config.yaml"
    options = yaml.safe_load(path.read_text())
    options |= dict.fromkeys([*options, "data.folds", "data.fold", "peft.method"], ODD[place])
    path.write_text(yaml.safe_dump(options))
    compare(tmp_path / "runs", LogConfig())
    assert "\x1b[31m" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "value", [2**2000, "x" * 50_000, ["x"] * 9, {"a": 1}, -1e308, True],
    ids=["int", "text", "list", "object", "float", "bool"],
)  # fmt: skip
def test_odd_values_of_results_are_told(value: Any, write_run: WriteRun, tmp_path: Path) -> None:
    """One entry after the other is of a type, or a size, that it cannot have."""
    write_run("healthy")
    path = write_run("odd") / "results.json"
    results = json.loads(path.read_text())
    for entry in results:
        path.write_text(json.dumps(results | {entry: value}))
        records = collect(tmp_path / "runs")
        assert all(len(run.reason) < 300 for run in records), entry
        print_comparison(Comparison(records))
        assert results_rows(Comparison(records)) and page(Comparison(records), tmp_path)


def test_a_million_columns_are_no_predictions(write_run: WriteRun, tmp_path: Path) -> None:
    columns = ",".join(f"p_{i}" for i in range(1_000_000))
    path = write_run("x") / "predictions_test.csv"
    path.write_text(f"row,label,predicted,{columns}\n0,0,1,{'0,' * 999_999}0\n")
    (run,) = collect(tmp_path / "runs")
    assert run.state == "failed"
    assert run.reason.endswith("found 1,000,000 classes, allowed: up to 10,000")


@pytest.mark.parametrize("mode", ["predict", "eval", "finetune"])
@pytest.mark.parametrize("attack", [fifo, device, brackets])
def test_what_reads_one_run_says_what_is_wrong_with_it(
    attack: Callable[[Path], None],
    mode: str,
    write_run: WriteRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_run("x", state="interrupted") / "resolved_config.yaml"
    path.unlink()
    attack(path)
    texts = tmp_path / "texts.txt"
    texts.write_text("a text\n")
    more = {"predict": [f"--input={texts}"], "finetune": ["--resume"]}
    flags = [f"--mode={mode}", "--exp=x", f"--runs={tmp_path / 'runs'}", *more.get(mode, [])]
    assert cli.run(flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"jaxattn: {path}: ") and len(error) < 400
