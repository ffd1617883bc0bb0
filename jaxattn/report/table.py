"""The comparison as results.csv and as tables on the terminal."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, TextIO

from jaxattn.console import PLAIN_WIDTH
from jaxattn.evaluate.intervals import comparable, macro_f1_interval, mcnemar
from jaxattn.files import write_text
from jaxattn.report.criteria import criteria
from jaxattn.report.ranking import Ranked, rank
from jaxattn.report.record import SETTINGS, RunRecord
from jaxattn.report.setups import (
    Group,
    Setup,
    best_on_validation,
    comparable_groups,
    lead,
    sdpa_reference,
)

if TYPE_CHECKING:
    from rich.table import Table


def results_rows(records: Sequence[RunRecord], by: str = "test_macro_f1") -> list[dict[str, Any]]:
    """The rows of results.csv as column -> value; None where a run has no such value.

    Qualities are shares of 1; times seconds; memory MiB: `max_gpu_mem_MiB` is an accelerator's,
    `peak_rss_MiB` the resident memory of a process that ran without one; energy joules.
    """
    rows = []
    for row in rank(records, by):
        run = row.record
        options = ", ".join(f"{name}={value}" for name, value in run.attention_options.items())
        rows.append(
            {
                "rank": row.rank,
                "kind": run.kind,
                "exp": run.exp,
                "state": run.state,
                "reason": run.reason,
                "data": run.data,
                "data_hash": run.data_hash,
                "attention": run.attention,
                "attention_options": options,
                "attention_implementation": run.implementation,
                "pretrain": run.pretrain,
                "stages": run.stages,
                "seed": run.seed,
                "test_macro_f1": run.test_macro_f1,
                "test_accuracy": run.test_accuracy,
                "test_weighted_f1": run.test_weighted_f1,
                "test_auroc": run.test_auroc,
                "validation_macro_f1": run.validation_macro_f1,
                "validation_loss": run.validation_loss,
                "seeds": row.seeds,
                "test_macro_f1_std": row.test_macro_f1_std,
                "time_per_epoch": run.seconds_per_epoch,
                "tokens_per_second": run.tokens_per_second,
                "max_gpu_mem_MiB": run.device_memory_mib,
                "peak_rss_MiB": run.resident_memory_mib,
                "energy_per_epoch_J": run.joules_per_epoch,
                "time_vs_sdpa": row.time_vs_sdpa,
                "memory_vs_sdpa": row.memory_vs_sdpa,
                "parameters": run.parameters,
                "peft_method": run.peft,
                "peft_options": ", ".join(f"{n}={v}" for n, v in run.peft_options.items()),
                "trainable_parameters": run.trainable_parameters,
                "added_parameters": run.added_parameters,
                "pretrain_seconds": run.pretrain_seconds,
                "train_seconds": run.train_seconds,
                "compile_seconds": run.compile_seconds,
                "steps": run.steps,
                "best_step": run.best_step,
                "pass_wnf": row.pass_wnf,
                "device": run.device,
                **{name: run.settings[name] for name in SETTINGS},
            }
        )
    return rows


def write_results_csv(records: Sequence[RunRecord], path: Path, by: str = "test_macro_f1") -> None:
    """Writes results.csv, one row a run, as `write_rows`."""
    write_rows(results_rows(records, by), path)


def write_rows(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes rows of the same columns as CSV (UTF-8, comma) whole or not at all.

    Numbers are written as `repr` gives them, without units, and empty where they are not known.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
    writer.writerows([cell(value) for value in row.values()] for row in rows)
    write_text(path, text.getvalue())


def cell(value: Any) -> str:
    """A value as a CSV file holds it: numbers in full, text that no spreadsheet evaluates."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    text = " ".join(value.split())
    # A spreadsheet would evaluate such a text as a formula; the apostrophe makes it a text again.
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _number(digits: int, factor: float = 1.0) -> Callable[[Any], str]:
    def shown(value: Any) -> str:
        return "-" if value is None else f"{factor * value:,.{digits}f}"

    return shown


# Title, value of a row, how it is shown, on which side it is aligned. A column that no run of
# a table has a value for is left out.
_COLUMNS: tuple[tuple[str, Callable[[Ranked], Any], Callable[[Any], str], Any], ...] = (
    ("rank", lambda row: row.rank, _text, "right"),
    ("run", lambda row: row.record.exp, _text, "left"),
    ("attention", lambda row: row.record.attention, _text, "left"),
    ("seed", lambda row: row.record.seed, _text, "right"),
    ("macro-F1\n%", lambda row: row.record.test_macro_f1, _number(2, 100), "right"),
    ("std\npp", lambda row: row.test_macro_f1_std, _number(2, 100), "right"),
    ("accuracy\n%", lambda row: row.record.test_accuracy, _number(2, 100), "right"),
    ("AUROC\n%", lambda row: row.record.test_auroc, _number(2, 100), "right"),
    ("s/epoch", lambda row: row.record.seconds_per_epoch, _number(1), "right"),
    ("tokens/s", lambda row: row.record.tokens_per_second, _number(0), "right"),
    ("device\nmemory MiB", lambda row: row.record.device_memory_mib, _number(0), "right"),
    ("resident\nmemory MiB", lambda row: row.record.resident_memory_mib, _number(0), "right"),
    ("kJ/epoch", lambda row: row.record.joules_per_epoch, _number(2, 1e-3), "right"),
    ("time\n/ sdpa", lambda row: row.time_vs_sdpa, _number(2), "right"),
    ("memory\n/ sdpa", lambda row: row.memory_vs_sdpa, _number(2), "right"),
    ("parameters", lambda row: row.record.parameters, _number(0), "right"),
    ("WNF", lambda row: row.pass_wnf or None, _text, "left"),
)

_MLM_TITLES = {"pretrain": "Pretraining on ", "tapt": "TAPT on "}

_LOSS_COLUMN = ("MLM\nloss", lambda row: row.record.validation_loss, _number(4), "right")


def format_tables(records: Sequence[RunRecord], by: str = "test_macro_f1") -> list["Table"]:
    """One table for each data set and device; its title names both.

    Runs that are not finished stand at the end, without a rank; `causes` says why.
    """
    groups: dict[tuple[str, str, str], list[Ranked]] = {}
    for row in rank(records, by):
        device = row.record.device or "unknown device"
        key = _MLM_TITLES.get(row.record.kind, ""), row.data, device
        groups.setdefault(key, []).append(row)
    return [
        _table(f"{kind}{data}, {device}", rows, bool(kind))
        for (kind, data, device), rows in groups.items()
    ]


def _table(title: str, rows: Sequence[Ranked], mlm: bool) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # Texts come from run folders: as `Text`, "[...]" in them is no markup.
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    columns = [*_COLUMNS[:4], _LOSS_COLUMN, *_COLUMNS[4:]] if mlm else list(_COLUMNS)
    columns = [column for column in columns if any(column[1](row) is not None for row in rows)]
    for heading, _, _, side in columns:
        table.add_column(heading, justify=side, overflow="fold")
    for row in rows:
        cells = [Text(shown(value(row))) for _, value, shown, _ in columns]
        table.add_row(*cells, style=None if row.record.finished else "dim")
    return table


def print_criteria(records: Sequence[RunRecord], file: TextIO | None = None) -> None:
    """Prints every WNF criterion with its limit, what was measured, and the verdict."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = criteria(records)
    if not rows:
        return
    title = Text("Acceptance criteria")
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for heading in ("criterion", "data", "attention", "limit", "measured", "verdict"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        cells = (row.criterion, row.data, row.attention, row.limit, row.measured, row.verdict)
        table.add_row(*map(Text, cells))
    console = Console(file=file)
    if not console.is_terminal:
        console = Console(file=file, width=PLAIN_WIDTH)
    console.print(table)


def causes(records: Sequence[RunRecord]) -> list[str]:
    """A line for every run that is not finished: its state and the reason."""
    return [
        f"{record.kind} {record.exp}: {record.state}"
        + (f" - {record.reason}" if record.reason else "")
        for record in records
        if not record.finished
    ]


def print_tables(
    records: Sequence[RunRecord], by: str = "test_macro_f1", file: TextIO | None = None
) -> None:
    """Prints the tables, then the causes of failures, to `file` (default: standard output)."""
    from rich.console import Console

    console = Console(file=file)
    if not console.is_terminal:
        console = Console(file=file, width=PLAIN_WIDTH)
    for table in format_tables(records, by):
        console.print(table)
        console.print()
    for line in causes(records):
        console.print(line, markup=False, highlight=False)


def summary_rows(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Column -> value for every configuration with a finished run, group by group.

    Qualities and differences are shares of 1. `low` and `high` are the ends of 95 % bootstrap
    intervals over test texts, and over seeds where there are several. `vs_sdpa` is the difference
    to the comparable exact attention, paired by text; `mcnemar_p` compares the runs of each that
    are best on validation. None where it is not known.
    """
    return [_row(group, setup) for group in comparable_groups(records) for setup in group.entries]


def write_summary_csv(records: Sequence[RunRecord], path: Path) -> None:
    """Writes summary.csv, one row a configuration, as `write_rows`."""
    write_rows(summary_rows(records), path)


def best_run(setup: Setup) -> RunRecord:
    """The finished run that is best on validation; of equals the first."""
    return best_on_validation(setup.finished)


def comparable_exact(setup: Setup, group: Group) -> Setup | None:
    """The exact attention of the group to set `setup` against; None for exact ones, baselines."""
    if setup not in group.setups or setup.attention == "sdpa":
        return None
    return sdpa_reference(setup, group.setups)


def _row(group: Group, setup: Setup) -> dict[str, Any]:
    scores = setup.values("test_macro_f1")
    sure = macro_f1_interval(setup.predictions) if setup.predictions else None
    exact = comparable_exact(setup, group)
    gain = lead(setup.predictions, exact.predictions) if exact is not None else None
    return {
        "data": group.data,
        "device": group.device,
        "budget": "; ".join(group.budget),
        "attention": setup.attention,
        "attention_options": ", ".join(
            f"{name}={value}" for name, value in setup.runs[0].attention_options.items()
        ),
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
        "mcnemar_p": _mcnemar(setup, exact),
        "mean_validation_macro_f1": setup.mean("validation_macro_f1"),
        "time_per_epoch": setup.mean("seconds_per_epoch"),
        "max_gpu_mem_MiB": setup.mean("device_memory_mib"),
        "peak_rss_MiB": setup.mean("resident_memory_mib"),
        "energy_per_epoch_J": setup.mean("joules_per_epoch"),
        "parameters": setup.runs[0].parameters,
        "peft_method": setup.runs[0].peft,
        "trainable_parameters": setup.finished[0].trainable_parameters,
    }


def _mcnemar(setup: Setup, exact: Setup | None) -> float | None:
    if exact is None:
        return None
    ours, theirs = best_run(setup).predictions, best_run(exact).predictions
    if ours is None or theirs is None or not comparable(ours, theirs):
        return None
    return mcnemar(ours, theirs)
