"""--mode=data on made-up corpora: what it writes, prints and warns about."""

import json
from pathlib import Path
from typing import Any

import pytest

from jaxattn import cli


def report_of(runs: Path, name: str) -> dict[str, Any]:
    return json.loads((runs / "data" / name / "report.json").read_text())


def test_a_labelled_corpus(
    tmp_path: Path, tiny_flags: list[str], corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["--mode=data", *tiny_flags, f"--runs={tmp_path}"]) == 0
    found = report_of(tmp_path, "animals")
    assert {name: split["texts"] for name, split in found["splits"].items()} == {
        "train": 120, "validation": 40, "test": 40,
    }  # fmt: skip
    assert found["classes"] == [
        {"class": name, "train": 60, "validation": 20, "test": 20} for name in ("cats", "dogs")
    ]
    texts = [json.loads(line)["text"] for line in (corpus / "train.jsonl").read_text().splitlines()]
    longest = found["splits"]["train"]["lengths"]["longest"]
    assert max(len(text.split()) for text in texts) + 2 <= longest
    assert len(found["batches"]) == 3 and not found["batches_of_sample"]
    for batch in found["batches"]:
        assert batch["length"] in (16, 32) and 0 < batch["filled"] <= 1
        for row in batch["rows"]:
            assert row["text"].startswith("[CLS]") and row["label"] in ("cats", "dogs")
            assert row["tokens"] <= batch["length"]
    printed = capsys.readouterr().out
    assert "60 (50.0%)" in printed and "report.json" in printed


def test_what_is_to_be_looked_at(
    tmp_path: Path, tiny_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"word {'many ' * 40}{i}", "label": i % 2} for i in range(60)]
    rows += [{"text": "twice here", "label": 0}, {"text": "twice here", "label": 1}]
    rows += [{"text": f"rare {i}", "label": 2} for i in range(4)]
    test = [{"text": "Twice  HERE", "label": 0}, {"text": "rare 0", "label": 1}]
    for name, some in (("train", rows), ("validation", rows[:2]), ("test", test)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, some)))
    flags = [*tiny_flags, f"--config.data.path={tmp_path}", "--config.plan.sample_texts=50"]
    assert cli.run(["--mode=data", "--exp=mine", *flags, f"--runs={tmp_path}"]) == 0
    warnings = "\n".join(report_of(tmp_path, "mine")["warnings"])
    for sentence in (
        "1 texts within train repeat another one",
        "2 texts are on both sides of train / validation",
        "1 texts are on both sides of train + validation / test (2 but for case and blanks)",
        "1 training texts occur with several labels",
        "class '2' has no text in validation and test",
        "of the train texts are cut at 32 tokens",
    ):
        assert sentence in warnings
    printed = capsys.readouterr().out
    assert "The lengths of train are those of 50 of its texts" in printed


def test_texts_without_labels(
    tmp_path: Path, tiny_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.jsonl").write_text(
        "\n".join(json.dumps({"text": f"text number {i}"}) for i in range(100))
    )
    flags = [*tiny_flags, f"--config.data.path={tmp_path}", "--config.data.name=plain"]
    assert cli.run(["--mode=data", *flags, f"--runs={tmp_path}"]) == 0
    found = report_of(tmp_path, "plain")
    assert {name: split["texts"] for name, split in found["splits"].items()} == {
        "MLM train": 90, "MLM validation": 10,
    }  # fmt: skip
    assert found["classes"] == [] and found["batches"][0]["rows"][0]["label"] is None
    assert "not for classification" in capsys.readouterr().out


def test_a_wrong_path_is_one_sentence(
    tmp_path: Path, tiny_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*tiny_flags, f"--config.data.path={tmp_path / 'absent'}", f"--runs={tmp_path}"]
    assert cli.run(["--mode=data", *flags]) == 2
    assert capsys.readouterr().err.startswith("jaxattn: data.path: there is no file or folder")
