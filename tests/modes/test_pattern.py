"""A model whose layers have different attentions, from pretraining to a report and an export."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxattn import cli, load
from jaxattn.config import Config, attention_of, replace
from jaxattn.errors import InputError
from jaxattn.report.collect import collect
from jaxattn.runs.folder import RunFolder

LABEL = "local-performer_favor"
OPTIONS = {
    "model.num_layers": 3,
    "attention.pattern": "local,performer_favor",
    "attention.local.window": 8,
    "attention.performer_favor.redraw_interval": 3,
    "train.epochs": 1,
    "data.length_buckets": 32,
}


@pytest.fixture(scope="module")
def flags(tiny_flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    runs = tmp_path_factory.mktemp("pattern") / "runs"
    own = [f"--config.{name}={value}" for name, value in OPTIONS.items()]
    return [*tiny_flags, *own, f"--runs={runs}"]


@pytest.fixture(scope="module")
def runs(flags: list[str]) -> Path:
    """Pretrained and fine-tuned with the pattern."""
    assert cli.run(["pretrain", "--exp=p", *flags]) == 0
    assert cli.run(["finetune", "--exp=f", "--pretrain=p", *flags]) == 0
    return Path(flags[-1].removeprefix("--runs="))


def test_every_stage_has_it_and_says_so(runs: Path) -> None:
    for kind, exp in (("pretrain", "p"), ("finetune", "f")):
        folder = RunFolder(runs, kind, exp)
        config, _ = folder.saved.config()
        layers = [name for name, _ in config.attention.of_layers(3)]
        assert layers == ["local", "performer_favor", "local"]
        results = json.loads((folder.path / "results.json").read_text())
        assert results["attention"] == LABEL
        told = results["stages"][-1]
        assert told["attention"] == LABEL
        assert told["attention_options"]["local"] == {"window": 8}
        assert told["attention_options"]["performer_favor"]["redraw_interval"] == 3
        environment = folder.environment()["attention_implementations"]
        assert environment["32"].startswith("performer_favor:xla (")


def test_the_report_has_a_column_of_it(
    runs: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (record,) = (record for record in collect(runs) if record.kind == "finetune")
    assert record.attention == LABEL and record.implementation == "performer_favor:xla"
    assert record.attention_options["local.window"] == 8
    assert record.attention_options["performer_favor.redraw_interval"] == 3
    assert not any(name.startswith(("sdpa", "reformer_lsh")) for name in record.attention_options)
    assert cli.run(["compare", f"--runs={runs}"]) == 0
    assert LABEL in capsys.readouterr().out


def test_an_export_answers_the_same(runs: Path, tmp_path: Path) -> None:
    texts = ["the kitten slept", "a very small puppy and a bark", "meow " * 40]
    own = load(runs / "finetune" / "f").predict_proba(texts)
    output = tmp_path / "exported"
    assert cli.run(["export", f"--runs={runs}", "--exp=f", f"--output={output}"]) == 0
    np.testing.assert_array_equal(load(output).predict_proba(texts), own)
    assert LABEL in (output / "README.md").read_text()


def test_an_exchange_towards_it_is_recorded(runs: Path, flags: list[str]) -> None:
    """From the pattern to one attention everywhere, with keys that LSH drops no longer there."""
    one = ["--config.attention.pattern=", "--config.attention.allow_change=true"]
    assert cli.run(["tapt", "--exp=t", "--pretrain=p", *flags[:-1], *one, flags[-1]]) == 0
    change = json.loads((runs / "tapt" / "t" / "results.json").read_text())["attention_change"]
    assert (change["from"], change["to"]) == (LABEL, "sdpa")


def test_the_plan_knows_it(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", "--exp=q", *flags, "--config.plan.seconds=1"]) == 0
    assert LABEL in capsys.readouterr().out


def test_a_single_type_beside_a_pattern_is_refused(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pattern.py"
    path.write_text(
        "from jaxattn.config import defaults\n\n"
        "def get_config():\n"
        "    config = defaults()\n"
        "    config.attention.pattern = ('local', 'sdpa')\n"
        "    return config\n"
    )
    asked = ["--config.attention.type=reformer_lsh", f"--runs={tmp_path}"]
    assert cli.run(["pretrain", "--exp=x", f"--config={path}", *asked]) == 2
    error = capsys.readouterr().err
    assert "attention.pattern = local,sdpa" in error and "--config.attention.pattern=" in error


def test_a_study_is_told_its_patterns_by_name(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["study", "--exp=s", *flags]) == 2
    assert f"--config.study.attentions=sdpa,{LABEL}" in capsys.readouterr().err


def test_a_study_refuses_a_pattern_before_it_trains_anything(
    tiny_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [f"--runs={tmp_path / 'runs'}", "--config.study.attentions=sdpa,local-sdpa"]
    assert cli.run(["study", "--exp=s", *tiny_flags, *asked]) == 2
    error = capsys.readouterr().err
    assert "attention.pattern: found 2 attentions, allowed: at most model.num_layers = 1" in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attention.pattern": ("local", "lsh")}, "did you mean|allowed: sdpa"),
        ({"attention.pattern": ("local",) * 9, "model.num_layers": 4}, "found 9 attentions"),
        (
            {"attention.pattern": ("performer_favor", "reformer_lsh")},
            "performer_favor every 1000, reformer_lsh every 1",
        ),
        (
            {"attention.pattern": ("sdpa", "reformer_lsh"), "model.attention_dropout": 0.1},
            "reformer_lsh attention: 0.0",
        ),
        ({"study.attentions": ("sdpa", "local-lhs")}, "'local-lhs', allowed: .* in turn"),
    ],
)
def test_what_fits_nowhere_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(Config(), options)


def test_labels_and_patterns_are_one() -> None:
    config = replace(Config(), attention_of("local-local-sdpa"))
    assert config.attention.label == "local-local-sdpa"
    assert config.attention.pattern == ("local", "local", "sdpa")
    assert replace(config, attention_of("sdpa")).attention.label == "sdpa"
    # A pattern of one name is that attention everywhere.
    same = replace(Config(), {"attention.pattern": ("local", "local")}).attention
    assert same.label == "local"
    assert same.of_layers(3) == replace(Config(), attention_of("local")).attention.of_layers(3)
