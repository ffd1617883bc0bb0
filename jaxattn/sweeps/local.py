"""The processes of a sweep: started bound to a device, asked how they are, asked to stop."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jaxattn.errors import InputError
from jaxattn.runs.folder import RunFolder
from jaxattn.signals import CHILDREN

_ROOT = Path(__file__).resolve().parents[2]

COMMAND = (
    sys.executable, *(["-P"] if Path.cwd() != _ROOT else []), "-m", "jaxattn",
)  # fmt: skip
"""Starts a command; with -P a jax.py in the current folder is not taken for ours."""


def cores(device: str) -> frozenset[int]:
    """The cores of an entry of `sweep.devices` such as cpu:0-3,6; empty for GPUs."""
    numbers: set[int] = set()
    if device.startswith("cpu:"):
        for part in device.removeprefix("cpu:").split(","):
            first, _, last = part.partition("-")
            numbers |= set(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def check_devices(devices: Sequence[str]) -> None:
    """Raises InputError for cores that this process may not use."""
    if not hasattr(os, "sched_getaffinity"):
        if any(cores(device) for device in devices):
            raise InputError("sweep.devices: this system does not bind processes to cores")
        return
    usable = os.sched_getaffinity(0)
    for device in devices:
        missing = sorted(cores(device) - usable)
        if missing or (device.startswith("cpu:") and not cores(device)):
            shown = ", ".join(map(str, sorted(usable)))
            raise InputError(f"sweep.devices: found {device!r}, allowed cores: {shown}")


@contextmanager
def _bound_to(device: str) -> Iterator[dict[str, str]]:
    """The environment of a process on `device`; one started inside keeps to its cores."""
    environment = dict(os.environ)
    if not device:
        yield environment
        return
    wanted = cores(device)
    if not wanted:
        yield environment | {"CUDA_VISIBLE_DEVICES": device}
        return
    before = os.sched_getaffinity(0)
    # A process inherits the cores of the thread that starts it.
    os.sched_setaffinity(0, wanted)
    try:
        yield environment | {"JAX_PLATFORMS": "cpu"}
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """One cell that runs."""

    def __init__(self, flags: Sequence[str], log: Path, device: str) -> None:
        """Starts it; what it says is added to `log`.

        It has a session of its own: Ctrl-C in the terminal reaches the sweep alone, which hands it
        on once.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file, _bound_to(device) as environment:
            self._process = subprocess.Popen(
                [*COMMAND, *flags],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        CHILDREN.append(self._process)

    def ended(self) -> str | None:
        """How it ended, in words ("" where it ended well); None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        if code >= 0:
            return f"exit code {code}" if code else ""
        name = signal.Signals(-code).name
        hint = ": out of memory, if nobody did it" if -code == signal.SIGKILL else ""
        return f"killed by {name}{hint}"

    def stop(self) -> None:
        """Asks it to save and stop."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)


class Elsewhere:
    """A cell that a process runs which this sweep has not started."""

    def __init__(self, folder: RunFolder) -> None:
        """`folder`: of the run."""
        self._folder = folder

    def ended(self) -> str | None:
        """As for `Process`."""
        if self._folder.writer is not None:
            return None
        return "" if self._folder.state == "finished" else "its process ended without a word"

    def stop(self) -> None:
        """Nothing: it belongs to somebody else."""
