"""One real sweep: one cell is killed, one diverges, the rest is finished, nothing is done twice."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.report.collect import collect

SWEEP = """
from jaxattn.config_io import defaults

def get_config():
    return defaults()

def get_sweep():
    return {
        "pretrain": {
            "grid": {
                "how": {
                    "well": {"train.epochs": 1},
                    "long": {"train.epochs": 100000, "checkpoint.every_epochs": 0},
                    "wild": {
                        "train.learning_rate": 10.0, "train.clip_norm": 1e30,
                        "train.weight_decay": 1e6, "train.epochs": 400,
                    },
                }
            }
        },
        "finetune": {"from": "pretrain", "options": {"train.epochs": 1}},
    }
"""


def kill(folder: Path) -> None:
    """SIGKILL to the process that writes `folder`, once it trains."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        metrics = folder / "metrics.csv"
        if metrics.exists() and metrics.read_text().count("\n") > 1:
            os.kill(json.loads((folder / "status.json").read_text())["pid"], signal.SIGKILL)
            return
        time.sleep(0.05)


@pytest.mark.slow
def test_a_sweep_survives_a_killed_and_a_diverged_run(
    tiny_flags: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, runs = tmp_path / "s.py", tmp_path / "runs"
    file.write_text(SWEEP)
    flags = [flag for flag in tiny_flags if not flag.startswith("--config=")]
    argv = ["--mode=sweep", f"--config={file}", f"--runs={runs}", *flags]
    argv.append("--config.sweep.parallel=2")
    killer = threading.Thread(target=kill, args=(runs / "pretrain" / "s_long",))
    killer.start()
    code = cli.run(argv)
    killer.join()
    said = capfd.readouterr().err
    assert code == 1, said
    states = {record.exp + " " + record.kind: record for record in collect(runs)}
    assert states["s_well pretrain"].finished
    assert states["s_well finetune"].finished
    assert states["s_long pretrain"].reason.startswith("killed by SIGKILL")
    assert "nan" in states["s_wild pretrain"].reason or "inf" in states["s_wild pretrain"].reason
    assert len(states) == 4
    assert "finetune/s_long: left out: pretrain/s_long: failed" in said
    assert "step" in (runs / "sweep" / "s" / "logs" / "pretrain-s_well.log").read_text()

    def events() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in runs.rglob("events.jsonl")}

    before = events()
    assert cli.run(argv) == 1
    assert events() == before
    assert "2 finished, 2 failed, 2 left out" in capfd.readouterr().err
