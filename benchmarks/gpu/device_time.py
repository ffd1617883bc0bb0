"""Time on the device itself, and on the wall, of programs that are too quick for a stopwatch.

A jitted call takes tens of microseconds of the host, and a kernel outside a CUDA graph some more:
the wall time of something that takes 100 microseconds on the device tells little of it.
"""

import dataclasses
import re
import tempfile
import time
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.profiler import ProfileData

from jaxattn.ops.programs import compiled as compiled_as_usual
from jaxattn.profile.timing import Program, calls_for, interleaved, summary, timed

CUBLAS_ONLY: dict[str, str | bool] = {"xla_gpu_enable_triton_gemm": False}
"""Products by cuBLASLt alone: XLA then compiles no Triton kernels to choose among."""

Run = Callable[[], Any]
_WINDOW = "measured:"
_PAUSE = 0.002
"""Seconds between two programs in a trace, in which the clocks of host and device may differ."""


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel or copy of one call of a program.

    Attributes:
      name: as the profiler tells it.
      operation: the compiled program's instruction; "" where the profiler does not know it, as in
        CUDA graphs.
      seconds, count: of one call.
    """

    name: str
    operation: str
    seconds: float
    count: float


def compile_for_device(
    lowered: jax.stages.Lowered, options: Mapping[str, str | bool] = CUBLAS_ONLY
) -> tuple[jax.stages.Compiled, float]:
    """The program and the seconds that compiling took; `options` count on a GPU alone.

    One program at a time: on a GPU, compiling while another thread launches anything crashes.
    """
    began = time.perf_counter()
    if jax.default_backend() == "gpu":
        found = lowered.compile(compiler_options=dict(options) or None)
    else:
        found = compiled_as_usual(lowered)
    return found, time.perf_counter() - began


def wall_seconds(runs: Mapping[str, Run], seconds: float, repeats: int = 7) -> dict[str, float]:
    """Median seconds of a call of each, all taken in turn; the last call of a sample is waited for.

    A program's result has a method `block_until_ready`, or is a tree of such.
    """
    programs = [Program(None, run, 0.0) for run in runs.values()]  # type: ignore[arg-type]
    calls = []
    for program in programs:
        jax.block_until_ready(program.run())
        calls.append(calls_for(timed(program, 1).seconds))
    samples = interleaved(programs, calls, repeats=repeats, seconds=seconds)
    return {name: summary(found).seconds for name, found in zip(runs, samples, strict=True)}


def device_kernels(runs: Mapping[str, Run], calls: int) -> dict[str, list[Kernel]]:
    """Name -> what each program runs on the device, from one trace of some calls of all of them.

    A program of which the trace has nothing is left out. On a CPU, where operations take the place
    of kernels, a loop counts beside what runs in it.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    options.host_tracer_level = 1
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            for name, run in runs.items():
                time.sleep(_PAUSE)
                with jax.profiler.TraceAnnotation(_WINDOW + name):
                    for _ in range(calls):
                        result = run()
                    jax.block_until_ready(result)
        (path,) = Path(folder).rglob("*.xplane.pb")
        return kernels_by_program(ProfileData.from_file(str(path)), calls)


def kernels_by_program(profile: Any, calls: int) -> dict[str, list[Kernel]]:
    """Gives every event of the device to the program in whose time it began."""
    windows, events = [], []
    for plane in profile.planes:
        on_gpu = plane.name.startswith("/device:GPU")
        lines = list(plane.lines)
        if on_gpu:
            # Beside the streams there may be lines that repeat their events, or sum them up.
            lines = [line for line in lines if line.name.startswith("Stream")] or lines
        for line in lines:
            for event in line.events:
                if event.name.startswith(_WINDOW):
                    windows.append((event.start_ns, event.name.removeprefix(_WINDOW)))
                    continue
                operation = str(dict(event.stats).get("hlo_op", ""))
                if on_gpu or (operation and jax.default_backend() == "cpu"):
                    events.append((event.start_ns, event.name, operation, event.duration_ns))
    windows.sort()
    starts = [start - 0.5e9 * _PAUSE for start, _ in windows]
    totals: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(dict)
    for start, name, operation, duration in events:
        place = bisect(starts, start) - 1
        if place >= 0:
            entry = totals[windows[place][1]].setdefault((name, operation), [0.0, 0])
            entry[0] += 1e-9 * duration
            entry[1] += 1
    return {
        program: [
            Kernel(name, operation, seconds / calls, count / calls)
            for (name, operation), (seconds, count) in kernels.items()
        ]
        for program, kernels in totals.items()
    }


def by_kernel_name(operations: Iterable[str]) -> dict[str, str]:
    """Name of a kernel -> the instruction that XLA has named it after.

    For kernels in CUDA graphs. What a name in C may not have is "_" in the kernel's.
    """
    return {re.sub(r"\W", "_", operation): operation for operation in operations}
