"""Processes: which is alive, and what a signal asks of this one."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxattn.files import entry

_DEAD = (b"Z", b"X")
"""States of a process that has ended and that its parent has not asked about, as in containers."""


def _started(pid: int) -> str:
    """When a process of this machine began, in a form that is only good for comparing.

    "" where that is not known, "dead" of one that has ended.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "dead" if fields[0] in _DEAD else f"{boot}:{fields[19].decode()}"


def this_process() -> dict[str, Any]:
    """What tells this process from others, at any time."""
    return {"pid": os.getpid(), "started": _started(os.getpid())}


def live_process(record: Any, path: Path) -> int | None:
    """The process id in a `this_process` read from `path`, if that process is alive."""
    pid: int = entry(record, "pid", int, path)
    started = _started(pid)
    # A process id may have been given to another process since.
    same = record.get("started", "") in ("", started) and started != "dead"
    return pid if same and _exists(pid) else None


def _exists(pid: int) -> bool:
    """Whether a process of this number exists on this host."""
    if os.name == "nt":
        return True  # signal 0 is Ctrl-C there; an unknown process is given the benefit of doubt
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


STOPPING: tuple[signal.Signals, ...] = (
    signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []),
)  # fmt: skip
"""What asks a process to stop: Ctrl-C, a scheduler, a terminal that is closed."""


def is_ignored(number: signal.Signals) -> bool:
    """Whether a terminal that is closed is to be survived, as under nohup."""
    hangup = number == getattr(signal, "SIGHUP", None)
    return hangup and signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def stop_requests(*numbers: signal.Signals) -> Iterator[list[int]]:
    """Collects signals instead of dying of them, so that the state can be saved.

    Args:
      numbers: the signals; all of `STOPPING` when none is named.
    """
    received: list[int] = []
    previous = {
        number: signal.signal(number, lambda n, _: received.append(n))
        for number in numbers or STOPPING
        if not is_ignored(number)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
