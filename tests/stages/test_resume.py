"""A run that is killed and resumed equals one that was not, bit for bit, dropout on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxattn.train.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]
STEPS = 60


def start(*flags: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "jaxattn", *flags], cwd=ROOT)


def events(folder: Path) -> list[dict]:
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def kill_after_step(process: subprocess.Popen, folder: Path, step: int, number: int) -> None:
    """Sends the signal once a checkpoint of `step` or later has been written."""
    deadline = time.monotonic() + 240
    while not any(e["event"] == "checkpoint" and e["step"] >= step for e in events(folder)):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint in four minutes"
        time.sleep(0.02)
    os.kill(process.pid, number)


def final_params(folder: Path) -> list[np.ndarray]:
    checkpoints = Checkpoints(folder / "checkpoints", keep=1)
    assert STEPS in checkpoints.steps()
    return jax.tree.leaves(checkpoints.load_params(STEPS))


PACKED = {
    "data.packing": True,
    "data.whole_words": True,
    "train.precision": "float16",
    "train.accumulation": 2,
    "attention.performer_favor.redraw_interval": 8,
}
PLAIN: dict[str, object] = {}
EVERYTHING = {
    "model.num_layers": 2,
    "attention.pattern": "local,performer_favor",
    "attention.local.window": 6,
    "train.precision": "float16",
    "train.loss_scale": 2.0**24,
    "train.loss_scale_steps": 5,
    "train.accumulation": 2,
    "train.optimizer": "schedule_free_adamw",
    "train.remat": "attention",
    "finetune.freeze_blocks": 1,
    "finetune.freeze_share": 0.6,
    "finetune.layer_decay": 0.8,
    "finetune.label_smoothing": 0.1,
    "finetune.class_weights": "balanced",
    "finetune.patience": 7,
}
"""The scale starts so high that steps are skipped; freezing ends after the run is killed."""

IMBALANCED = {
    "finetune.sampling": "balanced",
    "finetune.class_weights": "cats=1,dogs=3",
    "finetune.focal_gamma": 2.0,
}


@pytest.mark.parametrize(
    ("mode", "attention", "number", "options"),
    [
        ("pretrain", "performer_favor", signal.SIGKILL, PACKED),
        ("tapt", "reformer_lsh", signal.SIGKILL, PLAIN),
        pytest.param("finetune", "reformer_lsh", signal.SIGKILL, PLAIN, marks=pytest.mark.slow),
        pytest.param(
            "finetune", "sdpa", signal.SIGTERM, {"train.optimizer": "muon"}, marks=pytest.mark.slow
        ),
        ("finetune", "performer_favor", signal.SIGKILL, EVERYTHING),
        pytest.param("finetune", "sdpa", signal.SIGKILL, IMBALANCED, marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(
    mode: str,
    attention: str,
    number: int,
    options: dict[str, object],
    tiny_flags: list[str],
    tmp_path: Path,
) -> None:
    common = [
        *tiny_flags,
        f"--runs={tmp_path}",
        f"--config.attention.type={attention}",
        # One program instead of two: most of these processes' time is compiling.
        "--config.data.length_buckets=32",
        "--config.tokenizer.vocab_size=100",
    ]
    flags = [
        *common,
        f"--mode={mode}",
        "--config.train.epochs=100",
        f"--config.train.max_steps={STEPS}",
        # 120 examples make 8 steps an epoch: step 11 is in the middle of one.
        "--config.checkpoint.every_steps=11",
        "--config.checkpoint.keep=2",
        *(f"--config.{name}={value}" for name, value in options.items()),
    ]
    if mode == "finetune":
        flags.append("--pretrain=none")
    if mode == "tapt":
        # With another attention than before, and words that the checkpoint does not know.
        flags += ["--pretrain=begin", "--config.attention.allow_change=true"]
        flags.append("--config.tokenizer.extend=3")
        exact = ["--config.attention.type=sdpa", "--config.train.max_steps=4"]
        assert start(*common, *exact, "--mode=pretrain", "--exp=begin").wait() == 0
    assert start(*flags, "--exp=whole").wait() == 0

    killed = start(*flags, "--exp=killed")
    folder = tmp_path / mode / "killed"
    kill_after_step(killed, folder, 11, number)
    code = killed.wait()
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 143)
    assert not (folder / "results.json").exists()
    assert start(*flags, "--exp=killed", "--resume").wait() == 0

    resumed = [event["step"] for event in events(folder) if event["event"] == "resume"]
    assert len(resumed) == 1
    assert 11 <= resumed[0] < STEPS
    whole = tmp_path / mode / "whole"
    for one, other in zip(final_params(whole), final_params(folder), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (whole / "metrics.csv").read_bytes() == (folder / "metrics.csv").read_bytes()
    one, other = (json.loads((f / "results.json").read_text()) for f in (whole, folder))
    for name in ("validation", "best_step", "parameters"):
        assert one[name] == other[name]
    for name in ("test", "stopped_step"):
        assert one.get(name) == other.get(name)
    assert one["cost"]["skipped_steps"] == other["cost"]["skipped_steps"]
    assert one["cost"]["skipped_steps"] or options is not EVERYTHING
