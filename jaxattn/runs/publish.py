"""Results, tables and files of a finished run, and whole reports, to Weights & Biases."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxattn.config import Config, LogConfig, flatten, to_plain
from jaxattn.console import say
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.manifest import NAME as MANIFEST
from jaxattn.runs.predictions import NAME as PREDICTIONS
from jaxattn.runs.predictions import read_predictions
from jaxattn.runs.results import Results, tree
from jaxattn.runs.tracking import WandbRun

RUN_FILES = (
    "results.json", "environment.json", "metrics.csv", "tokenizer.json", PREDICTIONS, MANIFEST,
)  # fmt: skip

REPORT_TABLES = ("summary.csv", "folds.csv")
"""Either may be missing or empty: where all is cross-validated, or nothing is."""

REPORT_FILES = ("index.html", "results.csv", *REPORT_TABLES, "quality_vs_cost.png")


def write_results(folder: RunFolder, config: Config, results: Results) -> None:
    """Writes results.json and the manifest, then publishes what `config.log` asks for.

    What W&B does not take is said and no more: the results are on disk.
    """
    folder.write_results(results)
    if config.log.wandb == "off":
        return
    try:
        run = WandbRun(folder.path, config.log, folder.exp, folder.kind, flatten(to_plain(config)))
        run.summary(dict(_numbers(tree(results))))
        if results.confusion is not None:
            names = read_predictions(folder.path / PREDICTIONS).names
            rows = zip(names, results.confusion, strict=True)
            run.table("confusion", ("class", *names), [[name, *row] for name, row in rows])
        files = [folder.path / name for name in (folder.saved.path.name, *RUN_FILES)]
        run.artifact(f"{folder.kind}-{folder.exp}", "run", files)
        if config.log.wandb_checkpoint and results.best_step is not None:
            best = folder.path / "checkpoints" / f"step_{results.best_step:08d}"
            run.artifact(f"{folder.kind}-{folder.exp}-checkpoint", "model", [best])
        run.close(exit_code=0)
    except Exception as error:
        # Whatever the client raises: a finished run is none that failed.
        reason = " ".join(str(error).split()) or type(error).__name__
        say(f"{folder.path}: the results are there, but were not published: {reason}")


def publish_report(report: Path, log: LogConfig) -> None:
    """The page, the pictures and `REPORT_TABLES`, as one run called after the folder.

    Raises:
      InputError: W&B does not start.
    """
    if log.wandb == "off":
        return
    name = report.absolute().parent.name
    run = WandbRun(report, log, name, "report", {})
    for table in (report / file for file in REPORT_TABLES):
        rows: list[list[str]] = []
        if table.exists():
            with open(table, newline="", encoding="utf-8") as file:
                rows = list(csv.reader(file))
        if rows:
            run.table(table.stem, rows[0], rows[1:])
    run.page("report", report / "index.html")
    for picture in sorted(report.glob("*.png")):
        run.picture(picture.stem, picture)
    run.artifact(f"report-{name}", "report", [report / file for file in REPORT_FILES])
    run.close(exit_code=0)
    say(f"published: {report} to Weights & Biases ({log.wandb}), project {log.wandb_project}")


def _numbers(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of nested results as test/macro_f1, cost/seconds_per_epoch, ..."""
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", value


def log_evaluation(
    folder: RunFolder, config: LogConfig, name: str, report: Mapping[str, Any]
) -> None:
    """Sends the numbers of `report` as eval_<name>/<metric>; nothing with `log.wandb` = off.

    They go into the summary: an evaluation is no step of the training.

    Raises:
      InputError: W&B does not start.
    """
    if config.wandb == "off":
        return
    run = WandbRun(folder.path, config, folder.exp, folder.kind, {})
    numbers = {k: v for k, v in report.items() if isinstance(v, int | float)}
    run.summary({f"eval_{name}/{metric}": value for metric, value in numbers.items()})
    run.close(exit_code=0)
