"""The comparison at the terminal: the answer first, then tables, causes of failures, criteria."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from jaxattn.console import Column, shown, table, terminal, visible
from jaxattn.report.answer import answer
from jaxattn.report.comparison import Comparison, Ranked
from jaxattn.report.criteria import NOT_MEASURED, Criterion
from jaxattn.report.exchange import exchanges
from jaxattn.report.folds import folds_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def _of(
    field: str, heading: str, form: str = ",.0f", times: float = 1.0, ranked: bool = False
) -> Column[Ranked]:
    """A column of figures: a field of the run's record, or one that follows from ranking it."""
    return Column(
        heading,
        lambda row: shown(getattr(row if ranked else row.record, field), form, times=times),
        "right",
    )


def _text(value: object) -> str:
    return "-" if value is None else str(value)


_COLUMNS: tuple[Column[Ranked], ...] = (
    _of("rank", "rank", ranked=True),
    Column("run", lambda row: row.record.exp, "left"),
    Column("attention", lambda row: _text(row.record.attention), "left"),
    Column("seed", lambda row: _text(row.record.seed), "right"),
    Column("MLM\nloss", lambda row: _loss(row), "right"),
    _of("test_macro_f1", "macro-F1\n%", ",.2f", 100),
    _of("test_macro_f1_std", "std\npp", ",.2f", 100, ranked=True),
    _of("test_accuracy", "accuracy\n%", ",.2f", 100),
    _of("test_auroc", "AUROC\n%", ",.2f", 100),
    _of("seconds_per_epoch", "s/epoch", ",.1f"),
    _of("tokens_per_second", "tokens/s"),
    _of("device_memory_mib", "device\nmemory MiB"),
    _of("resident_memory_mib", "resident\nmemory MiB"),
    _of("joules_per_epoch", "kJ/epoch", ",.2f", 1e-3),
    _of("time_vs_sdpa", "time\n/ sdpa", ",.2f", ranked=True),
    _of("memory_vs_sdpa", "memory\n/ sdpa", ",.2f", ranked=True),
    _of("parameters", "parameters"),
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
    """Prints what to use, the tables, exchanges of attention, failures and measured criteria.

    To `file`, by default the standard output.
    """
    from rich.text import Text

    console = terminal(file)
    for line in answers(comparison):
        # As `Text`, "[...]" from a run folder is no markup; a sentence is not broken in a file.
        console.print(Text(visible(line), "bold"), soft_wrap=True)
    console.print()
    for each in run_tables(comparison):
        console.print(each)
        console.print()
    for group in comparison.folded:
        print_rows(console, group.heading, group.rows())
    for exchange in exchanges(comparison.records):
        console.print(Text(visible(exchange.sentence)), soft_wrap=True)
    for line in causes(comparison):
        console.print(Text(visible(line)), soft_wrap=True)
    measured = [row for row in comparison.criteria if row.verdict != NOT_MEASURED]
    if measured:
        console.print(table("Acceptance criteria", _CRITERIA, measured))
    if line := not_measured(comparison.criteria):
        console.print(Text(visible(line)), soft_wrap=True)


def answers(comparison: Comparison) -> list[str]:
    """One sentence a group: what to use, and what it costs."""
    groups = comparison.groups
    pooled = [f"{group.heading}: {group.answer}" for group in comparison.folded]
    if not groups:
        return pooled or ["No run has finished."]
    times = Counter(group.data for group in groups)
    return [
        f"{group.data if times[group.data] == 1 else f'{group.data} ({group.conditions})'}: "
        f"{answer(group)[0]}"
        for group in groups
    ] + pooled


def run_tables(comparison: Comparison) -> list["Table"]:
    """One table for each data set and device; its title names both.

    Runs that are not finished stand at the end, without a rank; `causes` says why. A column that
    no run of a table has a value for is left out.
    """
    groups: dict[str, list[Ranked]] = {}
    for row in comparison.ranking:
        if folds_of(row.record):
            continue
        kind, device = _MLM_TITLES.get(row.record.kind, ""), row.record.device or "unknown device"
        groups.setdefault(f"{kind}{row.data}, {device}", []).append(row)
    return [
        table(title, _COLUMNS, rows, only_known=True, dim=lambda row: not row.record.finished)
        for title, rows in groups.items()
    ]


def print_rows(console: "Console", title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Prints rows with the same headings as a table."""

    def column(heading: str) -> Column[Mapping[str, object]]:
        return Column(heading, lambda row: _text(row[heading]))

    console.print(table(title, [column(heading) for heading in rows[0]], rows, only_known=True))
    console.print()


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
