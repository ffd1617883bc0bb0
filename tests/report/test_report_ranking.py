"""Ranks, ratios, results.csv and the tables."""

import csv
import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import stdev

import pandas as pd
import pytest

from jaxattn.report.comparison import Comparison, Ranked
from jaxattn.report.csv_files import results_rows, write_rows
from jaxattn.report.record import RunRecord
from jaxattn.report.setups import exact_setups
from jaxattn.report.terminal import print_comparison, run_tables

Record = Callable[..., RunRecord]


def rank(records: Sequence[RunRecord]) -> Sequence[Ranked]:
    return Comparison(records).ranking


def write_results_csv(records: Sequence[RunRecord], path: Path) -> None:
    write_rows(results_rows(Comparison(records)), path)


@pytest.fixture
def runs(record: Record) -> list[RunRecord]:
    """Three attentions, the baseline, a failed run that would have been the best, a pretraining."""
    return [
        record("lost", "sdpa", 0.99, state="failed", reason="=oom", seed=9),
        record("favor", "performer_favor", 0.91, 40.0, 600.0),
        record("sdpa", "sdpa", 0.92, 80.0, 1000.0),
        record("lsh", "reformer_lsh", 0.92, 60.0, 1500.0),
        record("tfidf", "tfidf+logreg", 0.895, 20.0, 900.0, kind="baseline"),
        record("wiki", "sdpa", None, kind="pretrain", data="wiki", validation_loss=2.5),
    ]


def places(records: Sequence[RunRecord], by: str = "test_macro_f1") -> dict[str, int | None]:
    """Experiment -> rank."""
    return {row.record.exp: row.rank for row in Comparison(records, by).ranking}


def test_rank_by_a_cost_puts_the_cheapest_first(runs: list[RunRecord]) -> None:
    assert places(runs, "time_per_epoch") == {
        "tfidf": 1, "favor": 2, "lsh": 3, "sdpa": 4, "lost": None, "wiki": None
    }  # fmt: skip
    assert places(runs, "peak_rss_MiB") == {
        "favor": 1, "tfidf": 2, "sdpa": 3, "lsh": 4, "lost": None, "wiki": None
    }  # fmt: skip
    assert places(runs, "test_auroc") == dict.fromkeys(places(runs))


def test_costs_of_different_devices_are_ranked_apart_and_qualities_are_not(
    runs: list[RunRecord],
) -> None:
    moved = [
        dataclasses.replace(run, device="another") if run.exp == "favor" else run for run in runs
    ]
    assert places(moved, "time_per_epoch")["favor"] == 1
    assert places(moved, "time_per_epoch")["lsh"] == 2
    assert places(moved)["favor"] == places(runs)["favor"] == 3


def test_rank_orders_by_quality_then_time_and_never_ranks_a_failed_run(
    runs: list[RunRecord],
) -> None:
    """lsh ties with sdpa and is faster; the failed run's 0.99 counts for nothing."""
    rows = rank(runs)
    assert [(row.record.exp, row.rank) for row in rows] == [
        ("lsh", 1),
        ("sdpa", 2),
        ("favor", 3),
        ("tfidf", 4),
        ("lost", None),
        ("wiki", None),
    ]


@pytest.mark.parametrize("state", ["failed", "interrupted", "running"])
def test_only_finished_runs_are_ranked(runs: list[RunRecord], state: str) -> None:
    """The state decides, whatever numbers such a record carries."""
    runs[0] = dataclasses.replace(runs[0], state=state, seconds_per_epoch=0.1, peak_memory_mib=1.0)
    assert places(runs)["lost"] is None


def test_qualities_are_ranked_over_devices(runs: list[RunRecord], record: Record) -> None:
    """What has no macro-F1 stands without a rank."""
    runs.append(record("gpu", "sdpa", 0.93, 1.0, device="H200"))
    assert places(runs) == {
        "gpu": 1, "lsh": 2, "sdpa": 3, "favor": 4, "tfidf": 5, "lost": None, "wiki": None,
    }  # fmt: skip


def test_ranks_are_per_data_set_and_a_data_hash_tells_data_apart(
    runs: list[RunRecord], record: Record
) -> None:
    """The same name with another content is another data set."""
    runs.append(record("ag", "sdpa", 0.5, data="agnews"))
    runs.append(record("other", "sdpa", 0.4, data_hash="bbbb"))
    assert places(runs)["ag"] == 1 and places(runs)["other"] == 1
    headings = {row.record.exp: row.data for row in rank(runs)}
    assert headings["lsh"] == "imdb (aaaa)" and headings["other"] == "imdb (bbbb)"


def test_ratios_are_taken_against_the_sdpa_run_of_the_same_data_device_and_model(
    runs: list[RunRecord], record: Record
) -> None:
    """40 / 80 s and 600 / 1000 MiB; nothing where no comparable exact run exists."""
    small = {"model.num_layers": 3}
    runs.append(record("small", "performer_favor", 0.9, 20.0, options=small))
    runs.append(record("gpu", "performer_favor", 0.9, 1.0, device="H200"))
    runs.append(record("mixed", "reformer_lsh", 0.9, 20.0, memory_kind="device"))
    rows = {row.record.exp: (row.time_vs_sdpa, row.memory_vs_sdpa) for row in rank(runs)}
    assert rows["favor"] == (0.5, 0.6)
    assert rows["lsh"] == (0.75, 1.5)
    assert rows["sdpa"] == (1.0, 1.0)
    assert rows["mixed"] == (0.25, None)
    assert rows["small"] == rows["gpu"] == rows["tfidf"] == rows["lost"] == (None, None)


def test_the_deviation_is_over_seeds_of_one_setup_only(record: Record) -> None:
    """Another learning rate is another setup; another pretraining seed is not."""
    wiki = [
        record(f"wiki{s}", "sdpa", None, kind="pretrain", data="wiki", seed=s, validation_loss=2.0)
        for s in (0, 1)
    ]
    runs = [
        record("s0", "sdpa", 0.90, seed=0, pretrain="wiki0"),
        record("s1", "sdpa", 0.92, seed=1, pretrain="wiki1"),
        record("lr", "sdpa", 0.99, options={"train.learning_rate": 1e-4}, pretrain="wiki0"),
    ]
    rows = {row.record.exp: row for row in rank(runs + wiki)}
    assert rows["s0"].test_macro_f1_std == pytest.approx(stdev([0.90, 0.92]))
    assert (rows["s0"].seeds, rows["lr"].seeds, rows["lr"].test_macro_f1_std) == (2, 1, None)


def test_results_csv_gives_every_number_back(runs: list[RunRecord], tmp_path: Path) -> None:
    """One row a run; floats return bit for bit, absent ones are empty."""
    runs[2] = dataclasses.replace(runs[2], test_macro_f1=0.1 + 0.2 + 0.6, parameters=28_763_648)
    path = tmp_path / "results.csv"
    write_results_csv(runs, path)
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]
    table = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("exp")
    assert len(table) == len(runs)
    sdpa = table.loc["sdpa"]
    assert float(sdpa["test_macro_f1"]) == 0.1 + 0.2 + 0.6
    assert int(sdpa["parameters"]) == 28_763_648 and sdpa["time_per_epoch"] == "80.0"
    assert (sdpa["peak_rss_MiB"], sdpa["max_gpu_mem_MiB"]) == ("1000.0", "")
    assert (sdpa["num_layers"], sdpa["positions"], sdpa["learning_rate"]) == ("4", "rope", "0.0005")
    assert table.loc["lsh", "attention_options"] == "chunk_size=64"
    assert table.loc["tfidf", "num_layers"] == "" and table.loc["wiki", "rank"] == ""
    assert (table.loc["lost", "rank"], table.loc["lost", "pass_wnf"]) == ("", "FAIL")


def test_texts_that_a_spreadsheet_would_evaluate_are_neutralised(
    record: Record, tmp_path: Path
) -> None:
    """Numbers keep their sign; commas, quotes and line ends survive."""
    causes = ["=1+1", "+1", "-1", "@x", "\t=2", 'a, "b"\nc']
    runs = [
        record(f"r{i}", "sdpa", None, state="failed", reason=cause, validation_loss=-0.5)
        for i, cause in enumerate(causes)
    ]
    write_results_csv(runs, tmp_path / "results.csv")
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["reason"] for row in rows] == ["'=1+1", "+1", "-1", "'@x", "'=2", 'a, "b" c']
    assert {row["validation_loss"] for row in rows} == {"-0.5"}


def test_tables_are_one_per_data_and_device_and_name_the_memory(
    runs: list[RunRecord], record: Record
) -> None:
    """Titles, the memory's kind, and only columns with a value."""
    runs.append(record("gpu", "sdpa", 0.93, 1.0, device="H200", memory_kind="device"))
    tables = {str(table.title): table for table in run_tables(Comparison(runs))}
    assert list(tables) == ["imdb, H200", "imdb, cpu", "Pretraining on wiki, cpu"]
    headings = {
        title: [str(column.header).replace("\n", " ") for column in table.columns]
        for title, table in tables.items()
    }
    assert "device memory MiB" in headings["imdb, H200"]
    assert "resident memory MiB" not in headings["imdb, H200"]
    assert "resident memory MiB" in headings["imdb, cpu"]
    assert "MLM loss" in headings["Pretraining on wiki, cpu"]
    assert "macro-F1 %" not in headings["Pretraining on wiki, cpu"]


def test_printing_shows_numbers_and_takes_no_text_for_markup(runs: list[RunRecord]) -> None:
    """A reason such as [bold] is printed as it stands."""
    runs[0] = dataclasses.replace(runs[0], reason="[bold]oom[/nonsense]")
    out = io.StringIO()
    print_comparison(Comparison(runs), file=out)
    text = out.getvalue()
    assert text.startswith("imdb: Use sdpa: test macro-F1 92.00 % (no interval")
    assert "lost: failed - [bold]oom[/nonsense]" in text
    lines = [line.split() for line in text.splitlines() if "performer_favor" in line]
    assert lines[0][:5] == ["3", "favor", "performer_favor", "0", "91.00"]


def test_no_runs_give_an_empty_file_and_no_table(tmp_path: Path) -> None:
    """Nothing to compare is no error here."""
    write_results_csv([], tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text() == "" and run_tables(Comparison([])) == []


def test_tapt_is_a_stage_between_and_never_ranked(record: Record) -> None:
    """Seeds that went through TAPT are one setup; TAPT is compared with TAPT only."""
    records = [
        *(
            record(f"{kind}{s}", "sdpa", None, kind=kind, seed=s, validation_loss=2.0, pretrain=o)
            for s in (0, 1)
            for kind, o in (("pretrain", None), ("tapt", f"pretrain{s}"))
        ),
        record("plain", "sdpa", 0.80, pretrain="pretrain0"),
        record("a0", "sdpa", 0.90, seed=0, pretrain="tapt/tapt0"),
        record("a1", "sdpa", 0.92, seed=1, pretrain="tapt/tapt1"),
        record("itself", "sdpa", 0.70, pretrain="tapt/none"),
        record("lsh", "reformer_lsh", 0.91, 50.0, pretrain="tapt/tapt0"),
    ]
    rows = {row.record.exp: row for row in rank(records)}
    assert [row.record.exp for row in rank(records)][-2:] == ["tapt0", "tapt1"]
    assert rows["tapt0"].rank is None
    assert (rows["a0"].seeds, rows["a1"].seeds, rows["plain"].seeds) == (2, 2, 1)
    assert rows["lsh"].time_vs_sdpa == 0.5
    setups = Comparison(records).setups
    lsh = next(setup for setup in setups if setup.attention == "reformer_lsh")
    reference = exact_setups(setups).get((lsh.shape, lsh.budget))
    assert reference is not None
    assert {run.exp for run in reference.runs} == {"a0", "a1"}


def test_a_run_of_before_an_option_is_a_seed_of_those_with_its_default(record: Record) -> None:
    """finetune.sampling came with 0.3; what a run lacks it has at its default."""
    old, new = record("a", "sdpa", 0.8), record(
        "b", "sdpa", 0.9, seed=1, options={"finetune.sampling": "natural"}
    )  # fmt: skip
    other = record("c", "sdpa", 0.9, options={"finetune.sampling": "balanced"})
    setups = Comparison([old, new, other]).setups
    assert [[run.exp for run in setup.runs] for setup in setups] == [["a", "b"], ["c"]]
