"""Runs that train a part of the parameters: what they save, need, resume and merge into."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxattn import cli
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.finetune import finetune
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.job import InterruptedRun
from tests.earlier_version import unsigned


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def flags(tiny_flags: list[str], runs: Path) -> list[str]:
    more = {
        "attention.type": "reformer_lsh",
        "data.length_buckets": 32,
        "model.max_seq_len": 48,
        "model.hidden_dim": 64,
        "model.mlp_dim": 512,
        "peft.r": 2,
        "peft.dropout": 0.2,
        "peft.n_tokens": 5,
        "train.max_steps": 12,
    }
    return [*tiny_flags, f"--runs={runs}", *(f"--config.{n}={v}" for n, v in more.items())]


@pytest.fixture(scope="module")
def base(flags: list[str], runs: Path) -> Path:
    argv = [*flags, "--config.train.max_steps=2", "--mode=pretrain", "--exp=first"]
    assert cli.run(argv) == 0
    return runs / "pretrain" / "first"


def begin(flags: list[str], runs: Path, method: str, exp: str) -> Path:
    argv = [*flags, "--mode=finetune", f"--exp={exp}", "--pretrain=first"]
    assert cli.run([*argv, f"--config.peft.method={method}"]) == 0
    return runs / "finetune" / exp


@pytest.fixture(scope="module")
def lora(flags: list[str], runs: Path, base: Path) -> Path:
    return begin(flags, runs, "lora", "lora")


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def failed(capsys: pytest.CaptureFixture[str], argv: list[str], *words: str) -> None:
    """The call has to end with exit code 2 and one sentence."""
    assert cli.run(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    for word in words:
        assert word in error


def predicted(runs: Path, exp: str, source: Path, out: Path) -> np.ndarray:
    argv = ["--mode=predict", f"--exp={exp}", f"--runs={runs}", f"--input={source}"]
    assert cli.run([*argv, f"--output={out}"]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    return np.array([list(line["probabilities"].values()) for line in lines])


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_counts_are_recorded(lora: Path) -> None:
    results = read(lora / "results.json")
    # LSH shares queries and keys: one block's query and value, and a head of two classes.
    added = 2 * 2 * (64 + 16)
    assert results["peft"] == "lora" and results["added_parameters"] == added
    assert results["trainable_parameters"] == added + (64 + 1) * 2
    counted = read(lora / "environment.json")["parameters"]
    assert counted == {
        "total": results["parameters"],
        "trainable": results["trainable_parameters"],
        "added": added,
    }


def test_a_checkpoint_holds_the_change_and_not_the_base(lora: Path, base: Path) -> None:
    step = read(lora / "results.json")["best_step"]
    checkpoints = Checkpoints(lora / "checkpoints", keep=1)
    params = checkpoints.load_params(step)
    held = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert held == read(lora / "results.json")["trainable_parameters"]
    document = checkpoints.document(step)
    assert document["base"].startswith("first@") and len(document["base_hash"]) == 64
    whole = max((base / "checkpoints").iterdir())
    ours = lora / "checkpoints" / f"step_{step:08d}"
    assert size(ours) < size(whole) / 5


def test_eval_predict_and_merge_agree(
    lora: Path, runs: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["--mode=eval", "--exp=lora", f"--runs={runs}"]) == 0
    assert read(lora / "evaluation.json")["test"] == read(lora / "results.json")["test"]
    assert cli.run(["--mode=merge", "--exp=lora", f"--runs={runs}"]) == 0
    merged = runs / "finetune" / "lora_merged"
    results = read(merged / "results.json")
    assert results["parameters"] == read(lora / "results.json")["parameters"] - 320
    source = corpus / "test.jsonl"
    ours, theirs = (
        predicted(runs, exp, source, tmp_path / f"{exp}.jsonl") for exp in ("lora", "lora_merged")
    )
    assert ours.shape == (40, 2)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    failed(capsys, ["--mode=merge", "--exp=lora", f"--runs={runs}"], "lora_merged", "--output")
    failed(capsys, ["--mode=merge", "--exp=lora_merged", f"--runs={runs}"], "nothing to merge")
    failed(capsys, ["--mode=replay", f"--run={merged}"], "merged from lora")
    # The merged run needs its base no more, and a comparison counts it once.
    moved = runs / "pretrain" / "elsewhere"
    (runs / "pretrain" / "first").rename(moved)
    try:
        assert cli.run(["--mode=eval", "--exp=lora_merged", f"--runs={runs}"]) == 0
        failed(capsys, ["--mode=eval", "--exp=lora", f"--runs={runs}"], "lora", "first", "base")
    finally:
        moved.rename(runs / "pretrain" / "first")


def test_another_base_is_refused(
    lora: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parameters of the same shapes under the name of the base."""
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    checkpoints = Checkpoints(copy / "pretrain" / "first" / "checkpoints", keep=1)
    step = int(Checkpoints(lora / "checkpoints", 1).document(12)["base"].partition("@")[2])
    state = {"params": jax.tree.map(lambda x: x + 0.01, checkpoints.load_params(step))}
    checkpoints.save(step, state, checkpoints.document(step), step)
    call = ["--mode=eval", "--exp=lora", f"--runs={copy}"]
    failed(capsys, call, f"first/checkpoints/step_{step:08d}/manifest.json: changed since")
    # A base of an earlier version has no manifest.
    unsigned(copy / "pretrain" / "first")
    failed(capsys, call, "first@", "other parameters")


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", []),
        pytest.param(
            "adapter", ["--config.train.optimizer=schedule_free_adamw"], marks=pytest.mark.slow
        ),
        pytest.param("soft_prompt", ["--config.train.precision=float16"], marks=pytest.mark.slow),
    ],
)
def test_stopped_and_resumed_equals_uninterrupted(
    method: str, options: list[str], flags: list[str], runs: Path, lora: Path
) -> None:
    argv = [*flags, *options]
    whole = lora if method == "lora" else begin(argv, runs, method, method)
    config, extra = RunFolder(runs, "finetune", whole.name).saved.config()
    halved = RunFolder(runs, "finetune", f"{method}_halved")
    with pytest.raises(InterruptedRun):
        finetune(halved, config, runs, extra["pretrain"], stop_after=5)
    assert 5 in Checkpoints(halved.path / "checkpoints", 1).steps()
    resume = ["--mode=finetune", f"--exp={halved.exp}", f"--runs={runs}", "--resume"]
    assert cli.run(resume) == 0
    one, other = (Checkpoints(f / "checkpoints", 1).load_params(12) for f in (whole, halved.path))
    for old, new in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(old, new)
    assert (whole / "metrics.csv").read_bytes() == (halved.path / "metrics.csv").read_bytes()
    for name in ("test", "best_hash"):
        assert read(whole / "results.json")[name] == read(halved.path / "results.json")[name]


def test_what_cannot_be_merged_or_begun_is_told(
    flags: list[str], runs: Path, lora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*flags, "--mode=finetune", "--exp=none", "--config.peft.method=adapter"]
    failed(capsys, [*argv, "--pretrain=none"], "--pretrain=none", "adapter")
    assert not (runs / "finetune" / "none").exists()
    missing = ["--pretrain=first", "--config.peft.targets=key", "--config.peft.method=lora"]
    failed(capsys, [*argv, *missing], "'key'", "out, query, up, value")
    assert not (runs / "finetune" / "none").exists()
    changed = ["--mode=finetune", "--exp=lora", "--resume", "--config.peft.r=3"]
    failed(capsys, [*flags, "--config.peft.method=lora", *changed], "peft.r", "found 3")
    other = runs / "finetune" / "adapted"
    other.mkdir(parents=True)
    text = (lora / "resolved_config.yaml").read_text()
    (other / "resolved_config.yaml").write_text(text.replace("method: lora", "method: adapter"))
    failed(capsys, ["--mode=merge", "--exp=adapted", f"--runs={runs}"], "adapted", "an adapter")
    shutil.rmtree(other)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "adapter", "soft_prompt", "head_only"])
def test_two_devices_train_the_same_part(
    flags: list[str], runs: Path, base: Path, method: str
) -> None:
    """Dropout on; rows over two devices, then kernels too, against one device."""
    one = begin(flags, runs, method, f"{method}_one")
    wanted = losses(one)
    assert len(wanted) > 3
    for mesh in ("2x1", "1x2"):
        data, fsdp = mesh.split("x")
        exp = f"{method}_{mesh}"
        argv = [*flags, "--mode=finetune", f"--exp={exp}", "--pretrain=first"]
        more = {"peft.method": method, "train.mesh_data": data, "train.mesh_fsdp": fsdp}
        argv += [f"--config.{name}={value}" for name, value in more.items()]
        environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
        subprocess.run([sys.executable, "-m", "jaxattn", *argv], env=environment, check=True)
        # Sums over a divided axis are added up in another order.
        np.testing.assert_allclose(losses(runs / "finetune" / exp), wanted, rtol=1e-3)


def losses(run: Path) -> list[float]:
    with open(run / "metrics.csv") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]
