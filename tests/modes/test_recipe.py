"""Three stages as one command: run once, skipped while unchanged, never overwritten."""

import json
import shutil
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.errors import InputError
from jaxattn.sweeps.chain import source_of_call
from jaxattn.sweeps.recipe import recipe_calls
from tests.earlier_version import unsigned

KINDS = ("pretrain", "tapt", "finetune")


@pytest.fixture(scope="module")
def data(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of its own, to be changed."""
    return shutil.copytree(corpus, tmp_path_factory.mktemp("own") / "corpus")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def flags(tiny_flags: list[str], runs: Path, data: Path) -> list[str]:
    more = ["--config.data.length_buckets=32", "--config.train.epochs=1"]
    return [
        *tiny_flags, *more, f"--config.data.path={data}", f"--runs={runs}", "--mode=recipe",
        "--exp=r",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(flags: list[str], runs: Path) -> Path:
    """Made in two calls: the pretraining, then what was missing."""
    assert cli.run([*flags, "--config.recipe.stages=pretrain"]) == 0
    assert (runs / "pretrain" / "r" / "results.json").exists()
    assert not (runs / "tapt").exists()
    assert cli.run(flags) == 0
    return runs


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def events(runs: Path) -> list[bytes]:
    return [(runs / kind / "r" / "events.jsonl").read_bytes() for kind in KINDS]


def refused(capsys: pytest.CaptureFixture[str], argv: list[str], *words: str) -> None:
    """Exit code 2 and one sentence, before any stage was run."""
    assert cli.run(argv) == 2
    said = capsys.readouterr().err
    assert "[1/" not in said
    for word in words:
        assert word in said.strip().splitlines()[-1]


def test_each_stage_starts_from_the_one_before() -> None:
    calls = recipe_calls("x", KINDS, "", "wiki_files")
    assert calls == [
        ("--mode=pretrain", "--exp=x", "--config.data.path=wiki_files"),
        ("--mode=tapt", "--exp=x", "--pretrain=x"),
        ("--mode=finetune", "--exp=x", "--pretrain=tapt/x"),
    ]
    assert [source_of_call(call) for call in calls] == [(), calls[0][:2], calls[1][:2]]
    later = recipe_calls("x", ("tapt", "finetune"), "wiki@40", "")
    assert later[0] == ("--mode=tapt", "--exp=x", "--pretrain=wiki@40")
    assert source_of_call(later[0]) == ("--mode=pretrain", "--exp=wiki")
    assert recipe_calls("x", ("pretrain", "finetune"), "", "")[1][2] == "--pretrain=x"
    with pytest.raises(InputError, match="this recipe pretrains"):
        recipe_calls("x", KINDS, "wiki", "")
    with pytest.raises(InputError, match="needs the run it starts from"):
        recipe_calls("x", ("finetune",), "", "")


def test_a_recipe_leaves_three_runs_and_a_record(finished: Path) -> None:
    record = read(finished / "recipe" / "r" / "recipe.json")
    assert [stage["kind"] for stage in record["stages"]] == list(KINDS)
    pretrain, tapt, finetune = record["stages"]
    assert tapt["pretrain_hash"] == pretrain["best_hash"]
    assert finetune["pretrain_hash"] == tapt["best_hash"]
    assert len({stage["data_hash"] for stage in record["stages"]}) == 2
    results = read(finished / "finetune" / "r" / "results.json")
    assert [stage["exp"] for stage in results["stages"]] == ["r"] * 3
    assert finetune["quality"]["macro_f1"] == results["test"]["macro_f1"]


def test_what_is_there_and_unchanged_is_skipped(
    flags: list[str], finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = events(finished)
    assert cli.run([*flags, "--config.log.every_steps=1"]) == 0
    assert capsys.readouterr().err.count("is there and unchanged") == 3
    assert events(finished) == before


def test_what_changed_is_told_before_anything_runs(
    flags: list[str], finished: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = events(finished)
    refused(capsys, [*flags, "--config.train.seed=3"], "train.seed", "begun with 0", "--exp")
    text = (data / "train.jsonl").read_text()
    (data / "train.jsonl").write_text(text.replace("kitten", "kitty"))
    # The hashes are remembered within a process; this is another one.
    from jaxattn.sweeps.recipe import hash_of_data

    hash_of_data.cache_clear()
    refused(capsys, flags, "pretrain/r", "the data have changed")
    (data / "train.jsonl").write_text(text)
    hash_of_data.cache_clear()
    results = finished / "pretrain" / "r" / "results.json"
    kept = results.read_text()
    results.write_text(json.dumps(json.loads(kept) | {"best_hash": "0"}))
    refused(capsys, flags, "pretrain/r/results.json", "changed since it was finished")
    # Made anew by a version that signed nothing, the same file is whole.
    signed = {
        name: results.with_name(name).read_text() for name in ("manifest.json", "status.json")
    }
    unsigned(results.parent)
    refused(capsys, flags, "tapt/r", "other parameters than", "pretrain/r")
    for name, text in signed.items():
        results.with_name(name).write_text(text)
    results.write_text(kept)
    bad = "--config.recipe.stages=finetune,tapt"
    refused(capsys, [*flags, bad], "recipe.stages", "in this order")
    assert events(finished) == before


def test_an_interrupted_stage_needs_resume_and_the_rest_follows(
    flags: list[str], finished: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As a recipe leaves its folders that is killed in TAPT: no results of it, no fine-tuning."""
    tapt = finished / "tapt" / "r"
    wanted = read(finished / "finetune" / "r" / "results.json")
    shutil.rmtree(finished / "finetune" / "r")
    (tapt / "results.json").unlink()
    status = tapt / "status.json"
    status.write_text(status.read_text().replace("finished", "interrupted"))
    assert cli.run(flags) == 2
    said = capfd.readouterr().err
    assert said.count("is there and unchanged") == 1
    assert "tapt/r already exists; add --resume" in said
    assert cli.run([*flags, "--resume"]) == 0
    again = read(finished / "finetune" / "r" / "results.json")
    for name in ("test", "best_hash", "pretrain_hash", "data_hash"):
        assert again[name] == wanted[name]
