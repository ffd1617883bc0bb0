"""The modes as a user calls them, on a tiny corpus: folders, inheritance, reports, errors."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from jaxattn import cli, load


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def flags(tiny_flags: list[str], runs: Path) -> list[str]:
    return [*tiny_flags, f"--runs={runs}", "--config.attention.type=reformer_lsh"]


@pytest.fixture(scope="module")
def pretrained(flags: list[str], runs: Path) -> Path:
    assert cli.run([*flags, "--mode=pretrain", "--exp=first"]) == 0
    return runs / "pretrain" / "first"


@pytest.fixture(scope="module")
def finetuned(flags: list[str], runs: Path, pretrained: Path) -> Path:
    more = ["--config.train.epochs=6", "--config.train.learning_rate=0.02"]
    argv = [*flags, *more, "--mode=finetune", "--exp=second", f"--pretrain={pretrained.name}"]
    assert cli.run(argv) == 0
    return runs / "finetune" / "second"


@pytest.fixture(scope="module")
def baseline(flags: list[str], runs: Path) -> Path:
    assert cli.run([*flags, "--mode=baseline", "--exp=tfidf"]) == 0
    return runs / "baseline" / "tfidf"


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def failed(capsys: pytest.CaptureFixture[str], argv: list[str], *words: str) -> str:
    """The one sentence of a call that has to end with exit code 2."""
    assert cli.run(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("jaxattn: ")
    for word in words:
        assert word in error
    return error


def test_pretraining_fills_its_folder(pretrained: Path) -> None:
    names = {path.name for path in pretrained.iterdir()}
    assert names == {
        "config.yaml",
        "environment.json",
        "status.json",
        "metrics.csv",
        "events.jsonl",
        "results.json",
        "tokenizer.json",
        "checkpoints",
        "manifest.json",
    }
    assert read(pretrained / "status.json")["state"] == "finished"
    assert yaml.safe_load((pretrained / "config.yaml").read_text())["model"]["hidden_dim"] == 16
    environment = read(pretrained / "environment.json")
    assert environment["device_kind"] == "cpu"
    assert environment["seed"] == 0
    assert environment["versions"]["jax"]
    losses = [float(r["loss"]) for r in rows(pretrained / "metrics.csv") if r["split"] == "train"]
    assert losses[-1] < losses[0]


def test_programs_are_bounded_by_the_buckets(pretrained: Path, finetuned: Path) -> None:
    for folder in (pretrained, finetuned):
        assert read(folder / "results.json")["compiled_programs"] <= 2


def test_fine_tuning_learns_and_reports(finetuned: Path, pretrained: Path) -> None:
    results = read(finetuned / "results.json")
    assert results["test"]["macro_f1"] > 0.9
    assert np.array(results["confusion"]).sum() == 40
    resolved = yaml.safe_load((finetuned / "resolved_config.yaml").read_text())
    best = read(pretrained / "results.json")["best_step"]
    assert resolved["pretrain"] == f"first@{best}"
    assert resolved["model.hidden_dim"] == 16
    assert resolved["label_names"] == ["cats", "dogs"]
    predictions = rows(finetuned / "predictions_test.csv")
    hits = sum(row["label"] == row["predicted"] for row in predictions)
    assert hits / len(predictions) == results["test"]["accuracy"]


def test_the_best_checkpoint_is_the_one_reported(finetuned: Path) -> None:
    results = read(finetuned / "results.json")
    by_step = {
        int(row["step"]): float(row["macro_f1"])
        for row in rows(finetuned / "metrics.csv")
        if row["split"] == "validation"
    }
    assert by_step[results["best_step"]] == max(by_step.values())
    assert results["validation"]["macro_f1"] == max(by_step.values())


def test_eval_gives_the_same_figures(finetuned: Path, runs: Path) -> None:
    assert cli.run(["--mode=eval", "--exp=second", f"--runs={runs}"]) == 0
    evaluation, results = (read(finetuned / f"{name}.json") for name in ("evaluation", "results"))
    assert evaluation["test"] == results["test"]
    assert evaluation["confusion"] == results["confusion"]
    low, high = evaluation["macro_f1_interval"]
    assert low <= evaluation["test"]["macro_f1"] <= high
    classes = evaluation["per_class"]
    assert [row["class"] for row in classes] == ["cats", "dogs"]
    assert sum(row["support"] for row in classes) == 40
    assert sum(row["f1"] for row in classes) / 2 == evaluation["test"]["macro_f1"]
    assert 0 <= evaluation["calibration_error"] <= 1 and evaluation["device"].startswith("cpu")
    assert [(row["batch_size"], row["texts"]) for row in evaluation["speed"]] == [(1, 32), (32, 40)]
    assert all(row["median_ms"] > 0 < row["texts_per_second"] for row in evaluation["speed"])


def test_the_same_seed_twice_gives_the_same_run(
    flags: list[str], runs: Path, pretrained: Path
) -> None:
    assert cli.run([*flags, "--mode=pretrain", "--exp=again"]) == 0
    other = runs / "pretrain" / "again"
    for name in ("tokenizer.json", "metrics.csv"):
        assert (pretrained / name).read_bytes() == (other / name).read_bytes()


def test_replay_from_the_folder_alone(finetuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--mode=replay", f"--run={finetuned}"]) == 0
    assert "results equal those of" in capsys.readouterr().out
    copy = finetuned.parents[1] / "replays" / "finetune" / "second-1"
    assert (copy / "metrics.csv").read_bytes() == (finetuned / "metrics.csv").read_bytes()


def test_predict_from_every_kind_of_input(
    finetuned: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["the kitten whisker meow purring", 'a "quoted" puppy, bark fetch\u2028leash kennel']
    (tmp_path / "t.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], *enumerate(texts)])
    records = [json.dumps({"text": text}) for text in texts]
    (tmp_path / "t.jsonl").write_text("\n".join(records), encoding="utf-8")
    found = []
    for name in ("t.txt", "t.csv", "t.jsonl"):
        argv = ["--mode=predict", "--exp=second", f"--runs={runs}", f"--input={tmp_path / name}"]
        assert cli.run(argv) == 0
        found.append([json.loads(line) for line in capsys.readouterr().out.split("\n") if line])
    assert [record.pop("id") for record in found[1]] == ["0", "1"]
    assert found[0] == found[1] == found[2]
    assert [record["text"] for record in found[0]] == texts
    assert [record["label"] for record in found[0]] == ["cats", "dogs"]
    assert all(abs(sum(r["probabilities"].values()) - 1) < 1e-5 for r in found[0])
    out = tmp_path / "out.csv"
    assert cli.run([*argv, f"--output={out}"]) == 0
    assert [row["label"] for row in rows(out)] == ["cats", "dogs"]
    model = load(finetuned)
    assert model.predict(texts).tolist() == ["cats", "dogs"]
    for row, record in zip(model.predict_proba(texts), found[0], strict=True):
        np.testing.assert_allclose(row, list(record["probabilities"].values()), atol=1e-6)


def test_predict_keeps_bad_rows_with_their_error(
    finetuned: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["text,label"] + ["kitten,x"] * 3 + [",y"] * 30 + [f"puppy {'bark ' * 40},z"]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    argv = ["--mode=predict", "--exp=second", f"--runs={runs}", f"--input={tmp_path / 'in.csv'}"]
    out = tmp_path / "out.csv"
    windows = ["--config.predict.long=window", "--config.predict.overlap=8"]
    assert cli.run([*argv, f"--output={out}", *windows]) == 0
    error = capsys.readouterr().err.strip().splitlines()
    assert error[0].endswith("in.csv, line 5: the text is empty")
    assert len([line for line in error if "is empty" in line]) == 20
    assert error[-2:] == [
        "longer than 32 tokens, and read in windows: 1 texts",
        "30 of 34 rows have no label: they could not be read",
    ]
    found = rows(out)
    assert [row["label"] for row in found] == ["x"] * 3 + ["y"] * 30 + ["z"]
    assert [row["predicted_label"] for row in found] == ["cats"] * 3 + [""] * 30 + ["dogs"]
    assert [bool(row["error"]) for row in found] == [False] * 3 + [True] * 30 + [False]
    failed(capsys, [*argv, "--config.train.epochs=3"], "train.epochs", "predict.long")
    failed(capsys, [*argv, "--format=parquet"], "--format=parquet", "--output")


def test_export_and_evaluation_of_a_run(
    finetuned: Path, corpus: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--exp=second", f"--runs={runs}"]
    target = tmp_path / "model"
    assert cli.run(["--mode=export", *argv, f"--output={target}"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    card = (target / "README.md").read_text()
    results = read(finetuned / "results.json")
    assert f"{results['test']['macro_f1']:.4f}" in card
    assert results["data_hash"] in card
    assert "pretrain `first`" in card
    failed(capsys, ["--mode=export", *argv, f"--output={target}"], "already exists")
    capsys.readouterr()
    texts = tmp_path / "texts.txt"
    texts.write_text("kitten meow\n")
    assert cli.run(["--mode=predict", f"--run={target}", f"--input={texts}"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == "cats"

    assert cli.run(["--mode=eval", *argv, f"--input={corpus / 'test.jsonl'}"]) == 0
    found = read(finetuned / "evaluation_file_test.json")
    assert found["texts"] == 40
    assert found["accuracy"] == results["test"]["accuracy"]
    assert [row["batch_size"] for row in found["speed"]] == [1, 32]
    assert len(rows(finetuned / "evaluation_file_test.csv")) == 40
    bad = tmp_path / "bad.csv"
    bad.write_text("text,label\nx,cat\n")
    failed(capsys, ["--mode=eval", *argv, f"--input={bad}"], "line 2", "'cat'", "cats")
    failed(capsys, ["--mode=eval", *argv, "--split=dev"], "--split", "validation")


def test_evaluation_in_windows_is_of_what_predict_says(
    finetuned: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["kitten meow", "puppy bark " * 40 + "kitten meow " * 60]
    file = tmp_path / "long.csv"
    file.write_text("text,label\n" + "".join(f"{text},cats\n" for text in texts))
    overlap = "--config.predict.overlap=8"
    argv = ["--mode=eval", "--exp=second", f"--runs={runs}", overlap, f"--input={file}"]
    found = {}
    for how in ("truncate", "window"):
        assert cli.run([*argv, f"--config.predict.long={how}"]) == 0
        report = read(finetuned / "evaluation_file_long.json")
        assert (report["long"], report["long_share"]) == (how, 0.5)
        found[how] = [float(r["p_cats"]) for r in rows(finetuned / "evaluation_file_long.csv")]
        wanted = load(finetuned, long=how, overlap=8).predict_proba(texts)[:, 0]
        np.testing.assert_allclose(found[how], wanted, atol=1e-5)
    assert abs(found["truncate"][1] - found["window"][1]) > 1e-3
    # Flags alone leave the data of the run as they are.
    assert cli.run([*argv[:-1], "--config.predict.long=window"]) == 0
    report = read(finetuned / "evaluation.json")
    assert report["long"] == "window"
    assert report["long_share"].keys() == {"validation", "test"}
    failed(capsys, [*argv, "--config.data.path=elsewhere"], "--input", "data.path")
    failed(capsys, [*argv, "--config.train.seed=3"], "train.seed", "predict.long")


def test_predict_reads_standard_input(
    finetuned: Path,
    runs: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.TextIOWrapper(io.BytesIO("kitten meow é\npuppy bark\n".encode()))
    monkeypatch.setattr(sys, "stdin", stream)
    assert cli.run(["--mode=predict", "--exp=second", f"--runs={runs}", "--format=csv"]) == 0
    head, *body = capsys.readouterr().out.splitlines()
    assert head == "text,label,p_cats,p_dogs,error"
    assert [line.split(",")[1] for line in body] == ["cats", "dogs"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("bad.txt", b"fine\n\xff\xfe\n", ["line 2", "UTF-8"]),
        ("bad.jsonl", b'{"text": "x"}\n{"text"\n', ["line 2", "JSON"]),
        ("bad.jsonl", b'{"txt": "x"}\n', ["line 1", "'text'", "txt"]),
        ("bad.csv", b"id,txt\n1,x\n", ["line 1", "'text'", "did you mean 'txt'"]),
    ],
)
def test_predict_tells_bad_input_and_leaves_no_file(
    finetuned: Path,
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes,
    words: list[str],
) -> None:
    (tmp_path / name).write_bytes(content)
    argv = ["--mode=predict", "--exp=second", f"--runs={runs}", f"--input={tmp_path / name}"]
    argv += ["--on_bad_row=stop"]
    failed(capsys, [*argv, f"--output={tmp_path / 'out.jsonl'}"], name, *words)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_compare_ranks_and_lists_failures(
    finetuned: Path, baseline: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = runs / "finetune" / "broken"
    broken.mkdir()
    (broken / "status.json").write_text(
        json.dumps({"state": "failed", "reason": "loss is nan in step 3", "pid": 1})
    )
    (broken / "resolved_config.yaml").write_text((finetuned / "resolved_config.yaml").read_text())
    assert cli.run(["--mode=compare", f"--runs={runs}"]) == 0
    table = {row["exp"]: row for row in rows(runs / "report" / "results.csv")}
    assert float(table["second"]["test_macro_f1"]) == pytest.approx(
        read(finetuned / "results.json")["test"]["macro_f1"]
    )
    assert table["second"]["rank"]
    assert table["tfidf"]["rank"]
    assert float(table["second"]["peak_rss_MiB"]) > 0
    assert table["second"]["max_gpu_mem_MiB"] == ""
    assert table["broken"]["rank"] == ""
    assert table["broken"]["reason"] == "loss is nan in step 3"
    picture = (runs / "report" / "quality_vs_cost.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert "loss is nan in step 3" in capsys.readouterr().out


def test_an_existing_experiment_is_never_overwritten(
    flags: list[str], pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (pretrained / "metrics.csv").read_bytes()
    failed(capsys, [*flags, "--mode=pretrain", "--exp=first"], "already exists", "--resume")
    assert (pretrained / "metrics.csv").read_bytes() == before


def test_resume_refuses_other_options_by_name(
    flags: list[str], pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*flags, "--mode=pretrain", "--exp=first", "--resume", "--config.train.seed=5"]
    failed(capsys, argv, "train.seed", "5", "begun with 0")


def test_resume_of_a_finished_run_changes_nothing(flags: list[str], pretrained: Path) -> None:
    before = (pretrained / "events.jsonl").read_bytes()
    assert cli.run([*flags, "--mode=pretrain", "--exp=first", "--resume"]) == 0
    assert (pretrained / "events.jsonl").read_bytes() == before


def test_bad_calls_of_finetune(
    flags: list[str], runs: Path, pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [*flags, "--mode=finetune", "--exp=third"]
    failed(capsys, call, "--pretrain")
    failed(capsys, [*call, "--pretrain=frist"], "no such pretrain run", "first")
    failed(capsys, [*call, "--pretrain=first@7"], "no checkpoint of step 7")
    failed(capsys, [*call, "--pretrain=first", "--config.model.hidden_dim=32"], "model.hidden_dim")
    failed(capsys, [*flags, "--mode=finetune", "--exp=a/b", "--pretrain=first"], "'a/b'")
    failed(capsys, ["--mode=eval", "--exp=third", f"--runs={runs}"], "no such finetune run")
    assert not (runs / "finetune" / "third").exists()


def lines(labels: str) -> str:
    """JSONL of different texts, one for every letter."""
    records = ({"text": f"text {i}", "label": label} for i, label in enumerate(labels))
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, ["data.path"]),
        ({"train.jsonl": ""}, ["train.jsonl"]),
        ({"train.jsonl": lines("aaa")}, ["class"]),
        ({"train.jsonl": '{"text": "x", "lable": 1}\n'}, ["'label'", "lable"]),
        ({"train.jsonl": '{"text": "x", "label": 1}\n{"text"\n'}, ["train.jsonl", "line 2"]),
        ({"train.csv": b"text,label\nfine,a\n\xff,b\n"}, ["train.csv", "line 3", "UTF-8"]),
        (
            {"train.jsonl": lines("ab" * 20), "test.jsonl": lines("abc")},
            ["unknown label", "'c'"],
        ),
    ],
)
def test_bad_data_is_told_and_leaves_no_folder(
    tiny_flags: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str | bytes],
    words: list[str],
) -> None:
    data, runs = tmp_path / "data", tmp_path / "runs"
    if files:
        data.mkdir()
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else content.encode()
        (data / name).write_bytes(raw)
    argv = [*tiny_flags, f"--config.data.path={data}", f"--runs={runs}"]
    failed(capsys, [*argv, "--mode=finetune", "--exp=x", "--pretrain=none"], *words)
    assert not runs.exists()


def test_a_diverging_run_fails_and_is_not_ranked(
    tiny_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*tiny_flags, f"--runs={tmp_path}", "--mode=finetune", "--exp=x", "--pretrain=none"]
    wild = ["--config.train.learning_rate=10", "--config.train.clip_norm=1e30"]
    wild += ["--config.model.norm=pre", "--config.train.epsilon=1", "--config.train.epochs=400"]
    wild += ["--config.train.weight_decay=1e6"]
    assert cli.run([*argv, *wild]) == 1
    status = read(tmp_path / "finetune" / "x" / "status.json")
    assert status["state"] == "failed"
    assert "nan" in status["reason"] or "inf" in status["reason"]
    assert "the run failed" in capsys.readouterr().err
    assert not (tmp_path / "finetune" / "x" / "results.json").exists()


def test_wandb_offline_writes_locally(tiny_flags: list[str], tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    argv = [*tiny_flags, f"--runs={tmp_path}", "--mode=pretrain", "--exp=x"]
    assert cli.run([*argv, "--config.log.wandb=offline", "--config.train.max_steps=4"]) == 0
    folder = tmp_path / "pretrain" / "x"
    assert list((folder / "wandb").glob("offline-run-*"))
    assert (folder / "metrics.csv").exists()
