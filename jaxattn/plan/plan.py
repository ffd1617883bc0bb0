"""What a run will need: memory, devices it fits on, time."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from jaxattn.config import Config, binding_options
from jaxattn.ops.trees import count_parameters
from jaxattn.plan.programs import Bench, Timing, other_batch
from jaxattn.plan.workload import Subject, workload_of
from jaxattn.profile.memory import DEVICES, GIB, Device, largest_batch, usable_share
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.results import Cost
from jaxattn.stages import machine
from jaxattn.stages.batches import total_steps
from jaxattn.train.precision import has_bfloat16_units
from jaxattn.train.state import frozen_of

_TIMING_SHARE = 0.6
"""Share of `plan.seconds` for timing; the rest is for compiling the largest batches."""


def _device() -> str:
    return machine.device_name()


def make_plan(subject: Subject) -> dict[str, Any]:
    """The plan as it is written to plan.json. Times are in seconds, memory in bytes."""
    config = subject.config
    workload = workload_of(subject)
    lengths = list(workload.steps or config.data.buckets)
    batch, longest = config.train.batch_size, lengths[-1]
    bench = Bench(config, subject.task, workload)
    program = bench.program(longest, batch)
    state = program.step.state
    # A second size shows how memory grows with the batch.
    bench.program(longest, other_batch(config))
    timings = bench.timings(lengths, _TIMING_SHARE)
    rows = length_rows(timings, workload.steps, batch)
    per_epoch = workload.steps_per_epoch
    steps = total_steps(config, per_epoch) if per_epoch else None
    seconds = epoch_seconds(rows)
    return {
        "kind": subject.folder.kind,
        "exp": subject.folder.exp,
        "pretrain": subject.pretrain,
        "attention": config.attention.type,
        "precision": config.train.precision,
        "batch_size": batch,
        "length": longest,
        "device": _device(),
        "device_kind": jax.devices()[0].platform,
        "workload": dataclasses.asdict(workload),
        "parameters": count_parameters((state.params, frozen_of(state))),
        "memory": dataclasses.asdict(program.memory) | {"total": program.memory.total},
        "usable_share": usable_share(),
        "devices": [_device_row(device, bench, config, longest) for device in _devices(config)],
        "lengths": rows,
        "steps_per_epoch": per_epoch,
        "steps": steps,
        "seconds_per_epoch": seconds,
        "train_seconds": seconds / per_epoch * steps if seconds and per_epoch and steps else None,
        "compile_seconds": _compile_seconds(timings),
        "options": binding_options(config),
    }


def _devices(config: Config) -> list[Device]:
    """The device given, the one there is, and those of the table."""
    found = list(DEVICES)
    device = jax.devices()[0]
    statistics = device.memory_stats() or {}
    if "bytes_limit" in statistics:
        # What JAX has taken of it already; the table's share is undone.
        memory = int(statistics["bytes_limit"] / usable_share())
        found.insert(0, Device(f"this {_device()}", memory, has_bfloat16_units(device)))
    if config.plan.memory_gb:
        memory = int(config.plan.memory_gb * GIB)
        found.insert(0, Device(f"given: {config.plan.memory_gb:g} GB", memory, bfloat16=True))
    return found


def _device_row(device: Device, bench: Bench, config: Config, length: int) -> dict[str, Any]:
    usable = int(usable_share() * device.memory)
    known = bench.known_bytes(length)
    rows, compiled = largest_batch(
        known, usable, config.train.accumulation, lambda rows: bench.bytes_if_time(length, rows)
    )
    slow = config.train.precision == "bfloat16" and not device.bfloat16
    return {
        "name": device.name,
        "memory": device.memory,
        "usable": usable,
        "fits": known[config.train.batch_size] <= usable,
        "largest_batch": rows,
        "largest_batch_compiled": compiled,
        "note": "no bfloat16 units: slow in bfloat16" if slow else "",
    }


def length_rows(
    timings: Mapping[int, Timing], steps: Mapping[int, int] | None, batch_size: int
) -> list[dict[str, Any]]:
    """What is known of the steps of each length: how many, how long, and how that was found.

    The time of a length that was not timed is that of the nearest one that was, by tokens.
    """
    timed = [length for length, timing in timings.items() if timing.seconds is not None]
    rows = []
    for length, timing in timings.items():
        seconds, how = timing.seconds, "timed"
        if seconds is None and timed:
            near = min(timed, key=lambda other: abs(other - length))
            seconds = (timings[near].seconds or 0.0) * length / near
            how = f"by tokens, from {near}"
        elif seconds is None:
            how = "not timed"
        elif timing.rows < batch_size:
            how = f"{timing.rows} rows timed"
        rows.append(
            {
                "length": length,
                "steps": None if steps is None else steps[length],
                "seconds_per_step": seconds,
                "tokens_per_second": batch_size * length / seconds if seconds else None,
                "how": how,
            }
        )
    return rows


def epoch_seconds(rows: list[dict[str, Any]]) -> float | None:
    """Seconds of an epoch; None where steps or times are not known."""
    if any(row["steps"] is None or row["seconds_per_step"] is None for row in rows):
        return None
    return sum(row["steps"] * row["seconds_per_step"] for row in rows)


def _compile_seconds(timings: Mapping[int, Timing]) -> float | None:
    """Seconds that compiling all lengths takes; those not compiled here count as the mean."""
    known = [t.compile_seconds for t in timings.values() if t.compile_seconds is not None]
    return sum(known) / len(known) * len(timings) if known else None


_FIGURES = (
    ("parameters", "parameters", "parameters", ""),
    ("steps per epoch", "steps_per_epoch", "cost.steps_per_epoch", ""),
    ("steps", "steps", "cost.steps", ""),
    ("seconds per epoch", "seconds_per_epoch", "cost.seconds_per_epoch", "time"),
    ("seconds of training", "train_seconds", "cost.train_seconds", "time"),
    ("seconds of compiling", "compile_seconds", "cost.compile_seconds", "time"),
    ("memory MiB", "memory.total", "cost.peak_memory_MiB", "memory"),
)
"""Name, entry of plan.json, entry of results.json, and what it depends on."""


def check(plan: dict[str, Any], folder: RunFolder, options: dict[str, Any]) -> dict[str, Any]:
    """Every figure that the plan predicted and the run recorded, like compared with like only.

    Args:
      plan: plan.json.
      folder: of the finished run.
      options: those that decide what the run computed.

    Returns:
      `run`, `figures` (name, predicted, recorded, ratio = recorded / predicted) and `notes`.

    Raises:
      InputError: results.json is missing or not what it should be.
    """
    checked: dict[str, Any] = {"run": str(folder.path), "figures": [], "notes": []}
    changed = [name for name, value in options.items() if plan["options"].get(name) != value]
    if changed:
        name = changed[0]
        planned = plan["options"].get(name)
        checked["notes"] = [
            f"not compared: the run has {name} = {options[name]!r}, the plan {planned!r}"
        ]
        return checked
    results = folder.results()
    cost = results.cost or Cost()
    unlike = set()
    if results.device != plan["device"]:
        unlike.add("time")
        checked["notes"].append(
            f"times are not compared: planned on {plan['device']}, run on {results.device}"
        )
    if cost.peak_memory_kind != "device":
        unlike.add("memory")
        checked["notes"].append(
            "memory is not compared: on a CPU a run records the resident memory of its whole "
            "process, Python and data included; the plan is that of one training step"
        )
    if not plan["workload"]["counted"]:
        checked["notes"].append(f"the plan's steps are estimates: {plan['workload']['origin']}")
    for name, planned_at, recorded_at, depends in _FIGURES:
        predicted, recorded = _found(plan, planned_at), results.value(recorded_at)
        if depends == "memory" and predicted is not None:
            predicted /= 2**20
        ratio = None
        if predicted and recorded is not None and depends not in unlike:
            ratio = recorded / predicted
        checked["figures"].append(
            {"name": name, "predicted": predicted, "recorded": recorded, "ratio": ratio}
        )
    return checked


def _found(tree: Any, path: str) -> float | None:
    """The number at a dotted path, or None."""
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree if isinstance(tree, int | float) else None
