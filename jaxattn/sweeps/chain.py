"""Stages as processes of their own, for the modes that run several of them.

So a stage's peak memory is its own, and so is its failure.
"""

import csv
import io
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxattn.config import LogConfig
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.files import LARGEST_TABLE, read_text
from jaxattn.report.compare import compare
from jaxattn.runs.folder import NAME, RESULTS_TABLE
from jaxattn.runs.kinds import KINDS
from jaxattn.signals import CHILDREN, STOPPING, hand_on, stop_requests
from jaxattn.sweeps.local import COMMAND

STOPPED = {code: 128 + number for number in STOPPING for code in (128 + number, -number)}
"""How a stage ends that was asked to stop -> how the whole ends then."""

Call = tuple[str, ...]
"""The flags that make a stage what it is; the first two are --mode and --exp."""


def source_of_call(call: Call) -> Call:
    """--mode and --exp of the stage that this one starts from; empty where there is none."""
    kind, _, exp = pretrain_of_call(call).partition("@")[0].rpartition("/")
    return (f"--mode={kind or 'pretrain'}", f"--exp={exp}") if exp else ()


def pretrain_of_call(call: Call) -> str:
    """What --pretrain of a stage says; "" where it has none."""
    return next((f.partition("=")[2] for f in call if f.startswith("--pretrain=")), "")


def run_stages(
    calls: Sequence[Call], flags: Sequence[str], *, stands: Callable[[Call], bool] | None = None
) -> tuple[int, list[Call]]:
    """Runs the stages in order; one that fails leaves out only those that follow from it.

    Args:
      calls: the stages.
      flags: given to each of them before its own, which are the ones that count.
      stands: whether the result of a stage is there already, asked when its turn comes.

    Returns:
      The exit code, and the stages that failed: 0, 1 if any failed, 2 after bad input and
      128 + signal after a request to stop, which end the work at once.
    """
    failed: list[Call] = []
    missing: dict[Call, str] = {}
    for number, call in enumerate(calls, 1):
        shown = f"\n[{number}/{len(calls)}] {' '.join(call)}"
        source = source_of_call(call)
        if source in missing:
            stage = {"--mode=tapt": "TAPT"}.get(source[0], "pretraining")
            say(f"{shown}: left out, its {stage} {missing[source]}")
            missing[call[:2]] = "was left out"
            continue
        if stands is not None and stands(call):
            say(f"{shown}: its result is there and unchanged")
            continue
        say(shown)
        code = _process([*flags, *call])
        if code == 2 or code in STOPPED:
            return STOPPED.get(code, 2), failed
        if code:
            say(f"this stage failed with exit code {code}")
            failed.append(call)
            missing[call[:2]] = "failed"
    return (1 if failed else 0), failed


def _process(flags: list[str]) -> int:
    """Runs `jaxattn` with these flags; hands on requests to stop and waits until it has saved.

    It has a group of its own: Ctrl-C in the terminal, which reaches a whole group, would be its
    second request otherwise.
    """
    with stop_requests(hand_on) as received:
        process = subprocess.Popen([*COMMAND, *flags], stdin=subprocess.DEVNULL, process_group=0)
        CHILDREN.append(process)
        if received:
            # It came before there was anybody to hand it on to.
            process.send_signal(received[0])
        code = process.wait()
    # One that was at its end all the same is the last.
    return code or (128 + received[0] if received else 0)


def replay_report(report: Path) -> int:
    """Replays into runs/replays and compares there; 1 if a result differs or a replay failed.

    Each replay is a process of its own, so that its peak memory is its own.

    Raises:
      InputError: results.csv lists no finished run, or one whose folder is not there.
    """
    runs = report.absolute().parent
    calls = _calls(report / RESULTS_TABLE, runs)
    code, failed = run_stages(calls, ())
    if code < 2 and len(failed) < len(calls):
        compare(runs / "replays", LogConfig())
    if failed:
        say(f"failed or not equal: {'; '.join(call[1] for call in failed)}")
    elif not code:
        say(f"{len(calls)} runs replayed, all with equal results")
    return code


def _calls(table: Path, runs: Path) -> list[Call]:
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(table, LARGEST_TABLE))))
        rows = [row for row in rows if row.get("state") == "finished"]
    except csv.Error as error:
        raise InputError(f"{table}: not a readable table ({error})") from None
    if not rows:
        raise InputError(f"{table}: found no finished run to replay")
    listed = [(row.get("kind") or "", row.get("exp") or "") for row in rows]
    for kind, exp in listed:
        if kind not in KINDS or not NAME.fullmatch(exp) or not (runs / kind / exp).is_dir():
            raise InputError(f"{table}: {kind}/{exp}: no such run beside the report")
    listed.sort(key=lambda run: list(KINDS).index(run[0]))
    return [("--mode=replay", f"--run={runs / kind / exp}") for kind, exp in listed]
