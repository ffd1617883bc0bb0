"""A sweep's cells on a Ray cluster instead of in processes of this machine.

Ray starts a worker for every cell, which is the cell's process and ends with it. All machines need
this package and see the folder of runs under the same path.
"""

import contextlib
import os
import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxattn.config import SweepConfig
from jaxattn.errors import InputError


def run_cell(flags: Sequence[str], log: str, folder: str) -> int:
    """Runs `jaxattn` with these flags in a worker; the exit code.

    Args:
      flags: of the cell.
      log: the file that what it says is added to.
      folder: where relative paths begin.
    """
    os.chdir(folder)
    # Else the program would start itself again to set it, and Ray would lose its worker.
    os.environ.setdefault("GLIBC_TUNABLES", "")
    sys.argv = ["jaxattn", *flags]
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8", buffering=1) as file:
        # What libraries write past Python belongs there too.
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            try:
                runpy.run_module("jaxattn", run_name="__main__", alter_sys=True)
            except SystemExit as end:
                return end.code if isinstance(end.code, int) else int(bool(end.code))
            except Exception:
                # As in a process of its own; the run folder has the cause.
                traceback.print_exc()
                return 1
    return 0


class RayRun:
    """One cell on the cluster."""

    def __init__(self, task: Any) -> None:
        """`task`: the reference of its result."""
        self._task = task

    def ended(self) -> str | None:
        """How it ended, in words ("" where it ended well); None while it runs."""
        import ray

        done, _ = ray.wait([self._task], timeout=0)
        if not done:
            return None
        try:
            code = ray.get(self._task)
        except ray.exceptions.OutOfMemoryError:
            return "killed by Ray: out of memory"
        except ray.exceptions.RayError as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            return f"killed: its Ray worker died ({type(error).__name__}: {said})"
        return f"exit code {code}" if code else ""

    def stop(self) -> None:
        """Asks it to save and stop: its worker gets a SIGINT."""
        import ray

        ray.cancel(self._task)


class Cluster:
    """The cluster that RAY_ADDRESS names, or one on this machine."""

    def __init__(self, options: SweepConfig) -> None:
        """`options`: what a cell takes of it."""
        self._options = options

    def start(self, flags: Sequence[str], log: Path) -> RayRun:
        """Hands a cell to Ray, which runs it when there is room."""
        import ray

        # A failure is for the sweep to judge; a worker's memory is that of one cell.
        cell = ray.remote(
            num_cpus=self._options.cell_cpus,
            num_gpus=self._options.cell_gpus,
            max_retries=0,
            max_calls=1,
        )(run_cell)
        return RayRun(cell.remote(list(flags), str(log.absolute()), os.getcwd()))


@contextmanager
def cluster(options: SweepConfig) -> Iterator[Cluster]:
    """Joins a cluster, and leaves it; raises InputError where Ray is not installed or not there."""
    try:
        import ray
    except ImportError:
        raise InputError(
            "sweep.executor: found 'ray', which is not installed: pip install 'jaxattn[ray]'"
        ) from None
    if options.devices:
        raise InputError(
            f"sweep.devices: found {list(options.devices)}, allowed with sweep.executor = ray: "
            "none (Ray chooses, by sweep.cell_gpus)"
        )
    try:
        ray.init(log_to_driver=False, include_dashboard=False if _local() else None)
    except (ConnectionError, ray.exceptions.RayError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"sweep.executor: there is no such Ray cluster: {said}") from None
    try:
        yield Cluster(options)
    finally:
        sys.stderr.flush()
        ray.shutdown()


def _local() -> bool:
    """Whether Ray will start on this machine alone."""
    return not os.environ.get("RAY_ADDRESS")
