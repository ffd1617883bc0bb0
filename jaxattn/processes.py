"""Processes: which is alive."""

import os
from pathlib import Path
from typing import Any

from jaxattn.files import entry, process_exists

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
    return pid if same and process_exists(pid) else None
