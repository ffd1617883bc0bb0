"""The same sweep on a Ray cluster of this machine, with a worker killed in the middle."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.report.collect import collect

pytest.importorskip("ray")

SWEEP = """
from jaxattn.config_io import defaults

def get_config():
    return defaults()

def get_sweep():
    return {
        "pretrain": {"options": {"train.epochs": 40, "checkpoint.every_steps": 5},
                     "grid": {"train.seed": [0, 1]}},
        "finetune": {"from": "pretrain", "options": {"train.epochs": 1}},
    }
"""


def kill(folder: Path) -> None:
    """SIGKILL to the worker that writes `folder`, once there is a checkpoint to go on from."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        events = folder / "events.jsonl"
        if events.exists() and '"checkpoint"' in events.read_text():
            os.kill(json.loads((folder / "status.json").read_text())["pid"], signal.SIGKILL)
            return
        time.sleep(0.02)


@pytest.mark.slow
def test_a_sweep_on_ray_survives_a_killed_worker(
    tiny_flags: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, runs = tmp_path / "s.py", tmp_path / "runs"
    file.write_text(SWEEP)
    flags = [flag for flag in tiny_flags if not flag.startswith("--config=")]
    argv = ["--mode=sweep", f"--config={file}", f"--runs={runs}", *flags]
    argv += ["--config.sweep.executor=ray", "--config.sweep.parallel=2"]
    killer = threading.Thread(target=kill, args=(runs / "pretrain" / "s_seed0",))
    killer.start()
    code = cli.run(argv)
    killer.join()
    said = capfd.readouterr().err
    assert code == 1, said
    records = {(record.kind, record.exp): record for record in collect(runs)}
    assert records["pretrain", "s_seed0"].state == "failed"
    assert "Ray worker died" in records["pretrain", "s_seed0"].reason
    assert records["finetune", "s_seed1"].finished
    assert "finetune/s_seed0: left out: pretrain/s_seed0: failed" in said
    before = (runs / "pretrain" / "s_seed1" / "events.jsonl").read_bytes()

    assert cli.run([*argv, "--resume"]) == 0, capfd.readouterr().err
    events = (runs / "pretrain" / "s_seed0" / "events.jsonl").read_text()
    assert '"event": "resume"' in events
    assert (runs / "pretrain" / "s_seed1" / "events.jsonl").read_bytes() == before
    assert all(record.finished for record in collect(runs))
