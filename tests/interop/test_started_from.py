"""--pretrain=<folder or hub id>: the encoder becomes a run, once, and the same one every time."""

import json
import shutil
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.errors import InputError
from jaxattn.stages.start import imported_name, is_published, started_from
from tests.hub_server import HubServer

NAME = "some-one/tiny-bert"


def write_words(folder: Path) -> Path:
    """Texts of the words that the tiny BERT knows."""
    folder.mkdir()
    for split in ("train", "validation", "test"):
        letters = [f"{split[1]} {'abcdefgh'[n % 8]} {'abcdefgh'[n // 8]} ds" for n in range(60)]
        rows = [{"text": text, "label": "xy"[n % 2]} for n, text in enumerate(letters)]
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


@pytest.mark.parametrize(
    ("given", "published"),
    [("some-one/bert", True), ("./bert", True), ("~/bert", True), ("none", False), ("", False),
     ("tapt/imdb", False), ("pretrain/wiki@3", False), ("wiki", False), ("wiki@3", False)],
)  # fmt: skip
def test_what_is_no_run(given: str, published: bool, tmp_path: Path) -> None:
    assert is_published(tmp_path, given) == published


def test_names_are_those_of_folders_that_can_be() -> None:
    assert imported_name("google-bert/bert-base-uncased") == "bert-base-uncased"
    assert imported_name("a/b", "refs/pr/1") == "b-refs-pr-1"
    assert imported_name("/models/My BERT!/") == "My-BERT-"
    assert imported_name("x" * 100) == "x" * 64


def test_a_folder_is_imported_once(bert_folder: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    exp = started_from(runs, str(bert_folder))
    results = runs / "pretrain" / exp / "results.json"
    written = results.stat().st_mtime_ns
    assert started_from(runs, str(bert_folder)) == exp
    assert started_from(runs, exp) == exp
    assert results.stat().st_mtime_ns == written


def test_another_encoder_of_that_name_is_told(bert_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / bert_folder.name
    shutil.copytree(bert_folder, other)
    runs = tmp_path / "runs"
    started_from(runs, str(bert_folder))
    with pytest.raises(InputError, match=r"is another run; import it under a name of its own"):
        started_from(runs, str(other))


def test_a_hub_id_is_asked_for_once(
    hub_server: HubServer, bert_folder: Path, tmp_path: Path
) -> None:
    hub_server.add(NAME).commit(bert_folder)
    assert started_from(tmp_path, NAME) == "tiny-bert"
    asked = len(hub_server.sent())
    assert started_from(tmp_path, NAME) == "tiny-bert"
    assert len(hub_server.sent()) == asked
    with pytest.raises(InputError, match="is a run; a revision is for an id of the hub"):
        started_from(tmp_path, "tiny-bert", "main")


def given(tmp_path: Path, **more: object) -> list[str]:
    """Flags of one short epoch on a few texts, from an encoder of twelve positions."""
    data = tmp_path / "data"
    options = {"data.path": data if data.exists() else write_words(data), "data.max_length": 8,
               "data.length_buckets": "8,", "train.epochs": 1, "train.batch_size": 8,
               "study.adapt_steps": 3} | more  # fmt: skip
    config = Path(__file__).parents[2] / "configs" / "published.py"
    flags = [f"--config.{name}={value}" for name, value in options.items()]
    return [f"--config={config}", f"--runs={tmp_path / 'runs'}", *flags, "--exp=s"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "head_only"])
def test_a_part_of_it_is_trained_with_each_attention(
    bert_folder: Path, tmp_path: Path, method: str
) -> None:
    argv = given(tmp_path, **{"peft.method": method, "peft.r": 2})
    assert cli.run(["study", f"--pretrain={bert_folder}", *argv]) == 0
    found = [json.loads(p.read_text()) for p in (tmp_path / "runs").glob("finetune/*/results.json")]
    assert sorted(r["attention"] for r in found) == ["performer_favor", "reformer_lsh", "sdpa"]
    for results in found:
        assert results["peft"] == method
        assert results["trainable_parameters"] < results["parameters"] / 2


def test_a_recipe_starts_from_a_folder(bert_folder: Path, tmp_path: Path) -> None:
    argv = given(tmp_path, **{"recipe.stages": "finetune,"})
    assert cli.run(["recipe", f"--pretrain={bert_folder}", *argv]) == 0
    stages = json.loads((tmp_path / "runs/finetune/s/results.json").read_text())["stages"]
    assert [stage["exp"] for stage in stages] == [bert_folder.name, "s"]


def test_a_sweep_starts_from_a_folder(
    bert_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every attention in a grid, exchanged at fine-tuning."""
    published = Path(__file__).parents[2] / "configs" / "published.py"
    grid = {"attention.type": ["sdpa", "performer_favor"]}
    options = {"attention.allow_change": True, "model.attention_dropout": 0.0}
    group = {"grid": grid, "options": options}
    config = tmp_path / "grid.py"
    config.write_text(
        f"{published.read_text()}\n\ndef get_sweep():\n    return {{'finetune': {group!r}}}\n"
    )
    argv = [f"--config={config}", *given(tmp_path)[1:], "--config.plan.seconds=1"]
    assert cli.run(["sweep", f"--pretrain={bert_folder}", *argv, "--dry_run"]) == 0
    assert capsys.readouterr().out.count("performer_favor") >= 1


def test_the_folder_of_a_run_is_told_by_its_name(bert_folder: Path, tmp_path: Path) -> None:
    exp = started_from(tmp_path, str(bert_folder))
    with pytest.raises(InputError, match=rf"the folder of a run; give its name, {exp}$"):
        started_from(tmp_path, str(tmp_path / "pretrain" / exp))


def test_a_folder_that_is_no_model_is_told_without_another_flag(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no config.json in it") as caught:
        started_from(tmp_path / "runs", str(tmp_path / "empty"))
    assert "--input" not in str(caught.value)


TWO = {"study.attentions": "sdpa,performer_favor", "study.baselines": "tfidf"}


def test_stages_start_from_a_folder(bert_folder: Path, tmp_path: Path) -> None:
    """A whole study: each attention in the encoder, adapted where it was exchanged."""
    argv, runs = given(tmp_path, **TWO), tmp_path / "runs"
    assert cli.run(["study", f"--pretrain={bert_folder}", *argv]) == 0
    found = {
        f"{path.parent.parent.name}/{path.parent.name}": json.loads(path.read_text())
        for path in runs.glob("*/*/results.json")
    }
    stages = {"finetune/s_sdpa", "tapt/s_performer_favor", "finetune/s_performer_favor"}
    assert found.keys() == {f"pretrain/{bert_folder.name}", "baseline/s_tfidf", *stages}
    kinds = [stage["kind"] for stage in found["finetune/s_sdpa"]["stages"]]
    assert kinds == ["pretrain", "finetune"]
    kinds = [stage["kind"] for stage in found["finetune/s_performer_favor"]["stages"]]
    assert kinds == ["pretrain", "tapt", "finetune"]
    adapted = found["tapt/s_performer_favor"]
    assert adapted["cost"]["steps"] == 3
    assert adapted["attention_change"]["objective"] == "distill"
    assert cli.run(["study", f"--pretrain={bert_folder}", *argv, "--resume"]) == 0
