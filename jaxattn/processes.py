"""Processes: which is alive."""

import os
from pathlib import Path
from typing import Any

from jaxattn.files import entry
from jaxattn.files import process_exists as _exists


def _started(pid: int) -> str:
    """When a process of this machine began, in a form that is only good for comparing; or ""."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return f"{boot}:{fields[19].decode()}"


def this_process() -> dict[str, Any]:
    """What tells this process from others, at any time."""
    return {"pid": os.getpid(), "started": _started(os.getpid())}


def live_process(record: Any, path: Path) -> int | None:
    """The process id in a `this_process` read from `path`, if that process is alive."""
    pid: int = entry(record, "pid", int, path)
    # A process id may have been given to another process since.
    return pid if _exists(pid) and record.get("started", "") in ("", _started(pid)) else None
