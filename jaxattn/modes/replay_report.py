"""Replays a whole comparison: every finished run that a report lists, then the comparison."""

import csv
from pathlib import Path

from jaxattn.config import LogConfig
from jaxattn.errors import InputError
from jaxattn.modes.compare import compare
from jaxattn.modes.run_folder import CONFIG_FILES, NAME, RESULTS_TABLE
from jaxattn.modes.stages import Call, run_stages
from jaxattn.modes.training import say


def replay_report(report: Path) -> int:
    """Replays into runs/replays and compares there; 1 if a result differs or a replay failed.

    Each replay is a process of its own, so that its peak memory is its own.

    Raises:
      InputError: results.csv lists no finished run, or one whose folder is not there.
    """
    runs = report.absolute().parent
    calls = _calls(report / RESULTS_TABLE, runs)
    code, failed = run_stages(calls, (), runs=runs, resume=False)
    if code < 2 and len(failed) < len(calls):
        compare(runs / "replays", LogConfig())
    if failed:
        say(f"failed or not equal: {'; '.join(call[1] for call in failed)}")
    elif not code:
        say(f"{len(calls)} runs replayed, all with equal results")
    return code


def _calls(table: Path, runs: Path) -> list[Call]:
    try:
        with open(table, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("state") == "finished"]
    except (ValueError, csv.Error) as error:
        raise InputError(f"{table}: not a readable table ({error})") from None
    if not rows:
        raise InputError(f"{table}: found no finished run to replay")
    found: list[tuple[str, str]] = []
    for row in rows:
        kind, exp = row.get("kind") or "", row.get("exp") or ""
        if kind not in CONFIG_FILES or not NAME.fullmatch(exp) or not (runs / kind / exp).is_dir():
            raise InputError(f"{table}: {kind}/{exp}: no such run beside the report")
        found.append((kind, exp))
    found.sort(key=lambda run: list(CONFIG_FILES).index(run[0]))
    return [("--mode=replay", f"--run={runs / kind / exp}") for kind, exp in found]
