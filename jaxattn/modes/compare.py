"""--mode=compare: one table, one CSV file and one picture over a folder of runs."""

from pathlib import Path

from jaxattn.errors import InputError
from jaxattn.modes.request import Request
from jaxattn.report.collect import collect
from jaxattn.report.plot import quality_against_cost
from jaxattn.report.table import print_criteria, print_tables, write_results_csv


def run(request: Request) -> None:
    """Compares every run under --runs; writes its report/ folder."""
    compare(request.runs)


def compare(runs: Path) -> None:
    """Prints the tables, then writes report/results.csv and report/quality_vs_cost.png."""
    if not runs.is_dir():
        raise InputError(f"--runs={runs}: no such folder; train something first")
    records = collect(runs)
    if not any(record.kind in ("finetune", "baseline") for record in records):
        raise InputError(f"--runs={runs}: no fine-tuning or baseline run to compare")
    report = runs / "report"
    report.mkdir(exist_ok=True)
    results, picture = report / "results.csv", report / "quality_vs_cost.png"
    print_criteria(records)
    print_tables(records)
    write_results_csv(records, results)
    print(f"table:   {results}")
    if quality_against_cost(records, picture):
        print(f"picture: {picture}")
