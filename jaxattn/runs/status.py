"""status.json: what became of a run, and which process wrote that."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxattn.disk import disk_error, sentence
from jaxattn.errors import InputError, quoted
from jaxattn.files import entry, read_object, write_json
from jaxattn.memory import out_of_memory
from jaxattn.processes import live_process, this_process
from jaxattn.runs.formats import ENTRY, FORMAT, check_format
from jaxattn.runs.lock import holder
from jaxattn.runs.manifest import NAME as MANIFEST
from jaxattn.runs.manifest import SIGNED_ENTRY
from jaxattn.runs.values import text, whole

STATES = ("running", "finished", "failed", "interrupted")


@dataclasses.dataclass(frozen=True)
class Status:
    """What became of a run, and why it is not finished; `pid`: the process that wrote this."""

    state: str
    reason: str
    pid: int | None


def _read(path: Path) -> dict[str, Any]:
    status = read_object(path)
    check_format(status, path)
    return status


def noted(path: Path, name: str) -> str:
    """An entry of the file, as the run wrote it; "" before it has begun."""
    return entry(_read(path), name, str, path) if path.exists() else ""


def writer_of(path: Path) -> int | None:
    """The process that writes the run; None where there is none, or it has died.

    A run that is being prepared is not "running" yet; a version of before took no lock.
    """
    if (pid := holder(path.parent)) is not None:
        return pid
    return live_process(_read(path), path) if noted(path, "state") == "running" else None


def read_status(path: Path) -> Status:
    """What became of a run; one whose process has died without a word was interrupted.

    Raises:
      InputError: there is no status.json, or it is not what it has to be.
    """
    status = _read(path)
    try:
        state, reason = text(status, "state"), text(status, "reason") or ""
        pid = whole(status, "pid")
        if state not in STATES:
            raise InputError(f"state is {quoted(state)}, expected {', '.join(STATES)}")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if state == "running" and pid is not None and writer_of(path) is None:
        return Status("interrupted", f"process {pid} ended without a word", pid)
    return Status(state, " ".join(reason.split()), pid)


def _of_this_process(state: str, reason: str) -> dict[str, Any]:
    return {ENTRY: FORMAT, "state": state, "reason": reason} | this_process()


def write_status(path: Path, state: str, reason: str = "") -> None:
    """Writes the file, with the process that does, and whether a finished run has a manifest."""
    status = _of_this_process(state, reason)
    if state == "finished":
        status[SIGNED_ENTRY] = (path.parent / MANIFEST).exists()
    write_json(path, status)


@contextlib.contextmanager
def marked_running(path: Path) -> Iterator[None]:
    """Says that the run is running inside, and finished, interrupted or failed afterwards."""
    write_status(path, "running")
    try:
        yield
    except KeyboardInterrupt:
        _end(path, "interrupted", "interrupted by the user")
        raise
    except BaseException as error:
        state = "interrupted" if type(error).__name__ == "InterruptedRun" else "failed"
        _end(path, state, _reason(error))
        raise
    write_status(path, "finished")


def _end(path: Path, state: str, reason: str) -> None:
    """Writes the file of a run that came to nothing, on a full disk too."""
    try:
        write_status(path, state, reason[:500])
    except OSError:
        # The file that says "running" has a block of its own.
        status = _of_this_process(state, reason[:500])
        with contextlib.suppress(OSError), open(path, "r+", encoding="utf-8") as file:
            file.write(json.dumps(status, ensure_ascii=False) + "\n")
            file.truncate()


def _reason(error: BaseException) -> str:
    """Why a run failed, in one line."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and disk_error(error) and (told := sentence(error)):
        return told
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"out of memory: {reason}" if out_of_memory(error) else reason
