"""The parts of the page about what each run was, and about runs that did not finish."""

import contextlib
import csv
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxattn.report.page.markup import Markup, details, joined, table, tag
from jaxattn.report.record import RunRecord
from jaxattn.runs.events import last_saved


def failures_section(records: Sequence[RunRecord]) -> Markup:
    """Runs without results: state, cause and the last step that can be gone on from."""
    rows = [
        (
            f"{run.kind}/{run.exp}",
            run.state,
            run.reason or "no reason recorded",
            last_saved_step(run.folder),
            last_logged_step(run.folder),
        )
        for run in records
        if not run.finished
    ]
    if not rows:
        return Markup("")
    headings = ("run", "state", "cause", "last saved step", "last logged step")
    return joined(tag("h2", "Runs that did not finish"), table(headings, rows))


def runs_section(records: Sequence[RunRecord], runs: Path) -> Markup:
    """What each run was; `runs` is the folder that holds them."""
    first: dict[str, RunRecord] = {}
    parts = []
    for run in records:
        first.setdefault(run.kind, run)
        parts.append(_run(run, first[run.kind], runs))
    return joined(tag("h2", "What each run was"), *parts)


def last_saved_step(folder: Path) -> str | None:
    """The step of the last checkpoint that the run tells of, None without one."""
    with contextlib.suppress(OSError):
        step = last_saved(folder)
        return None if step is None else str(step)
    return None


def last_logged_step(folder: Path) -> str | None:
    """The step of the last whole row of metrics.csv, None without one."""
    rows = metrics_rows(folder / "metrics.csv")
    steps = [row.get("step") or "" for row in rows if row.get("loss")]
    return next((step for step in reversed(steps) if step.isdigit()), None)


def metrics_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv up to the first that cannot be read."""
    rows: list[dict[str, str]] = []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows.extend(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return rows
    return rows


def _run(run: RunRecord, first: RunRecord, runs: Path) -> Markup:
    machine = run.environment
    versions = machine.get("versions")
    versions = versions if isinstance(versions, Mapping) else {}
    facts: list[tuple[str, Any]] = [
        ("run", f"{run.kind}/{run.exp}, {run.state}"),
        ("data", f"{run.data}, hash {(run.data_hash or 'unknown')[:16]}"),
        ("attention", run.attention),
        ("stages", run.stages),
        ("seed", run.seed),
        ("device", run.device),
        (
            "versions",
            ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        ),
        ("source", _source(machine)),
        ("launched with", _command(machine)),
        ("replay", tag("code", _replay(run, runs))),
        ("predictions", run.predictions_fault or None),
    ]
    rows = [(name, value) for name, value in facts if value is not None]
    parts = [table(("", ""), rows)]
    if run is not first:
        parts.append(_difference(run, first))
    title = f"{run.kind}/{run.exp}: {run.attention or 'unknown attention'}, {run.state}"
    return details(title, *parts)


def _difference(run: RunRecord, first: RunRecord) -> Markup:
    """The options in which a run is not like the first of its kind."""
    paths = sorted({*run.config, *first.config})
    rows = [
        (path, _option(first.config, path), _option(run.config, path))
        for path in paths
        if run.config.get(path) != first.config.get(path) and path != "label_names"
    ]
    if not rows:
        return tag("p", f"The same options as {first.kind}/{first.exp}.", class_="small")
    return table(
        ("option", first.exp, run.exp), rows, f"Options that differ from {first.kind}/{first.exp}"
    )


def _option(config: Mapping[str, Any], path: str) -> str:
    return str(config[path]) if path in config else "not recorded"


def _source(machine: Mapping[str, Any]) -> str | None:
    commit = machine.get("git_commit")
    if not isinstance(commit, str):
        return None
    return commit[:12] + (" with changes" if machine.get("git_dirty") else "")


def _command(machine: Mapping[str, Any]) -> Markup | None:
    command = machine.get("command")
    if not isinstance(command, list):
        return None
    flags = (shlex.quote(str(argument)) for argument in command[1:])
    return tag("code", " ".join(("jaxattn", *flags)))


def _replay(run: RunRecord, runs: Path) -> str:
    folder = Path(runs.name or "runs") / run.kind / run.exp
    return f"bash reproduce.sh {shlex.quote(str(folder))}"
