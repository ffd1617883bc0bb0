"""A comparison of all runs: tables, picture and page."""

from pathlib import Path

from jaxattn.config import LogConfig
from jaxattn.errors import InputError
from jaxattn.report.collect import collect
from jaxattn.report.page.page import write_page
from jaxattn.report.page.plot import quality_against_cost
from jaxattn.report.table import print_criteria, print_tables, write_results_csv, write_summary_csv
from jaxattn.runs.publish import publish_report


def compare(runs: Path, log: LogConfig) -> None:
    """Prints the tables, then writes results.csv, summary.csv, the pictures and index.html.

    `log` says whether all that goes to Weights & Biases too.
    """
    if not runs.is_dir():
        raise InputError(f"--runs={runs}: no such folder; train something first")
    records = collect(runs)
    if not any(record.kind in ("finetune", "baseline") for record in records):
        raise InputError(f"--runs={runs}: no fine-tuning or baseline run to compare")
    report = runs / "report"
    report.mkdir(exist_ok=True)
    results, picture = report / "results.csv", report / "quality_vs_cost.png"
    summary, page = report / "summary.csv", report / "index.html"
    print_criteria(records)
    print_tables(records)
    write_results_csv(records, results)
    write_summary_csv(records, summary)
    print(f"tables:  {results}, {summary}")
    if quality_against_cost(records, picture):
        print(f"picture: {picture}")
    write_page(records, page, runs)
    print(f"report:  {page}")
    publish_report(report, log)
