"""Killed at any moment, in start-up, in a step or inside a save, and resumed: the same bits."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxattn.train.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]
STEPS = 40
KILLS = 20


def start(*flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "jaxattn", *flags], cwd=ROOT)


def step_reached(folder: Path) -> int:
    """The last step that has a checkpoint, finished or begun."""
    found = folder.glob("checkpoints/step_????????*")
    return max((int(path.name[5:13]) for path in found), default=0)


def results(folder: Path) -> dict[str, object]:
    read: dict[str, object] = json.loads((folder / "results.json").read_text())
    return {name: read[name] for name in ("validation", "best_step", "best_hash", "data_hash")}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_it_ends_as_if_nothing_had_happened(
    seed: int, tiny_flags: list[str], tmp_path: Path
) -> None:
    flags = [
        *(*tiny_flags, "--mode=pretrain", f"--runs={tmp_path}"),
        *("--config.train.epochs=100", f"--config.train.max_steps={STEPS}"),
        # As much of the time as can be is spent inside saves.
        *("--config.checkpoint.every_steps=1", "--config.data.length_buckets=32"),
    ]
    assert start(*flags, "--exp=whole").wait() == 0
    rng = random.Random(seed)
    folder = tmp_path / "pretrain" / "killed"
    cut_short = 0
    for kill in range(KILLS):
        process = start(*flags, "--exp=killed", *(["--resume"] if folder.exists() else []))
        # Some die in start-up, the others when there is something new to lose.
        wanted = min(step_reached(folder) + 1, STEPS - 2) if kill % 5 else 0
        while process.poll() is None and step_reached(folder) < wanted:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05) if kill % 5 else rng.uniform(0.2, 4))
        process.kill()
        assert process.wait() in (-9, 0)
        begun = {path.name[:13] for path in folder.glob("checkpoints/step_????????*")}
        whole = {f"step_{step:08d}" for step in Checkpoints(folder / "checkpoints", 1).steps()}
        cut_short += bool(begun - whole)
    assert cut_short, "no kill fell into a save"
    last = start(*flags, "--exp=killed", *(["--resume"] if folder.exists() else []))
    assert last.wait() == 0
    assert results(folder) == results(tmp_path / "pretrain" / "whole")
    logs = [
        (tmp_path / "pretrain" / exp / "metrics.csv").read_bytes() for exp in ("whole", "killed")
    ]
    assert logs[0] == logs[1]
    # Nothing is left of the saves that were cut short.
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names == {f"step_{step:08d}" for step in Checkpoints(folder / "checkpoints", 1).steps()}
