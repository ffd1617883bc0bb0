"""What a plan said beside what the run recorded."""

from typing import Any

from jaxattn.modes.run_folder import RunFolder, entry, read_json

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
    path = folder.path / "results.json"
    results = read_json(path)
    cost = entry(results, "cost", dict, path)
    unlike = set()
    if results.get("device") != plan["device"]:
        unlike.add("time")
        checked["notes"].append(
            f"times are not compared: planned on {plan['device']}, run on {results.get('device')}"
        )
    if cost.get("peak_memory_kind") != "device":
        unlike.add("memory")
        checked["notes"].append(
            "memory is not compared: on a CPU a run records the resident memory of its whole "
            "process, Python and data included; the plan is that of one training step"
        )
    if not plan["workload"]["counted"]:
        checked["notes"].append(f"the plan's steps are estimates: {plan['workload']['origin']}")
    for name, planned_at, recorded_at, depends in _FIGURES:
        predicted, recorded = _found(plan, planned_at), _found(results, recorded_at)
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
