"""A later stage with another attention than the one before: refused, or asked for and recorded."""

import json
from pathlib import Path

import pytest

from jaxattn import cli

LSH = "--config.attention.type=reformer_lsh"
FAVOR = "--config.attention.type=performer_favor"
ALLOWED = "--config.attention.allow_change=true"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def flags(tiny_flags: list[str], runs: Path) -> list[str]:
    more = ["--config.data.length_buckets=32", "--config.train.epochs=1"]
    return [*tiny_flags, f"--runs={runs}", *more]


@pytest.fixture(scope="module")
def exact(flags: list[str], runs: Path) -> Path:
    argv = [*flags, "--mode=pretrain", "--exp=exact", "--config.model.attention_dropout=0.1"]
    assert cli.run(argv) == 0
    return runs


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "change", [FAVOR, "--config.attention.sdpa.implementation=xla"], ids=["type", "option"]
)
def test_another_attention_is_refused_with_a_hint(
    flags: list[str], exact: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*flags, "--pretrain=exact", "--exp=no", change, "--config.model.attention_dropout=0.1"]
    for mode in ("tapt", "finetune"):
        assert cli.run([*argv, f"--mode={mode}"]) == 2
        error = last_line(capsys)
        assert "the pretraining run has" in error
        assert "attention.allow_change=true" in error
    assert not (exact / "tapt" / "no").exists()


# The command line prints what it warns of, and this test reads it there.
@pytest.mark.filterwarnings("default:.*projections of keys:UserWarning")
def test_every_stage_may_have_its_own(
    flags: list[str], exact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exact, then FAVOR+, then LSH, whose queries are its keys; only this is warned of."""
    tapt = [*flags, "--mode=tapt", "--exp=mixed", "--pretrain=exact", FAVOR, ALLOWED]
    assert cli.run(tapt) == 0
    assert "projections of keys" not in capsys.readouterr().err
    finetune = [*flags, "--mode=finetune", "--exp=mixed", "--pretrain=tapt/mixed", LSH]
    dropout = "--config.model.attention_dropout=0.0"
    assert cli.run([*finetune, dropout]) == 2
    # The permission was the TAPT's own and is not inherited.
    assert "attention.allow_change=true" in last_line(capsys)
    assert cli.run([*finetune, dropout, ALLOWED]) == 0
    said = capsys.readouterr().err
    assert said.count("projections of keys are dropped") == 1
    results = json.loads((exact / "finetune" / "mixed" / "results.json").read_text())
    attentions = [stage["attention"] for stage in results["stages"]]
    assert attentions == ["sdpa", "performer_favor", "reformer_lsh"]
    assert results["stages"][1]["attention_options"]["features"] == "positive"
    assert results["stages"][2]["attention_options"]["num_hashes"] == 2
    assert cli.run(["--mode=eval", "--exp=mixed", f"--runs={exact}"]) == 0
