"""Stages as processes of their own, for the modes that run several of them.

So a stage's peak memory is its own, and so is its failure.
"""

import csv
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxattn.config import LogConfig
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.report.compare import compare
from jaxattn.runs.folder import NAME, RESULTS_TABLE
from jaxattn.runs.kinds import KINDS

STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a stage that was asked to stop."""

Call = tuple[str, ...]
"""The flags that make a stage what it is; the first two are --mode and --exp."""


def source_of_call(call: Call) -> Call:
    """--mode and --exp of the stage that this one starts from; empty where there is none."""
    flag = next((flag for flag in call if flag.startswith("--pretrain=")), "")
    kind, _, exp = flag.removeprefix("--pretrain=").partition("@")[0].rpartition("/")
    return (f"--mode={kind or 'pretrain'}", f"--exp={exp}") if exp else ()


def run_stages(
    calls: Sequence[Call],
    flags: Sequence[str],
    *,
    runs: Path,
    resume: bool,
    stands: Callable[[Call], bool] = lambda call: False,
) -> tuple[int, list[Call]]:
    """Runs the stages in order; one that fails leaves out only those that follow from it.

    Args:
      calls: the stages.
      flags: given to each of them before its own, which are the ones that count.
      runs: the folder of all runs.
      resume: whether to continue a stage that was begun.
      stands: whether the result of a stage is there already, asked when its turn comes.

    Returns:
      The exit code, and the stages that failed: 0, 1 if any failed, 2 after bad input and
      128 + signal after a request to stop, which end the work at once.
    """
    failed: list[Call] = []
    missing: set[Call] = set()
    for number, call in enumerate(calls, 1):
        shown = f"\n[{number}/{len(calls)}] {' '.join(call)}"
        source = source_of_call(call)
        if source in missing:
            missing.add(call[:2])
            stage = {"--mode=tapt": "TAPT"}.get(source[0], "pretraining")
            failing = "failed" if any(source == other[:2] for other in failed) else "was left out"
            say(f"{shown}: left out, its {stage} {failing}")
            continue
        if stands(call):
            say(f"{shown}: its result is there and unchanged")
            continue
        say(shown)
        more = ["--resume"] if resume else []
        more += [] if call[0] == "--mode=replay" else [f"--runs={runs}"]
        code = _process([*flags, *call, *more])
        if code in STOPPED:
            stop = signal.SIGINT if code in (130, -signal.SIGINT) else signal.SIGTERM
            return 128 + stop, failed
        if code == 2:
            return 2, failed
        if code:
            say(f"this stage failed with exit code {code}")
            failed.append(call)
            missing.add(call[:2])
    return (1 if failed else 0), failed


def _process(flags: list[str]) -> int:
    """Runs `jaxattn` with these flags; hands on requests to stop and waits until it has saved."""
    process = subprocess.Popen([sys.executable, "-m", "jaxattn", *flags])
    previous = {
        number: signal.signal(number, lambda n, _: process.send_signal(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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
        if kind not in KINDS or not NAME.fullmatch(exp) or not (runs / kind / exp).is_dir():
            raise InputError(f"{table}: {kind}/{exp}: no such run beside the report")
        found.append((kind, exp))
    found.sort(key=lambda run: list(KINDS).index(run[0]))
    return [("--mode=replay", f"--run={runs / kind / exp}") for kind, exp in found]
