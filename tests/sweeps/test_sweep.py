"""A sweep is run by its dependencies, survives failures, and does nothing twice.

Most cells here are made by a stand-in that writes what a run leaves in its folder.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.errors import InputError
from jaxattn.files import write_json
from jaxattn.report.collect import collect
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.sweeps import local, schedule, sweep
from jaxattn.sweeps.cells import Cells, read_sweep
from jaxattn.sweeps.local import Process, check_devices, cores
from jaxattn.sweeps.schedule import Progress
from jaxattn.sweeps.view import Figures, View, figures, summary, table
from tests.other_process import held

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "configs" / "sweeps").glob("*.py"))

SWEEP = """
SEEDS = [0]

from jaxattn.config_io import defaults, inherit_architecture

def get_config(mode):
    config = defaults()
    if mode in ("tapt", "finetune"):
        inherit_architecture(config)
    return config

def get_sweep():
    return {
        "pretrain": {"grid": {"attention.type": ["sdpa", "reformer_lsh"], "train.seed": SEEDS}},
        "search": {"stage": "finetune", "from": "pretrain", "grid": {"head.dropout": [0.1, 0.2]}},
        "finetune": {
            "from": "pretrain",
            "best": {"of": "search", "per": ["attention.type"]},
        },
    }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.py"
    path.write_text(SWEEP)
    return path


@pytest.fixture
def seeds(file: Path) -> Path:
    file.write_text(SWEEP.replace("SEEDS = [0]", "SEEDS = [0, 1]"))
    return file


def parsed(file: Path, *flags: str) -> Request:
    request = cli.parse([f"--config={file}", f"--runs={file.parent / 'runs'}", *flags])
    assert request is not None
    return request


def cells_of(file: Path, *flags: str) -> Cells:
    return read_sweep(parsed(file, "--mode=sweep", *flags))


class StandIn:
    """Makes runs: a cell's outcome is looked up by a part of its flags."""

    def __init__(self) -> None:
        self.started: list[tuple[str, bool]] = []
        self.outcomes: dict[str, str] = {}
        self.macro_f1: Callable[[dict[str, str]], float] = lambda flags: 0.5
        self.devices: list[str] = []
        self.rounds: dict[str, int] = {}
        self.most = self.now = 0

    def __call__(self, flags: tuple[str, ...], log: Path, device: str) -> "StandInRun":
        named = dict(flag.removeprefix("--").partition("=")[::2] for flag in flags)
        self.started.append((f"{named['mode']}/{named['exp']}", "--resume" in flags))
        self.devices.append(device)
        self.now += 1
        self.most = max(self.most, self.now)
        return StandInRun(self, flags, named, log)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.started]


class StandInRun:
    def __init__(
        self, maker: StandIn, flags: tuple[str, ...], named: dict[str, str], log: Path
    ) -> None:
        self.maker, self.flags, self.named, self.log = maker, flags, named, log
        self.rounds, self.stopped = maker.rounds.get(named["exp"], 2), False
        self.folder = RunFolder(Path(named["runs"]), named["mode"], named["exp"])

    def stop(self) -> None:
        self.stopped = True

    def ended(self) -> str | None:
        self.rounds -= 1
        if self.rounds > 0:
            return None
        self.maker.now -= 1
        name = f"{self.named['mode']}/{self.named['exp']}"
        outcome = self.maker.outcomes.get(name, "finished")
        if outcome == "bad input":
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_text("noise\njaxattn: the data are nowhere\n")
            return "exit code 2"
        self._begin()
        if self.stopped:
            self.folder.set_state("interrupted", "SIGTERM after step 3; the state is saved")
            return "exit code 143"
        if outcome == "killed":
            # What a dead process leaves behind: running, by a process that is no more.
            write_json(
                self.folder.path / "status.json",
                {"state": "running", "reason": "", "pid": 2**22 + 1, "started": "x"},
            )
            return "killed by SIGKILL"
        if outcome == "finished":
            self._results()
        self.folder.set_state(*outcome.partition(": ")[::2])
        return "" if outcome == "finished" else "exit code 1"

    def _begin(self) -> None:
        kept = [f for f in self.flags if f != "--resume"]
        request = cli.parse(kept)
        assert request is not None
        source = self.named.get("pretrain")
        inherited = None
        if source:
            inherited = RunFolder(self.folder.runs, "pretrain", source).saved.config()[0]
        extra = {"pretrain": f"{source}@7", "pretrain_hash": "h"} if source else {}
        self.folder.begin(request.resolved(inherited), extra, {})

    def _results(self) -> None:
        value = self.maker.macro_f1(self.named)
        results = {
            "best_step": 7, "best_hash": "h", "attention": "sdpa", "data": "pydocs",
            "validation": {"loss": 1.0, "macro_f1": value}, "test": {"macro_f1": 1.0 - value},
        }  # fmt: skip
        write_json(self.folder.path / "results.json", results)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    maker = StandIn()
    monkeypatch.setattr(sweep, "Process", maker)
    monkeypatch.setattr(sweep, "PAUSE", 0.0)
    return maker


def run(file: Path, *flags: str) -> int:
    return cli.run(["--mode=sweep", f"--config={file}", f"--runs={file.parent / 'runs'}", *flags])


def record(file: Path) -> dict[str, dict]:
    path = file.parent / "runs" / "sweep" / "s" / "sweep.json"
    return {cell["run"]: cell for cell in json.loads(path.read_text())["cells"]}


def test_all_cells_run_in_order_and_only_once(
    file: Path, made: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(file, "--config.sweep.parallel=2") == 0
    assert len(made.names) == len(set(made.names)) == 2 + 4 + 2
    assert made.most == 2
    for cell in cells_of(file).all:
        if cell.parent is not None:
            assert made.names.index(cell.parent.id) < made.names.index(cell.id)
    assert {cell["state"] for cell in record(file).values()} == {"finished"}
    said = capsys.readouterr().err
    assert "[1/8] pretrain/s_sdpa_seed0: running" in said
    assert "[8/8] finetune/s_reformer_lsh_seed0: finished" in said
    assert "8 finished" in said.splitlines()[-1]

    made.started.clear()
    assert run(file) == 0
    assert made.started == []


def test_the_best_on_validation_is_taken_per_attention(seeds: Path, made: StandIn) -> None:
    """With dropout 0.2 LSH is better, the mean over both seeds decides; the test split never."""

    def macro_f1(flags: dict[str, str]) -> float:
        better = "0.2" if "reformer" in flags["exp"] else "0.1"
        lucky = 0.3 if flags["exp"] == "s_search_sdpa_seed1_dropout0.2" else 0.0
        return lucky + (0.9 if flags.get("config.head.dropout") == better else 0.5)

    made.macro_f1 = macro_f1
    assert run(seeds) == 0
    runs = seeds.parent / "runs"
    dropouts = {
        name: RunFolder(runs, "finetune", f"s_{name}_seed0").saved.config()[0].head.dropout
        for name in ("sdpa", "reformer_lsh")
    }
    assert dropouts == {"sdpa": 0.1, "reformer_lsh": 0.2}
    chosen = record(seeds)["finetune/s_reformer_lsh_seed1"]
    assert chosen["best_of"] == "finetune/s_search_reformer_lsh_seed0_dropout0.2"
    assert chosen["best_value"] == pytest.approx(0.9)


def test_failures_are_noted_and_the_rest_goes_on(
    file: Path, made: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A killed and a diverged run: their causes, what is left out, and what a restart does."""
    killed, diverged = "pretrain/s_sdpa_seed0", "finetune/s_search_reformer_lsh_seed0_dropout0.1"
    made.outcomes = {killed: "killed", diverged: "failed: loss is nan in step 4"}
    assert run(file) == 1
    cells = record(file)
    assert cells[killed]["state"] == cells[diverged]["state"] == "failed"
    assert cells[killed]["reason"] == "killed by SIGKILL"
    assert cells["finetune/s_search_sdpa_seed0_dropout0.1"]["state"] == "left out"
    assert cells["finetune/s_search_sdpa_seed0_dropout0.1"]["reason"] == f"{killed}: failed"
    assert cells["finetune/s_sdpa_seed0"]["state"] == "left out"
    assert cells["finetune/s_reformer_lsh_seed0"]["state"] == "finished"
    assert cells["finetune/s_reformer_lsh_seed0"]["best_of"].endswith("dropout0.2")
    causes = {r.exp: r.reason for r in collect(file.parent / "runs") if r.state == "failed"}
    assert causes == {
        "s_sdpa_seed0": "killed by SIGKILL",
        "s_search_reformer_lsh_seed0_dropout0.1": "loss is nan in step 4",
    }
    assert f"{killed}: failed: killed by SIGKILL" in capsys.readouterr().err

    # Started again: nothing is done twice, and what has failed stays as it is.
    made.started.clear()
    assert run(file) == 1
    assert made.started == []
    assert "run again only with --resume" in capsys.readouterr().err

    # Asked for: the failed ones go on, and what waited for them is run.
    made.outcomes = {}
    assert run(file, "--resume") == 0
    assert made.started[0] == (killed, True)
    assert (diverged, True) in made.started
    assert len(made.started) == 2 + 2 + 1
    assert {cell["state"] for cell in record(file).values()} == {"finished"}


def test_bad_input_of_one_cell_is_its_own_failure(file: Path, made: StandIn) -> None:
    name = "pretrain/s_reformer_lsh_seed0"
    made.outcomes = {name: "bad input"}
    assert run(file) == 1
    assert record(file)[name]["reason"] == "exit code 2: the data are nowhere"
    assert RunFolder(file.parent / "runs", *name.split("/")).begun is False
    made.started.clear()
    made.outcomes = {}
    assert run(file, "--resume") == 0
    assert (name, False) in made.started


def test_a_request_to_stop_reaches_the_cells(
    file: Path, made: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first cell to end makes the user stop the sweep; the second one saves and stops."""

    def stop(flags: dict[str, str]) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0.5

    made.macro_f1 = stop
    made.rounds = {"s_reformer_lsh_seed0": 5}
    assert run(file, "--config.sweep.parallel=2") == 128 + signal.SIGTERM
    cells = record(file)
    states = [cell["state"] for cell in cells.values()]
    assert states == ["finished", "interrupted", *["waiting"] * 6]
    assert "SIGTERM after step 3" in cells["pretrain/s_reformer_lsh_seed0"]["reason"]
    assert "the same command goes on" in capsys.readouterr().err
    made.started.clear()
    made.macro_f1 = lambda flags: 0.5
    assert run(file) == 0
    assert made.started[0] == ("pretrain/s_reformer_lsh_seed0", True)
    assert len(made.started) == 7


def test_a_run_that_was_interrupted_goes_on(file: Path, made: StandIn) -> None:
    made.outcomes = {"pretrain/s_sdpa_seed0": "interrupted: SIGINT after step 2"}
    assert run(file) == 1
    assert record(file)["pretrain/s_sdpa_seed0"]["state"] == "interrupted"
    made.started.clear()
    made.outcomes = {}
    assert run(file) == 0
    assert made.started[0] == ("pretrain/s_sdpa_seed0", True)


def test_other_options_are_refused_before_anything_runs(
    file: Path, made: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(file) == 0
    made.started.clear()
    assert run(file, "--config.train.learning_rate=0.1") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "train.learning_rate: found 0.1" in error
    assert "s_sdpa_seed0" in error
    assert made.started == []
    assert run(file, "--config.log.every_steps=3") == 0


def test_a_run_of_another_process_is_waited_for(file: Path, made: StandIn) -> None:
    """A cell left over from a sweep that was killed is neither started again nor disturbed."""
    other = RunFolder(file.parent / "runs", "pretrain", "s_sdpa_seed0")
    assert run(file, "--dry_run", "--config.plan.seconds=0") == 0
    made.outcomes = {"pretrain/s_sdpa_seed0": "failed: x"}
    assert run(file) == 1
    made.outcomes = {}
    other.set_state("running")
    finish = time.monotonic() + 0.2

    def macro_f1(flags: dict[str, str]) -> float:
        if time.monotonic() > finish and other.state == "running":
            write_json(other.path / "results.json", {"best_step": 7, "best_hash": "h"})
            other.set_state("finished")
        return 0.5

    made.macro_f1 = macro_f1
    made.started.clear()
    cells = cells_of(file)
    states = schedule.first_states(cells, again=False)
    rounds = []

    def changed(now: Mapping[str, schedule.Progress]) -> None:
        rounds.append(now["pretrain/s_sdpa_seed0"].state)
        macro_f1({})

    schedule.run_cells(
        cells,
        states,
        lambda cell, place: made(cells.call(cell), cells.log(cell), ""),
        1,
        stopping=lambda: False,
        changed=changed,
        pause=0.01,
    )
    assert "pretrain/s_sdpa_seed0" not in made.names
    assert rounds[0] == "running"
    assert {progress.state for progress in states.values()} == {"finished"}


def test_a_run_that_another_process_took_first_is_left_to_it(file: Path) -> None:
    """It was being prepared when the cell's own process was refused."""
    cells = cells_of(file)
    (cell,) = (cell for cell in cells.all if cell.id == "pretrain/s_sdpa_seed0")
    folder = cells.folder(cell)
    with held(folder.path):
        assert schedule._outcome(cells, cell, "exit code 2", False).state == "waiting"
    assert not folder.path.exists()
    assert schedule._outcome(cells, cell, "exit code 2", False).state == "failed"


def test_only_one_process_runs_a_sweep(
    file: Path, made: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(file) == 0
    path = file.parent / "runs" / "sweep" / "s" / "sweep.json"
    from jaxattn.processes import _started

    parent = os.getppid()
    write_json(path, {"pid": parent, "started": _started(parent), "cells": []})
    assert run(file) == 2
    assert f"process {parent}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        (SWEEP.replace("get_sweep", "sweeps"), [], ["get_sweep"]),
        (SWEEP.replace("return {", "return {1/0: 1,"), [], ["ZeroDivisionError"]),
        (SWEEP.replace("head.dropout", "head.droput"), [], ["did you mean 'head.dropout'"]),
        (SWEEP.replace("[0.1, 0.2]", "[0.1, 2.0]"), [], ["cell finetune/s_search", "2.0"]),
        (
            SWEEP.replace("return {", "return {'finetune': {}}\n    {"),
            [],
            ["finetune", "--pretrain"],
        ),
        (SWEEP, ["--config.sweep.devices=cpu:9999"], ["cpu:9999", "allowed cores"]),
        (SWEEP, ["--config.sweep.devices=cpu:"], ["'cpu:'"]),
        (SWEEP, ["--config.sweep.parallel=0"], ["sweep.parallel"]),
        (SWEEP, ["--exp=a b"], ["--exp", "'a b'"]),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    file: Path, made: StandIn, capsys: pytest.CaptureFixture[str], text: str, flags: list[str],
    words: list[str],
) -> None:  # fmt: skip
    file.write_text(text)
    assert run(file, *flags) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    for word in words:
        assert word in error[0]
    assert made.started == []
    assert not (file.parent / "runs").exists()


def test_cells_take_turns_on_the_devices(file: Path, made: StandIn) -> None:
    assert run(file, "--config.sweep.parallel=2", "--config.sweep.devices=3,GPU-a1") == 0
    assert set(made.devices) == {"3", "GPU-a1"}


def ended(process: Process) -> str:
    while (how := process.ended()) is None:
        time.sleep(0.01)
    return how


def test_a_process_is_bound_to_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import os, signal, sys\n"
        "print(os.environ.get('CUDA_VISIBLE_DEVICES'), sorted(os.sched_getaffinity(0)))\n"
        "sys.stdout.flush()\n"
        "if sys.argv[1] == 'die': os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    monkeypatch.setattr(local, "COMMAND", (sys.executable, "-c", program))
    before = os.sched_getaffinity(0)
    core = min(before)
    log = tmp_path / "logs" / "x.log"
    assert ended(Process(["0"], log, "5")) == ""
    assert ended(Process(["3"], log, f"cpu:{core}")) == "exit code 3"
    assert ended(Process(["die"], log, "")).startswith("killed by SIGKILL")
    lines = log.read_text().splitlines()
    assert lines[0] == f"5 {sorted(before)}"
    assert lines[1].endswith(f" [{core}]")
    assert os.sched_getaffinity(0) == before
    assert cores("cpu:0-2,5") == {0, 1, 2, 5}
    check_devices(["0", f"cpu:{core}"])
    with pytest.raises(InputError, match="cpu:4000"):
        check_devices(["cpu:4000"])


def test_what_is_shown_of_a_running_cell(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = cells_of(file)
    cell = cells.all[0]
    folder, log = cells.folder(cell).path, cells.log(cell)
    assert figures(cells, cell) == Figures()
    folder.mkdir(parents=True)
    log.parent.mkdir(parents=True)
    (folder / "events.jsonl").write_text('{"event": "start", "total_steps": 90}\n')
    (folder / "metrics.csv").write_text("step,split,loss\n20,train,3.5\n20,validation,9\n")
    assert figures(cells, cell) == Figures(20, 90, 3.5)
    log.write_text("pretrain x: step 31/90  loss 3.2500  12,345 tokens/s  1,200 s left\n\n")
    found = figures(cells, cell)
    assert found == Figures(31, 90, 3.25, 12345.0, 1200.0)
    assert str(found) == "step 31/90, loss 3.2500, 12,345 tokens/s, 20 min left"

    states = {c.id: Progress("waiting") for c in cells.all}
    monkeypatch.setattr("jaxattn.sweeps.view.LINE_SECONDS", 0.0)
    with View(cells, states) as view:
        states[cell.id] = Progress("running")
        for _ in range(3):
            view.update(states)
        states[cell.id] = Progress("failed", "loss is nan [/red]")
        view.update(states)
    assert capsys.readouterr().err.splitlines() == [
        "[1/8] pretrain/s_sdpa_seed0: running",
        f"[1/8] pretrain/s_sdpa_seed0: {found}",
        "[1/8] pretrain/s_sdpa_seed0: failed: loss is nan [/red]",
    ]
    assert summary(states) == "7 waiting, 1 failed"

    from rich.console import Console

    console = Console(width=120)
    with console.capture() as captured:
        console.print(table(cells, states))
    assert "loss is nan [/red]" in captured.get()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_every_shipped_sweep_can_be_run(path: Path, tmp_path: Path) -> None:
    assert f"--config=configs/sweeps/{path.name}" in path.read_text().split('"""')[1]
    flags = ["--mode=sweep", f"--config={path}", f"--runs={tmp_path}", "--pretrain=none"]
    request = cli.parse(flags)
    assert request is not None
    cells = read_sweep(request)
    sweep.check_all(cells)
    kinds = [cell.kind for cell in cells.all]
    expected = {
        "quick": (6, 0, 6, 1),
        "finetune_12": (0, 0, 12, 0),
        "favor_features": (13, 0, 15, 0),
        "lsh_chunks": (19, 0, 21, 0),
        "minbert": (0, 0, 10, 2),
        "peft": (1, 0, 8, 0),
        "pretrain_15x3": (15, 45, 45, 3),
    }[path.stem]
    assert expected == tuple(map(kinds.count, ("pretrain", "tapt", "finetune", "baseline")))
