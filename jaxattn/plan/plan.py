"""What a run will need: memory, devices it fits on, time; and what it then took."""

import dataclasses
from typing import Any, TypedDict

import jax

from jaxattn.config import Config, binding_options
from jaxattn.console import GIB, MIB
from jaxattn.ops.trees import count_parameters
from jaxattn.plan.programs import PlannedSteps, other_batch
from jaxattn.plan.times import LengthRow, times
from jaxattn.plan.workload import Subject, workload_of
from jaxattn.profile.memory import DEVICES, Device, largest_batch, usable_share
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.results import Cost
from jaxattn.stages.machine import device_name
from jaxattn.train.precision import has_bfloat16_units
from jaxattn.train.state import frozen_of

_TIMING_SHARE = 0.6
"""Share of `plan.seconds` for timing; the rest is for compiling the largest batches."""


class DeviceRow(TypedDict):
    """Whether the run fits on a device, and the largest batch that does."""

    name: str
    memory: int
    usable: int
    fits: bool
    largest_batch: int
    largest_batch_compiled: bool
    note: str


class Plan(TypedDict):
    """What plan.json holds: times in seconds, memory in bytes; None: not known.

    `memory` are the `MemoryParts` of a step with the whole batch at the longest length, and their
    `total`; `workload` is a `Workload`; `options` decide what the run computes.
    """

    kind: str
    exp: str
    pretrain: str
    attention: str
    precision: str
    batch_size: int
    length: int
    device: str
    device_kind: str
    workload: dict[str, Any]
    parameters: int
    memory: dict[str, int]
    usable_share: float
    devices: list[DeviceRow]
    lengths: list[LengthRow]
    steps_per_epoch: int | None
    steps: int | None
    seconds_per_epoch: float | None
    train_seconds: float | None
    compile_seconds: float | None
    options: dict[str, Any]


def make_plan(subject: Subject) -> Plan:
    """Compiles and times what is needed to tell, in about `plan.seconds`."""
    config = subject.config
    workload = workload_of(subject)
    planned = PlannedSteps(config, subject.task, workload)
    batch, longest = config.train.batch_size, planned.lengths[-1]
    largest = planned.step(longest, batch)
    state, memory = largest.step.state, largest.memory
    # A second size shows how memory grows with the batch.
    planned.step(longest, other_batch(config))
    timed = times(planned, _TIMING_SHARE)
    return {
        "kind": subject.folder.kind,
        "exp": subject.folder.exp,
        "pretrain": subject.pretrain,
        "attention": config.attention.label,
        "precision": config.train.precision,
        "batch_size": batch,
        "length": longest,
        "device": device_name(),
        "device_kind": jax.devices()[0].platform,
        "workload": dataclasses.asdict(workload),
        "parameters": count_parameters((state.params, frozen_of(state))),
        "memory": dataclasses.asdict(memory) | {"total": memory.total},
        "usable_share": usable_share(),
        "devices": [_device_row(device, planned) for device in _devices(config)],
        "lengths": timed.lengths,
        "steps_per_epoch": timed.steps_per_epoch,
        "steps": timed.steps,
        "seconds_per_epoch": timed.seconds_per_epoch,
        "train_seconds": timed.train_seconds,
        "compile_seconds": timed.compile_seconds,
        "options": binding_options(config),
    }


def _devices(config: Config) -> list[Device]:
    """The device given, the one there is, and those of the table."""
    devices = list(DEVICES)
    device = jax.devices()[0]
    statistics = device.memory_stats() or {}
    if "bytes_limit" in statistics:
        # What JAX has taken of it already; the table's share is undone.
        memory = int(statistics["bytes_limit"] / usable_share())
        devices.insert(0, Device(f"this {device_name()}", memory, has_bfloat16_units(device)))
    if config.plan.memory_gb:
        memory = int(config.plan.memory_gb * GIB)
        devices.insert(0, Device(f"given: {config.plan.memory_gb:g} GB", memory, bfloat16=True))
    return devices


def _device_row(device: Device, planned: PlannedSteps) -> DeviceRow:
    train, length = planned.config.train, planned.lengths[-1]
    usable = int(usable_share() * device.memory)
    known = planned.known_bytes(length)
    rows, compiled = largest_batch(
        known, usable, train.accumulation, lambda rows: planned.bytes_if_time(length, rows)
    )
    slow = train.precision == "bfloat16" and not device.bfloat16
    return {
        "name": device.name,
        "memory": device.memory,
        "usable": usable,
        "fits": known[train.batch_size] <= usable,
        "largest_batch": rows,
        "largest_batch_compiled": compiled,
        "note": "no bfloat16 units: slow in bfloat16" if slow else "",
    }


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


class Figure(TypedDict):
    """A number that was planned, what the run recorded, and recorded / predicted."""

    name: str
    predicted: float | None
    recorded: float | None
    ratio: float | None


class Check(TypedDict):
    """What check.json holds; `notes` say what was not compared, and why."""

    run: str
    figures: list[Figure]
    notes: list[str]


def check(plan: Plan, folder: RunFolder, options: dict[str, Any]) -> Check:
    """Every figure that the plan predicted and the run recorded, like compared with like only.

    Args:
      plan: plan.json.
      folder: of the finished run.
      options: those that decide what the run computed.

    Raises:
      InputError: results.json is missing or not what it should be.
    """
    checked: Check = {"run": str(folder.path), "figures": [], "notes": []}
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
            predicted /= MIB
        ratio = None
        if predicted and recorded is not None and depends not in unlike:
            ratio = recorded / predicted
        checked["figures"].append(
            {"name": name, "predicted": predicted, "recorded": recorded, "ratio": ratio}
        )
    return checked


def _found(tree: object, path: str) -> float | None:
    """The number at a dotted path, or None."""
    value: object = tree
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, int | float) else None
