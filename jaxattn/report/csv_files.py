"""results.csv and summary.csv: a row a run, and a row a configuration."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from jaxattn.evaluate.intervals import comparable, mcnemar
from jaxattn.files import write_text
from jaxattn.report.comparison import Comparison, Group, Ranked
from jaxattn.report.record import SETTINGS
from jaxattn.report.setups import Setup
from jaxattn.runs.spreadsheets import safe

Row = dict[str, object]
"""Column -> value; None where it is not known."""

RESULTS = (
    "rank", "kind", "exp", "state", "reason", "data", "data_hash", "attention",
    "attention_options", "attention_implementation", "pretrain", "stages", "seed",
    "test_macro_f1", "test_accuracy", "test_weighted_f1", "test_auroc", "validation_macro_f1",
    "validation_loss", "seeds", "test_macro_f1_std", "time_per_epoch", "tokens_per_second",
    "max_gpu_mem_MiB", "peak_rss_MiB", "energy_per_epoch_J", "time_vs_sdpa", "memory_vs_sdpa",
    "parameters", "peft_method", "peft_options", "trainable_parameters", "added_parameters",
    "pretrain_seconds", "train_seconds", "compile_seconds", "steps", "best_step", "pass_wnf",
    "device", *SETTINGS,
)  # fmt: skip
"""The columns of results.csv: of `Ranked`, of `RunRecord`, or named below."""

COSTS = {
    "time_per_epoch": "seconds_per_epoch",
    "max_gpu_mem_MiB": "device_memory_mib",
    "peak_rss_MiB": "resident_memory_mib",
    "energy_per_epoch_J": "joules_per_epoch",
}
"""Column -> field of `RunRecord`."""


def results_rows(comparison: Comparison) -> list[Row]:
    """The rows of results.csv, ranked.

    Qualities are shares of 1; times seconds; memory MiB: `max_gpu_mem_MiB` is an accelerator's,
    `peak_rss_MiB` the resident memory of a process that ran without one; energy joules.
    """
    return [_result(row) for row in comparison.ranking]


def _result(row: Ranked) -> Row:
    run = row.record
    named = {
        **run.settings,
        **{column: getattr(run, field) for column, field in COSTS.items()},
        "attention_options": _options(run.attention_options),
        "attention_implementation": run.implementation,
        "data": run.data,
        "peft_method": run.peft,
        "peft_options": _options(run.peft_options),
    }
    return {
        column: named[column]
        if column in named
        else getattr(row if hasattr(row, column) else run, column)
        for column in RESULTS
    }


def summary_rows(comparison: Comparison) -> list[Row]:
    """The rows of summary.csv: every configuration with a finished run, group by group.

    Qualities and differences are shares of 1. `low` and `high` are the ends of 95 % bootstrap
    intervals over test texts, and over seeds where there are several. `vs_sdpa` is the difference
    to the comparable exact attention, paired by text; `mcnemar_p` compares the runs of each that
    are best on validation.
    """
    return [_summary(group, setup) for group in comparison.groups for setup in group.entries]


def _summary(group: Group, setup: Setup) -> Row:
    scores, sure, exact = setup.values("test_macro_f1"), setup.interval, group.exact(setup)
    gain = setup.lead(exact) if exact else None
    return {
        "data": group.data,
        "device": group.device,
        "budget": "; ".join(group.budget),
        "attention": setup.attention,
        "attention_options": _options(setup.runs[0].attention_options),
        "runs": " ".join(run.exp for run in setup.finished),
        "seeds": setup.seeds,
        "failed": sum(run.state == "failed" for run in setup.runs),
        "best_test_macro_f1": max(scores),
        "mean_test_macro_f1": fmean(scores),
        "sd_test_macro_f1": stdev(scores) if len(scores) > 1 else None,
        "low": sure.low if sure else None,
        "high": sure.high if sure else None,
        "vs_sdpa": gain.value / 100 if gain else None,
        "vs_sdpa_low": gain.low / 100 if gain else None,
        "vs_sdpa_high": gain.high / 100 if gain else None,
        "mcnemar_p": mcnemar_p(setup, exact),
        "mean_validation_macro_f1": setup.mean("validation_macro_f1"),
        **{column: setup.mean(field) for column, field in COSTS.items()},
        "parameters": setup.runs[0].parameters,
        "peft_method": setup.runs[0].peft,
        "trainable_parameters": setup.finished[0].trainable_parameters,
    }


def folds_rows(comparison: Comparison) -> list[Row]:
    """The rows of folds.csv: what was cross-validated, a row a configuration; shares of 1.

    `repeats` counts the cuts whose folds have all finished, `finished_folds` the folds of all cuts.
    """
    return [
        {
            "data": group.data,
            "folds": group.folds,
            "attention": entry.label,
            "runs": " ".join(run.exp for run in entry.runs if run.finished),
            "repeats": len(entry.repeats),
            "finished_folds": entry.done,
            "pooled_macro_f1": entry.macro_f1,
            "low": entry.interval.low if entry.interval else None,
            "high": entry.interval.high if entry.interval else None,
            "mean_of_folds": fmean(entry.scores) if entry.scores else None,
            "sd_of_folds": entry.spread,
        }
        for group in comparison.folded
        for entry in group.entries
    ]


def mcnemar_p(setup: Setup, exact: Setup | None) -> float | None:
    """Of the best runs of each; None where their predictions cannot be paired."""
    ours, theirs = setup.best_run.predictions, exact.best_run.predictions if exact else None
    if ours is None or theirs is None or not comparable(ours, theirs):
        return None
    return mcnemar(ours, theirs)


def _options(options: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Writes rows of the same columns as CSV (UTF-8, comma) whole or not at all.

    Numbers are written as `repr` gives them, without units, and empty where they are not known.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
    writer.writerows([cell(value) for value in row.values()] for row in rows)
    write_text(path, text.getvalue())


def cell(value: object) -> str:
    """A value as a CSV file holds it: numbers in full, text that no spreadsheet evaluates."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    return safe(" ".join(value.split()))
