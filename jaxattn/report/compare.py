"""A comparison of all runs: tables, picture and page."""

from pathlib import Path

from jaxattn.config import LogConfig
from jaxattn.errors import InputError
from jaxattn.report.collect import collect
from jaxattn.report.comparison import Comparison
from jaxattn.report.csv_files import folds_rows, results_rows, summary_rows, write_rows
from jaxattn.report.page.page import write_page
from jaxattn.report.page.plot import quality_against_cost
from jaxattn.report.terminal import print_comparison
from jaxattn.runs.publish import publish_report


def compare(runs: Path, log: LogConfig, rank_by: str = "test_macro_f1") -> None:
    """Prints the comparison, then writes results.csv, summary.csv, the picture and index.html.

    `log` says whether all that goes to Weights & Biases too, `rank_by` is one of `RANKED_BY`.
    """
    if not runs.is_dir():
        raise InputError(f"--runs={runs}: no such folder; train something first")
    comparison = Comparison(collect(runs), rank_by)
    if not any(run.kind in ("finetune", "baseline") for run in comparison.records):
        raise InputError(f"--runs={runs}: no fine-tuning or baseline run to compare")
    report = runs / "report"
    report.mkdir(exist_ok=True)
    results, picture = report / "results.csv", report / "quality_vs_cost.png"
    summary, page = report / "summary.csv", report / "index.html"
    print_comparison(comparison)
    write_rows(results_rows(comparison), results)
    write_rows(summary_rows(comparison), summary)
    tables = [results, summary]
    if rows := folds_rows(comparison):
        tables.append(report / "folds.csv")
        write_rows(rows, tables[-1])
    print(f"tables:  {', '.join(map(str, tables))}")
    if quality_against_cost(comparison, picture):
        print(f"picture: {picture}")
    write_page(comparison, page, runs)
    print(f"report:  {page}")
    publish_report(report, log)
