"""--mode=profile as a user calls it: files, numbers that fit together, errors in one sentence."""

import csv
import json
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.profile.measure import shapes_of, step_config
from jaxattn.profile.trace import read_events
from jaxattn.profile.variants import variants

QUICK = [
    "--mode=profile",
    "--config.profile.lengths=16",
    "--config.profile.repeats=2",
    "--config.profile.seconds=600",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def flags(tiny_flags: list[str], runs: Path) -> list[str]:
    return [*tiny_flags, f"--runs={runs}"]


@pytest.fixture(scope="module")
def finetuned(flags: list[str]) -> str:
    """A classifier with exact attention."""
    more = ["--config.train.max_steps=1", "--config.data.length_buckets=32", "--pretrain=none"]
    assert cli.run([*flags, *more, "--mode=finetune", "--exp=exact"]) == 0
    return "exact"


@pytest.fixture(scope="module")
def profiled(flags: list[str], runs: Path) -> Path:
    """Exact attention and FAVOR+, with a training step and a trace."""
    more = ["--config.profile.attentions=sdpa,performer_favor", "--trace"]
    assert cli.run([*flags, *QUICK, *more]) == 0
    return runs / "profile" / "base"


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def failed(capsys: pytest.CaptureFixture[str], argv: list[str], *words: str) -> None:
    assert cli.run(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("jaxattn: ")
    for word in words:
        assert word in error


def test_a_profile_is_written_as_table_document_and_picture(profiled: Path) -> None:
    names = {path.name for path in profiled.iterdir()}
    assert names == {"profile.csv", "profile.json", "cost_vs_length.png", "trace"}
    table = rows(profiled / "profile.csv")
    found = {(row["attention"], row["implementation"], row["what"]) for row in table}
    assert found == {
        (attention, way, what)
        for attention, way in (("sdpa", "xla"), ("sdpa", "blockwise"), ("performer_favor", ""))
        for what in ("forward", "forward_backward", "step")
    }
    assert len(table) == len(found)
    for row in table:
        assert float(row["seconds"]) > 0 and float(row["cpu_seconds"]) >= 0 and row["note"] == ""
        assert float(row["seconds_q1"]) <= float(row["seconds"]) <= float(row["seconds_q3"])
        assert int(row["temporary_bytes"]) >= 0 and row["peak_device_bytes"] == ""
        assert (
            (row["rows"], row["length"]) == ("1", "16")
            and row["dtype"] == "float32"
            and row["repeats"] == "2"
        )
        assert (row["attention_share"] != "") == (row["what"] == "step")


def test_the_document_says_on_what_and_compares(profiled: Path) -> None:
    document = json.loads((profiled / "profile.json").read_text())
    assert document["environment"]["device_kind"] == "cpu"
    assert document["config"]["model"]["hidden_dim"] == 16
    assert len(document["rows"]) == 9 and document["errors"] == []
    assert document["rows"][0]["peak_device_bytes"] is None
    assert "sdpa cudnn" in document["unavailable"]
    pairs = {(c["attention"], c["baseline"], c["what"]) for c in document["crossovers"]}
    assert pairs == {
        ("performer_favor", baseline, what)
        for baseline in ("sdpa xla", "sdpa blockwise")
        for what in ("forward", "forward_backward", "step")
    }
    for found in document["crossovers"]:
        assert found["verdict"] in ("crosses", "already", "not reached")
        assert (found["shortest"], found["longest"]) == (16, 16)


def test_the_trace_is_of_a_step_and_names_its_parts(profiled: Path) -> None:
    traces = json.loads((profiled / "profile.json").read_text())["traces"]
    assert [t["attention"] for t in traces] == ["sdpa xla", "sdpa blockwise", "performer_favor"]
    for trace in traces:
        assert (trace["what"], trace["length"]) == ("step", 16)
        session = (
            Path(trace["xprof"]) / "plugins" / "profile" / trace["attention"].replace(" ", "_")
        )
        assert (session / "perfetto_trace.json.gz").is_file()
        names = {event["name"].partition(":")[0] for event in read_events(Path(trace["perfetto"]))}
        parts = set(trace["seconds_by_part"])
        assert {"attention/qkv", "optimizer"} <= parts and parts <= names
        assert any(part.startswith("mlp") for part in parts)
        assert any(part.startswith("mlm_head") for part in parts)
        attention = trace["attention"].partition(" ")[0]
        assert any(part.startswith(f"attention/{attention}/") for part in parts)


def test_errors_on_a_run_replace_the_profile_of_that_name(
    flags: list[str], runs: Path, finetuned: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [
        "--config.profile.attentions=reformer_lsh",
        "--config.profile.lengths=8",
        "--config.profile.step=false",
        "--config.profile.texts=2",
        f"--exp={finetuned}",
    ]
    folder = runs / "profile" / finetuned
    folder.mkdir(parents=True)
    (folder / "cost_vs_length.png").write_bytes(b"old")
    assert cli.run([*flags, *QUICK, *more]) == 0
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "profile.csv", "profile.json", "errors.csv", "cost_vs_length.png", "error_by_layer.png"
    }  # fmt: skip
    (row,) = rows(folder / "errors.csv")
    assert (row["attention"], row["layer"], row["shares_qk"]) == ("reformer_lsh", "1", "False")
    assert 0 < float(row["mass_kept"]) < 1 and 0 < float(row["recall"]) <= 1
    assert 0 < float(row["output_error"]) < 2
    assert "mass kept" in capsys.readouterr().out
    assert json.loads((folder / "profile.json").read_text())["crossovers"] == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--exp=nowhere"], ["nowhere", "no such finetune run"]),
        (["--pretrain=nowhere"], ["nowhere", "no such pretrain run"]),
        (["--pretrain=none"], ["--pretrain=none", "trained"]),
        (["--exp=a", "--pretrain=b"], ["--exp", "--pretrain", "not of both"]),
        (["--config.profile.lengths=16,8"], ["profile.lengths", "[16, 8]"]),
        (["--config.profile.attentions=lsh"], ["profile.attentions", "'lsh'"]),
        (["--config.profile.attentions=sdpa,sdpa"], ["profile.attentions", "different"]),
        (["--config.profile.task=regression"], ["profile.task", "mlm"]),
    ],
)
def test_bad_input_is_told_in_one_sentence(
    flags: list[str],
    runs: Path,
    more: list[str],
    words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed(capsys, [*flags, "--mode=profile", *more], *words)


def test_without_a_configuration_or_a_run_there_is_nothing_to_profile(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed(capsys, ["--mode=profile"], "--config=<file>")


def test_steps_differ_in_their_attention_alone(flags: list[str]) -> None:
    request = cli.parse([*flags, *QUICK, "--config.train.accumulation=4"])
    assert request is not None
    config = request.resolved()
    assert [(s.rows, s.length) for s in shapes_of(config).values()] == [(1, 16)]
    for variant in variants(config.profile.attentions, config.attention):
        changed = step_config(config, variant)
        assert changed.attention.type == variant.attention
        assert changed.attention.used == {variant.attention: variant.options}
        assert changed.train.accumulation == 1 and changed.model == config.model


def test_rows_hold_about_the_tokens_asked_for(flags: list[str]) -> None:
    request = cli.parse(
        [*flags, *QUICK, "--config.profile.tokens=100", "--config.profile.lengths=8,16"]
    )
    assert request is not None
    shapes = shapes_of(request.resolved())
    assert [shape.rows for shape in shapes.values()] == [12, 6]
