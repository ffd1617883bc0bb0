"""The page: what it says, that nothing in it is markup from outside, and that nothing breaks it."""

import csv
import dataclasses
import json
import os
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from jaxattn.config import LogConfig
from jaxattn.evaluate.intervals import macro_f1
from jaxattn.report.answer import answer, choice
from jaxattn.report.collect import collect
from jaxattn.report.compare import compare
from jaxattn.report.comparison import Comparison
from jaxattn.report.csv_files import summary_rows
from jaxattn.report.page.charts import learning_curves
from jaxattn.report.page.page import page
from jaxattn.report.page.provenance import last_logged_step, last_saved_step
from jaxattn.report.record import RunRecord
from jaxattn.report.terminal import answers
from jaxattn.runs.predictions import Predictions, write_predictions

Guesses = Callable[..., Predictions]
Record = Callable[..., RunRecord]
WriteRun = Callable[..., Path]

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "link"}


Attributes = list[tuple[str, str | None]]


class Reader(HTMLParser):
    """Collects what a browser would act on, and checks that elements are nested."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.names, self.ids, self.addresses, self.open, self.text = [], [], [], [], []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, name: str, attributes: Attributes) -> None:
        """Notes the element."""
        self.names.append(name)
        for key, value in attributes:
            assert not key.startswith("on")
            self.ids += [value] if key == "id" else []
            self.addresses += [value] if key in ("href", "src", "action", "data") else []
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: Attributes) -> None:
        """An SVG element without content."""
        self.handle_starttag(name, attributes)
        self.open.pop()

    def handle_endtag(self, name: str) -> None:
        """Closes the element that was opened last."""
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        """What is shown."""
        self.text.append(data)


def checked(source: str) -> Reader:
    """The page's reader, after what must hold for every page."""
    found = Reader(source)
    assert not {"script", "iframe", "object", "embed", "img", "image", "form"} & set(found.names)
    assert len(set(found.ids)) == len(found.ids)
    assert all(address.startswith(("#", "data:,")) for address in found.addresses)
    assert "http:" not in source and "https:" not in source and "@import" not in source
    assert all(place.startswith("url(#") for place in re.findall(r"url\([^)]*\)", source))
    return found


def add_predictions(folder: Path, predictions: Predictions) -> None:
    """Saves predictions in a run folder, and their scores in its results."""
    path = folder / "predictions_test.csv"
    write_predictions(path, predictions.names, predictions.labels, predictions.probabilities)
    results = json.loads((folder / "results.json").read_text())
    for split in ("validation", "test"):
        results[split]["macro_f1"] = macro_f1(predictions)
        results[split]["accuracy"] = float(np.mean(predictions.labels == predictions.predicted))
    (folder / "results.json").write_text(json.dumps(results))


def add_metrics(folder: Path, torn: str = "") -> None:
    """A metrics.csv whose last row may be torn."""
    rows = ["step,epoch,split,loss,accuracy,macro_f1"]
    rows += [f"{20 * i},{i / 4},train,{1 / i},0.5," for i in range(1, 9)]
    rows += ["160,2.0,validation,0.4,0.8,0.79", *([torn] if torn else [])]
    (folder / "metrics.csv").write_text("\n".join(rows))


def test_hostile_texts_are_shown_as_text(
    write_run: WriteRun, guesses: Guesses, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As classes, experiment, attention, data and cause; a spreadsheet gets no formula."""
    names = (EVIL, "=1+1", 'a"b&c $x^2$')
    folder = write_run("x", EVIL, data=EVIL, device="cpu " + EVIL)
    add_predictions(folder, guesses(0.8, names=names))
    add_metrics(folder)
    lost = write_run("lost", state="failed")
    (lost / "status.json").write_text(json.dumps({"state": "failed", "reason": "=1+1 " + EVIL}))
    compare(tmp_path / "runs", LogConfig())
    report = tmp_path / "runs" / "report"
    source = (report / "index.html").read_text(encoding="utf-8")
    found = checked(source)
    shown = "".join(found.text)
    assert EVIL not in source and EVIL in shown and "=1+1" in shown and 'a"b&c $x^2$' in shown
    assert source.count("&lt;script&gt;") > 5
    with open(report / "summary.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["data"] == EVIL and float(row["low"]) < float(row["mean_test_macro_f1"])
    assert {path.name for path in report.iterdir()} == {
        "index.html", "results.csv", "summary.csv", "quality_vs_cost.png",
    }  # fmt: skip


def test_the_answer_stands_first_with_its_interval(
    write_run: WriteRun, guesses: Guesses, tmp_path: Path
) -> None:
    """Then the table, criteria, curves, confusion and calibration; twice the same to the byte."""
    for exp, attention, share in (("s", "sdpa", 0.9), ("f", "performer_favor", 0.6)):
        folder = write_run(exp, attention)
        add_predictions(folder, guesses(share))
        add_metrics(folder)
    add_predictions(write_run("t", "tfidf+logreg", kind="baseline"), guesses(0.7, 1))
    records = collect(tmp_path / "runs")
    source = page(Comparison(records), tmp_path / "runs")
    shown = " ".join("".join(checked(source).text).split())
    places = [
        shown.index(words)
        for words in ("Use sdpa: test macro-F1", "95 % interval", "Acceptance criteria",
                      "Learning curves", "Confusion", "Calibration", "What each run was",
                      "bash reproduce.sh runs/finetune/f")
    ]  # fmt: skip
    assert places == sorted(places)
    assert source == page(Comparison(collect(tmp_path / "runs")), tmp_path / "runs")
    assert str(tmp_path) not in source


def test_the_answer_says_what_is_never_predicted(record: Record, guesses: Guesses) -> None:
    """Of the choice in the first sentence, which the terminal has too; of others below it."""
    blind = guesses(0.9)
    blind = dataclasses.replace(blind, predicted=np.zeros_like(blind.predicted))
    chosen = record("s", "sdpa", macro_f1(blind), validation_macro_f1=0.9, predictions=blind)
    other = record("l", "reformer_lsh", 0.9, 200.0, predictions=guesses(0.9),
                   validation_macro_f1=0.2)  # fmt: skip
    comparison = Comparison([chosen, other])
    said = "It predicts one class only, 'neg'."
    assert answers(comparison)[0].endswith(said) and answer(comparison.groups[0])[0].endswith(said)
    assert said in " ".join("".join(checked(page(comparison, Path("runs"))).text).split())
    again = record("s1", "sdpa", 0.9, seed=1, validation_macro_f1=0.9, predictions=guesses(0.9))
    (group,) = Comparison([chosen, again, other]).groups
    assert "With 1 of 2 seeds it predicts one class only" in answer(group)[0]
    better = dataclasses.replace(other, validation_macro_f1=0.99)
    (group,) = Comparison([chosen, better]).groups
    assert "one class only" not in answer(group)[0]
    assert f"sdpa: {said}" in answer(group)


def test_devices_and_budgets_stand_apart_and_that_is_said(record: Record, guesses: Guesses) -> None:
    """Three groups of one data set; a baseline is in each."""
    runs = [
        record("a", "sdpa", 0.9),
        record("b", "reformer_lsh", 0.95, device="H200"),
        record("c", "performer_favor", 0.9, options={"train.epochs": 9}),
        record("t", "tfidf+logreg", 0.8, kind="baseline"),
        record("d", "sdpa", 0.7, data="agnews", data_hash="bbbb"),
    ]
    comparison = Comparison(runs)
    groups = comparison.groups
    assert [sorted(run.exp for run in group.runs) for group in groups] == [
        ["d"], ["a", "t"], ["b", "t"], ["c", "t"],
    ]  # fmt: skip
    lines = [line.partition(": ")[0] for line in answers(comparison)]
    assert lines == [
        "agnews",
        "imdb (cpu, 512 tokens, 3 epochs, from random weights)",
        "imdb (H200, 512 tokens, 3 epochs, from random weights)",
        "imdb (cpu, 512 tokens, 9 epochs, from random weights)",
    ]
    shown = "".join(Reader(page(comparison, Path("runs"))).text)
    assert "imdb are 3 groups that differ in device and budget. They are not compared" in shown


def test_the_cheapest_that_is_as_good_is_chosen(record: Record, guesses: Guesses) -> None:
    """Only with an interval that rules a loss of more than a point out."""
    exact, worse = guesses(0.9), guesses(0.6, 1)
    best = record("s", "sdpa", macro_f1(exact), 100.0, predictions=exact)
    same = record("l", "reformer_lsh", macro_f1(exact), 50.0, predictions=exact,
                  validation_macro_f1=0.1)  # fmt: skip
    cheap = record("f", "performer_favor", macro_f1(worse), 10.0, predictions=worse)
    (group,) = Comparison([best, same, cheap]).groups
    assert choice(group).attention == "reformer_lsh"
    said = " ".join(answer(group))
    assert "Use reformer_lsh" in said and "+0.00 pp" in said and "0.50 x its time" in said
    (group,) = Comparison([best, cheap]).groups
    assert choice(group).attention == "sdpa"
    assert "nothing cheaper is shown to lose at most 1 pp" in " ".join(answer(group))
    unknown = record("f", "performer_favor", 0.99, 10.0, validation_macro_f1=0.1)
    (group,) = Comparison([best, unknown]).groups
    assert choice(group).attention == "sdpa"


def test_what_is_broken_is_listed_with_its_cause_and_last_step(
    write_run: WriteRun, guesses: Guesses, tmp_path: Path
) -> None:
    """A half-written run, an unreadable configuration, and one that diverged."""
    add_predictions(write_run("good"), guesses(0.9))
    torn = write_run("torn")
    (torn / "results.json").write_text('{"kind": "fine')
    (torn / "predictions_test.csv").write_text("row,label")
    (torn / "metrics.csv").write_bytes(b"step,epoch\n\xff\xfe")
    write_run("odd")
    (tmp_path / "runs" / "finetune" / "odd" / "resolved_config.yaml").write_text("a: [")
    lost = write_run("lost", state="failed")
    (lost / "status.json").write_text(
        json.dumps({"state": "failed", "reason": "non-finite loss at step 170"})
    )
    (lost / "events.jsonl").write_text('{"event": "checkpoint", "step": 140}\n{"event": "st')
    add_metrics(lost, torn="180,2.2")
    other = write_run("other")
    add_predictions(other, guesses(0.8))
    (other / "predictions_test.csv").write_text("row,label,predicted,p_a,p_b\n0,a,a,1,0\n")
    records = collect(tmp_path / "runs")
    shown = "".join(checked(page(Comparison(records), tmp_path / "runs")).text)
    assert (last_saved_step(lost), last_logged_step(lost)) == ("140", "160")
    for words in ("non-finite loss at step 170", "results.json: not readable JSON",
                  "resolved_config.yaml: not readable YAML", "but results.json has"):  # fmt: skip
        assert words in shown
    assert len(learning_curves(lost / "metrics.csv")["train", "loss"]) == 8
    rows = summary_rows(Comparison(records))
    assert [row["runs"] for row in rows] == ["good"] and rows[0]["low"] is not None


def test_latency_is_shown_where_it_is_of_the_same_device(
    write_run: WriteRun, tmp_path: Path
) -> None:
    """As --mode=eval wrote it; a torn file or another device is as if there were none."""
    speed = [{"batch_size": 1, "median_ms": 4.25, "texts_per_second": 235.0},
             {"batch_size": 32, "median_ms": 90.0, "texts_per_second": 355.0}]  # fmt: skip
    path = write_run("x") / "evaluation.json"
    for content, found in (
        ({"device": "cpu x", "speed": speed}, {1: (4.25, 235.0), 32: (90.0, 355.0)}),
        ({"device": "H200", "speed": speed}, {}),
        ({"device": "cpu x", "speed": [{"batch_size": 1, "median_ms": "4"}]}, {}),
    ):
        path.write_text(json.dumps(content))
        (run,) = collect(tmp_path / "runs")
        assert run.latency == found
        shown = "".join(Reader(page(Comparison([run]), tmp_path / "runs")).text)
        assert ("batch of 1" in shown) == bool(found)
    path.write_text('{"speed')
    assert collect(tmp_path / "runs")[0].latency == {}


def test_only_failed_runs_make_a_page(write_run: WriteRun, tmp_path: Path) -> None:
    """Nothing is ranked and nothing is drawn."""
    folder = write_run("lost", state="failed")
    (folder / "status.json").write_text(json.dumps({"state": "failed", "reason": "killed"}))
    compare(tmp_path / "runs", LogConfig())
    source = (tmp_path / "runs" / "report" / "index.html").read_text()
    assert "killed" in source and "<svg" not in source
    checked(source)


def test_a_sweep_shows_what_its_options_went_with(record: Record) -> None:
    """Values in their order as numbers; options of other attentions and seeds are none."""
    runs = [
        record(f"r{size}{seed}", "reformer_lsh", 0.8 + size / 1000, seed=seed,
               options={"attention.reformer_lsh.chunk_size": size})
        for size in (128, 32, 64) for seed in (0, 1)
    ]  # fmt: skip
    shown = "".join(checked(page(Comparison(runs), Path("runs"))).text)
    assert "What differed" in shown and "train.seed" not in shown.split("What each run")[0]
    places = [shown.index(f"reformer_lsh{size}2") for size in (32, 64, 128)]
    assert places == sorted(places)


def test_results_csv_is_what_the_predictions_say(
    write_run: WriteRun, guesses: Guesses, tmp_path: Path
) -> None:
    """To the last digit, by plain Python that knows nothing of this package."""
    for seed, names in enumerate([("neg", "pos"), tuple("abcdefghijk")]):
        add_predictions(write_run(f"r{seed}"), guesses(0.8, seed, names=names))
    compare(tmp_path / "runs", LogConfig())
    report = tmp_path / "runs" / "report" / "results.csv"
    with open(report, newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 2
    for row in table:
        path = tmp_path / "runs" / row["kind"] / row["exp"] / "predictions_test.csv"
        assert row["test_macro_f1"] == repr(recomputed(path))


def recomputed(path: Path) -> float:
    """Macro-F1 of a file of predictions."""
    from statistics import fmean

    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    classes = [name[2:] for name in rows[0] if name.startswith("p_")]
    scores = []
    for name in classes:
        hits = sum(row["label"] == name == row["predicted"] for row in rows)
        found = sum(row["label"] == name for row in rows)
        said = sum(row["predicted"] == name for row in rows)
        scores.append(2 * hits / (found + said) if found + said else 0.0)
    return fmean(scores)


def test_forty_five_runs_build_in_time(
    write_run: WriteRun, guesses: Guesses, tmp_path: Path
) -> None:
    """15 configurations of 3 seeds, of 300 texts each."""
    chunks = np.arange(8, 8 + 15)
    for place, size in enumerate(chunks):
        for seed in range(3):
            folder = write_run(f"r{place}-{seed}", "reformer_lsh", seed=seed)
            path = folder / "resolved_config.yaml"
            path.write_text(
                path.read_text()
                .replace("chunk_size: 64", f"chunk_size: {size}")
                .replace("train.seed: 3", f"train.seed: {seed}")
            )
            add_predictions(folder, guesses(0.8 + place / 100, 3 * place + seed))
            add_metrics(folder)
    began = time.process_time()
    records = collect(tmp_path / "runs")
    source = page(Comparison(records), tmp_path / "runs")
    assert time.process_time() - began < 30
    assert len(summary_rows(Comparison(records))) == 15
    checked(source)


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    write_run: WriteRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole or not at all."""
    write_run("x")
    compare(tmp_path / "runs", LogConfig())
    path = tmp_path / "runs" / "report" / "index.html"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        compare(tmp_path / "runs", LogConfig())
    assert path.read_text() == "old"
