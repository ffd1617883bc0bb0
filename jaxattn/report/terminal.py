"""The comparison at the terminal: the answer first, then tables, causes of failures, criteria."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from jaxattn.console import Column, shown, table, terminal
from jaxattn.report.answer import answer
from jaxattn.report.comparison import Comparison, Ranked
from jaxattn.report.criteria import NOT_MEASURED, Criterion

if TYPE_CHECKING:
    from rich.table import Table


def _percent(value: float | None) -> str:
    return shown(value, ",.2f", times=100)


def _text(value: object) -> str:
    return "-" if value is None else str(value)


_COLUMNS: tuple[Column[Ranked], ...] = (
    Column("rank", lambda row: _text(row.rank), "right"),
    Column("run", lambda row: row.record.exp, "left"),
    Column("attention", lambda row: _text(row.record.attention), "left"),
    Column("seed", lambda row: _text(row.record.seed), "right"),
    Column("MLM\nloss", lambda row: _loss(row), "right"),
    Column("macro-F1\n%", lambda row: _percent(row.record.test_macro_f1), "right"),
    Column("std\npp", lambda row: _percent(row.test_macro_f1_std), "right"),
    Column("accuracy\n%", lambda row: _percent(row.record.test_accuracy), "right"),
    Column("AUROC\n%", lambda row: _percent(row.record.test_auroc), "right"),
    Column("s/epoch", lambda row: shown(row.record.seconds_per_epoch, ",.1f"), "right"),
    Column("tokens/s", lambda row: shown(row.record.tokens_per_second, ",.0f"), "right"),
    Column("device\nmemory MiB", lambda row: shown(row.record.device_memory_mib, ",.0f"), "right"),
    Column(
        "resident\nmemory MiB", lambda row: shown(row.record.resident_memory_mib, ",.0f"), "right"
    ),
    Column("kJ/epoch", lambda row: shown(row.record.joules_per_epoch, ",.2f", times=1e-3), "right"),
    Column("time\n/ sdpa", lambda row: shown(row.time_vs_sdpa, ",.2f"), "right"),
    Column("memory\n/ sdpa", lambda row: shown(row.memory_vs_sdpa, ",.2f"), "right"),
    Column("parameters", lambda row: shown(row.record.parameters, ",.0f"), "right"),
    Column("PASS_WNF", lambda row: row.pass_wnf or "-", "left"),
)

_CRITERIA: tuple[Column[Criterion], ...] = (
    Column("criterion", lambda row: row.criterion, "left"),
    Column("data", lambda row: row.setup.data, "left"),
    Column("attention", lambda row: row.setup.attention, "left"),
    Column("limit", lambda row: row.limit, "left"),
    Column("measured", lambda row: row.measured, "left"),
    Column("verdict", lambda row: row.verdict, "left"),
)

_MLM_TITLES = {"pretrain": "Pretraining on ", "tapt": "TAPT on "}


def _loss(row: Ranked) -> str:
    return shown(row.record.validation_loss if row.record.is_mlm else None, ",.4f")


def print_comparison(comparison: Comparison, file: TextIO | None = None) -> None:
    """Prints what to use, the tables, the causes of failures and the criteria that were measured.

    To `file`, by default the standard output.
    """
    from rich.text import Text

    console = terminal(file)
    for line in answers(comparison):
        # As `Text`, "[...]" from a run folder is no markup; a sentence is not broken in a file.
        console.print(Text(line, "bold"), soft_wrap=True)
    console.print()
    for each in run_tables(comparison):
        console.print(each)
        console.print()
    for line in causes(comparison):
        console.print(Text(line), soft_wrap=True)
    measured = [row for row in comparison.criteria if row.verdict != NOT_MEASURED]
    if measured:
        console.print(table("Acceptance criteria", _CRITERIA, measured))
    if line := not_measured(comparison.criteria):
        console.print(Text(line), soft_wrap=True)


def answers(comparison: Comparison) -> list[str]:
    """One sentence a group: what to use, and what it costs."""
    groups = comparison.groups
    if not groups:
        return ["No run has finished."]
    times = Counter(group.data for group in groups)
    return [
        f"{group.data if times[group.data] == 1 else f'{group.data} ({group.conditions})'}: "
        f"{answer(group)[0]}"
        for group in groups
    ]


def run_tables(comparison: Comparison) -> list["Table"]:
    """One table for each data set and device; its title names both.

    Runs that are not finished stand at the end, without a rank; `causes` says why. A column that
    no run of a table has a value for is left out.
    """
    groups: dict[str, list[Ranked]] = {}
    for row in comparison.ranking:
        kind, device = _MLM_TITLES.get(row.record.kind, ""), row.record.device or "unknown device"
        groups.setdefault(f"{kind}{row.data}, {device}", []).append(row)
    return [
        table(title, _COLUMNS, rows, only_known=True, dim=lambda row: not row.record.finished)
        for title, rows in groups.items()
    ]


def causes(comparison: Comparison) -> list[str]:
    """A line for every run that is not finished: its state and the reason."""
    return [
        f"{run.kind} {run.exp}: {run.state}" + (f" - {run.reason}" if run.reason else "")
        for run in comparison.records
        if not run.finished
    ]


def not_measured(criteria: Sequence[Criterion]) -> str:
    """A line that counts the criteria without a measurement; empty where there are none."""
    missing = Counter(row.criterion for row in criteria if row.verdict == NOT_MEASURED)
    if not missing:
        return ""
    listed = ", ".join(f"{name} ({count})" for name, count in missing.items())
    return f"Not measured, {missing.total()} of {len(criteria)} (the page says why): {listed}."
