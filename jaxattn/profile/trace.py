"""Profiler traces in which every operation has the name of the part of the model it belongs to."""

import dataclasses
import gzip
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import jax

from jaxattn.attention import ATTENTIONS
from jaxattn.files import whole
from jaxattn.profile.bench import Key
from jaxattn.profile.timing import Program, wait

OTHER = "other"
"""Of operations outside every named scope."""

_RUNS = 2

# Scopes that say how JAX came to an operation, or where in the model's tree it is; not its part.
_PLUMBING = re.compile(
    r"jit\(.*|while|body|cond|scan|closed_call|branch_\d+_fun|checkpoint|rematted_computation|remat"
    r"|custom_[jv]\w*|pjit|shard_map|\w*Model|encoder|blocks_\d+|\.?"
)

_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.-]+) = ")

_SCOPE = re.compile(r'op_name="([^"]*)"')

_OPERAND = re.compile(r"\(.*?%?([A-Za-z_][\w-]*\.[\d.]+|[A-Za-z_][\w-]*)[,)]")

Events = list[dict[str, Any]]
"""Of a Perfetto (Chrome JSON) file."""


@dataclasses.dataclass(frozen=True)
class Trace:
    """A recorded program.

    Attributes:
      attention, what, length: the program.
      perfetto: the file with named parts.
      xprof: the folder that XProf reads.
      seconds_by_part: part -> seconds of one run, the dearest first.
    """

    attention: str
    what: str
    length: int
    perfetto: str
    xprof: str
    seconds_by_part: dict[str, float]


def traced(program: Program, key: Key, folder: Path) -> Trace:
    """Records a program, writes its events named by part, and adds up the time of each part."""
    variant, what, length = key
    name = variant.replace(" ", "_")
    raw, path = record(program, folder, name), folder / f"{name}.json.gz"
    events = named(read_events(raw), program.compiled.as_text() or "")
    write_events(events, path)
    return Trace(variant, what, length, str(path), str(folder), seconds_by_part(events))


def record(program: Program, folder: Path, session: str) -> Path:
    """Runs a compiled program under JAX's profiler; returns its Perfetto file.

    `folder` may hold several sessions; XProf and TensorBoard's profile plugin read it.
    """
    wait(program.run())
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    options.session_id = session
    with jax.profiler.trace(folder, create_perfetto_trace=True, profiler_options=options):
        for step in range(_RUNS):
            with jax.profiler.StepTraceAnnotation("run", step_num=step):
                wait(program.run())
    return folder / "plugins" / "profile" / session / "perfetto_trace.json.gz"


def scopes(hlo: str) -> dict[str, str]:
    """Instruction -> scope in which it was traced, of a compiled program's text.

    A copy that the compiler has put in has the scope of what it copies.
    """
    found: dict[str, str] = {}
    source: dict[str, str] = {}
    for line in hlo.splitlines():
        instruction = _INSTRUCTION.match(line)
        if instruction is None:
            continue
        name, rest = instruction.group(1), line[instruction.end() :]
        if scope := _SCOPE.search(rest):
            found[name] = scope.group(1)
        elif operand := _OPERAND.search(rest):
            source[name] = operand.group(1)
    for name in source:
        origin, seen = name, set[str]()
        while origin in source and origin not in seen:
            seen.add(origin)
            origin = source[origin]
        if origin in found:
            found[name] = found[origin]
    return found


def part(scope: str) -> str:
    """The part of the model that a scope names, such as "attention/qkv" or "mlp, backward".

    "jit(step)/transpose(jvp(MlmModel))/encoder/blocks_0/attention/reformer_lsh/vmap(sort)/sort" is
    "attention/reformer_lsh/sort, backward": blocks are added up; the operation itself, and which
    implementation it is of ("sdpa_blockwise"), are left out.
    """
    first = scope.partition(";")[0]
    names: list[str] = []
    for step in first.split("/")[:-1]:
        while wrapped := re.fullmatch(r"(?:vmap|jvp|transpose|pmap|remat)\((.*)\)", step):
            step = wrapped.group(1)
        way = any(step.startswith(f"{attention}_") for attention in ATTENTIONS)
        if not (way or _PLUMBING.fullmatch(step) or names[-1:] == [step]):
            names.append(step)
    deep = 3 if set(names[:2]) & ATTENTIONS.keys() else 2
    path = "/".join(names[:deep]) or OTHER
    backward = "transpose(" in first or path.endswith("_backward")
    return path.removesuffix("_backward") + (", backward" if backward else "")


def named(events: Events, hlo: str) -> Events:
    """The compiled program's operations among the events of a trace, named by part and operation.

    What has no duration in the program (the profiler's own marks) is left out.
    """
    known, kept = scopes(hlo), []
    for event in events:
        operation = event.get("args", {}).get("hlo_op")
        if event.get("ph") == "M" or (event.get("name") == "run" and "dur" in event):
            kept.append(event)
        elif operation is not None and "dur" in event:
            scope = known.get(operation, "")
            arguments = event["args"] | {"scope": scope}
            kept.append(event | {"name": f"{part(scope)}: {operation}", "args": arguments})
    return kept


def seconds_by_part(events: Events) -> dict[str, float]:
    """Part -> seconds of one run, the dearest first, from the events that `named` returns.

    A loop's time is that of what runs in it. Threads are added up: on a CPU the sum may be more
    than the time of a run.
    """
    threads: dict[Any, Events] = defaultdict(list)
    for event in events:
        if "hlo_op" in event.get("args", {}):
            threads[event["pid"], event["tid"]].append(event)
    found: dict[str, float] = defaultdict(float)
    for own in threads.values():
        # The events of a thread are nested: each is inside the last one that has not ended.
        open_events: list[tuple[float, str]] = []
        for event in sorted(own, key=lambda event: (event["ts"], -event["dur"])):
            while open_events and open_events[-1][0] <= event["ts"]:
                open_events.pop()
            if open_events:
                found[open_events[-1][1]] -= event["dur"]
            name = event["name"].rpartition(": ")[0]
            found[name] += event["dur"]
            open_events.append((event["ts"] + event["dur"], name))
    ranked = sorted(found.items(), key=lambda item: -item[1])
    return {name: 1e-6 * duration / _RUNS for name, duration in ranked}


def read_events(path: Path) -> Events:
    """The events of a Perfetto (Chrome JSON) file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        content = json.load(file)
    return [event for event in content["traceEvents"] if event]


def write_events(events: Events, path: Path) -> None:
    """Writes a file that https://ui.perfetto.dev opens."""
    with whole(path) as temporary, gzip.open(temporary, "wt", encoding="utf-8") as file:
        json.dump({"displayTimeUnit": "ms", "traceEvents": events}, file)
