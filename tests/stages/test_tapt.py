"""Task-adaptive pretraining as a user calls it: from a checkpoint, on the task's texts, and on."""

import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml

from jaxattn import cli
from jaxattn.report.collect import collect
from jaxattn.train.checkpoints import Checkpoints


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def flags(tiny_flags: list[str], runs: Path) -> list[str]:
    # One length, one program: most of the time of these runs is compiling.
    return [*tiny_flags, f"--runs={runs}", "--config.data.length_buckets=32"]


@pytest.fixture(scope="module")
def pretrained(flags: list[str], runs: Path) -> Path:
    assert cli.run([*flags, "--mode=pretrain", "--exp=wiki"]) == 0
    return runs / "pretrain" / "wiki"


@pytest.fixture(scope="module")
def adapted(flags: list[str], runs: Path, pretrained: Path) -> Path:
    assert cli.run([*flags, "--mode=tapt", "--exp=task", "--pretrain=wiki"]) == 0
    return runs / "tapt" / "task"


@pytest.fixture(scope="module")
def finetuned(flags: list[str], runs: Path, adapted: Path) -> Path:
    assert cli.run([*flags, "--mode=finetune", "--exp=task", "--pretrain=tapt/task"]) == 0
    return runs / "finetune" / "task"


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def params(folder: Path, step: int) -> list[np.ndarray]:
    return jax.tree.leaves(Checkpoints(folder / "checkpoints", keep=1).load_params(step))


def failed(capsys: pytest.CaptureFixture[str], argv: list[str], *words: str) -> None:
    assert cli.run(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    for word in words:
        assert word in error


def test_it_starts_exactly_from_the_checkpoint(pretrained: Path, adapted: Path) -> None:
    before, after = (read(folder / "results.json") for folder in (pretrained, adapted))
    assert after["validation_at_start"] == before["validation"]
    assert after["validation"]["loss"] < before["validation"]["loss"]
    assert after["pretrain_hash"] == before["best_hash"]
    assert after["kind"] == "tapt"


def test_its_folder_is_that_of_a_pretraining(pretrained: Path, adapted: Path) -> None:
    assert {path.name for path in adapted.iterdir()} == {path.name for path in pretrained.iterdir()}
    saved = yaml.safe_load((adapted / "config.yaml").read_text())
    assert saved["pretrain"] == f"wiki@{read(pretrained / 'results.json')['best_step']}"
    names = ("tokenizer.json", "tokenizer.json")
    assert (adapted / names[0]).read_bytes() == (pretrained / names[1]).read_bytes()


def test_fine_tuning_records_the_chain_and_its_costs(
    pretrained: Path, adapted: Path, finetuned: Path
) -> None:
    stages = read(finetuned / "results.json")["stages"]
    assert [stage["kind"] for stage in stages] == ["pretrain", "tapt", "finetune"]
    assert [stage["attention"] for stage in stages] == ["sdpa"] * 3
    for stage, folder in zip(stages, (pretrained, adapted, finetuned), strict=True):
        assert stage["cost"] == read(folder / "results.json")["cost"]
    record = next(r for r in collect(finetuned.parents[1]) if r.kind == "finetune")
    assert record.pretrain == "tapt/task"
    assert record.stages == "pretrain wiki (sdpa) > tapt task (sdpa) > finetune task (sdpa)"
    seconds = [stage["cost"]["train_seconds"] for stage in stages]
    assert record.pretrain_seconds == pytest.approx(sum(seconds[:2]))


def test_the_encoder_comes_from_the_run_that_is_named(
    flags: list[str], runs: Path, adapted: Path
) -> None:
    call = [*flags, "--mode=finetune", "--config.train.max_steps=1"]
    still = "--config.train.learning_rate=1e-12"
    for source in ("wiki", "tapt/task"):
        exp = f"from_{source.replace('/', '_')}"
        assert cli.run([*call, still, f"--exp={exp}", f"--pretrain={source}"]) == 0
        kind = "tapt" if "/" in source else "pretrain"
        origin = runs / kind / source.rpartition("/")[2]
        found = Checkpoints(runs / "finetune" / exp / "checkpoints", 1).load_params(1)
        wanted = Checkpoints(origin / "checkpoints", 1).load_params(
            read(origin / "results.json")["best_step"]
        )
        pairs = zip(
            jax.tree.leaves(found["encoder"]), jax.tree.leaves(wanted["encoder"]), strict=True
        )
        for one, other in pairs:
            np.testing.assert_allclose(one, other, atol=1e-9)


def test_replay_and_compare_know_the_kind(
    finetuned: Path, adapted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["--mode=replay", f"--run={adapted}"]) == 0
    said = capsys.readouterr().out
    assert "results equal those of" in said
    assert "metrics.csv is identical" in said
    runs = adapted.parents[1]
    assert cli.run(["--mode=compare", f"--runs={runs}"]) == 0
    assert "TAPT on animals" in capsys.readouterr().out
    with open(runs / "report" / "results.csv", newline="") as file:
        table = {(row["kind"], row["exp"]): row for row in csv.DictReader(file)}
    assert table["tapt", "task"]["rank"] == ""
    assert table["finetune", "task"]["rank"]


def test_resume_needs_the_checkpoint_it_was_begun_from(
    flags: list[str], adapted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [*flags, "--mode=tapt", "--exp=task"]
    before = (adapted / "events.jsonl").read_bytes()
    failed(capsys, [*call, "--pretrain=wiki"], "already exists", "--resume")
    assert cli.run([*call, "--pretrain=wiki", "--resume"]) == 0
    assert (adapted / "events.jsonl").read_bytes() == before
    failed(capsys, [*call, "--resume", "--config.train.seed=4"], "train.seed", "begun with 0")
    path, status = adapted / "config.yaml", adapted / "status.json"
    saved, state, manifest = (p.read_text() for p in (path, status, adapted / "manifest.json"))
    path.write_text(saved.replace("pretrain_hash: ", "pretrain_hash: 0"))
    status.write_text(state.replace("finished", "interrupted"))
    failed(capsys, [*call, "--resume"], "pretrain_hash is", "but was")
    (adapted / "manifest.json").unlink()
    failed(capsys, [*call, "--resume"], "--pretrain=wiki@", "no longer the one")
    path.write_text(saved)
    status.write_text(state)
    (adapted / "manifest.json").write_text(manifest)


def test_bad_calls_are_told(
    flags: list[str], adapted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [*flags, "--mode=tapt", "--exp=other"]
    failed(capsys, call, "--pretrain")
    failed(capsys, [*call, "--pretrain=none"], "--mode=pretrain")
    failed(capsys, [*call, "--pretrain=wkii"], "no such pretrain run", "wiki")
    failed(capsys, [*call, "--pretrain=task"], "no such pretrain run", "say tapt/task")
    failed(capsys, [*call, "--pretrain=finetune/task"], "finetune/", "tapt/<exp>")
    failed(capsys, [*call, "--pretrain=tapt/task@7"], "no checkpoint of step 7")
    failed(capsys, [*call, "--pretrain=wiki", "--config.model.mlp_dim=8"], "model.mlp_dim")
    assert not (adapted.parent / "other").exists()
