"""Run folders -> records. Nothing in a run folder is executed, and a broken one is a failed run."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxattn.errors import InputError
from jaxattn.evaluate.intervals import macro_f1
from jaxattn.report.record import RunRecord
from jaxattn.runs.kinds import BASELINE_ATTENTION, KINDS, MLM_KINDS
from jaxattn.runs.predictions import NAME, Predictions, read_predictions
from jaxattn.runs.results import (
    number,
    read_config,
    read_json,
    text,
    text_or_none,
    whole,
    whole_or_none,
)

STATES = ("running", "finished", "failed", "interrupted")

CONFIG_FILES = {
    "pretrain": "config.yaml",
    "tapt": "config.yaml",
    "finetune": "resolved_config.yaml",
    "baseline": "config.yaml",
}

MERGED = "merged.json"
"""The run holds the parameters of another one, which is listed, in another form."""

MARKS = ("status.json", "results.json", "environment.json", *CONFIG_FILES.values())
"""A folder that holds one of these is a run."""

IDENTITY = ("data", "data_hash", "attention", "pretrain", "seed", "device")
"""Fields that say what a run is."""

_SAME_SCORE = 1e-9
"""Sums in another order may differ in their last digits."""


def collect(root: Path) -> list[RunRecord]:
    """All runs under `root`, in the order of kind and name.

    `root` is a folder of kinds (`runs`), the folder of one kind (`runs/finetune`) or one run.
    A run whose files are missing, half-written or not what they should be is listed as failed
    with the cause.

    Raises:
      InputError: `root` is no folder, or no run is under it.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected a folder of runs")
    # Resolved, so that the kind is known for `.` and for `runs/finetune/imdb/..` too.
    place = root.resolve()
    if any((root / mark).is_file() for mark in MARKS):
        kind = place.parent.name if place.parent.name in KINDS else _guessed_kind(root)
        return [_read_run(root, place.name, kind)]
    folders = [(kind, root / kind) for kind in KINDS if (root / kind).is_dir()]
    if not folders and place.name in KINDS:
        folders = [(place.name, root)]
    records = [
        _read_run(folder, folder.name, kind)
        for kind, parent in folders
        for folder in sorted(parent.iterdir())
        if any((folder / mark).is_file() for mark in MARKS)
        and not _drafted(folder, kind)
        and not (folder / MERGED).is_file()
        and not _imported(folder, kind)
    ]
    if not records:
        wanted = ", ".join(f"{kind}/<exp>" for kind in KINDS)
        raise InputError(f"{root}: found no run; expected folders {wanted}")
    return records


def _drafted(folder: Path, kind: str) -> bool:
    """Whether these are the options of a pretraining that has not begun (`--mode=new`)."""
    begun = (*(mark for mark in MARKS if mark not in CONFIG_FILES.values()), "checkpoints")
    return kind == "pretrain" and not any((folder / mark).exists() for mark in begun)


def _imported(folder: Path, kind: str) -> bool:
    """Whether these are parameters from elsewhere (`--mode=import`): nothing was trained here."""
    if kind != "pretrain":
        return False
    with contextlib.suppress(InputError):
        return "imported_from" in read_config(folder / CONFIG_FILES[kind])
    return False


def _pretrained_from(config: dict[str, Any]) -> str | None:
    """The run it started from; None where the encoder was not pretrained."""
    name = (text_or_none(config, "pretrain") or "none").partition("@")[0]
    return None if name == "none" else name


def _guessed_kind(folder: Path) -> str:
    """The kind of a run that was moved out of the folder of its kind."""
    try:
        kind = text(read_json(folder / "results.json"), "kind")
    except InputError:
        kind = None
    if kind in KINDS:
        return str(kind)
    return "finetune" if (folder / "resolved_config.yaml").is_file() else "pretrain"


def _read_run(folder: Path, exp: str, kind: str) -> RunRecord:
    state, reason = _read_state(folder / "status.json")
    config: dict[str, Any] = {}
    environment: Mapping[str, Any] = {}
    causes = []
    try:
        config = read_config(folder / CONFIG_FILES[kind])
    except InputError as error:
        # A baseline's results stand without options: it has fixed settings and no architecture.
        if kind != "baseline":
            causes.append(f"{CONFIG_FILES[kind]}: {error}")
    known: dict[str, Any] = {
        "data": text_or_none(config, "data.name"),
        "attention": text_or_none(config, "attention.type"),
        "pretrain": _pretrained_from(config),
        "seed": whole_or_none(config, "train.seed"),
    }
    if kind == "baseline":
        known["attention"] = BASELINE_ATTENTION
    # What is read from it only names things; the results name the device too.
    with contextlib.suppress(InputError):
        environment = read_json(folder / "environment.json")
    known["device"] = text_or_none(environment, "device")
    known["implementation"] = _implementation(environment)
    results: dict[str, Any] = {}
    if state == "finished":
        try:
            results = _read_results(folder / "results.json", kind)
        except InputError as error:
            causes.append(f"results.json: {error}")
    if state == "finished" and causes:
        state, reason = "failed", "; ".join(causes)
    # A failed run keeps what it was, never what it reached: no report may use that by mistake.
    known |= {
        name: value
        for name, value in results.items()
        if value is not None and (state == "finished" or name in IDENTITY)
    }
    if state == "failed" and not reason:
        reason = "; ".join(causes) or "no reason recorded"
    if state == "finished" and kind not in MLM_KINDS:
        found, fault = _read_predictions(folder, known["test_macro_f1"])
        known |= {"predictions": found, "predictions_fault": fault}
        known["latency"] = read_latency(folder, known["device"])
    return RunRecord(
        folder, kind, exp, state, reason, config=config, environment=environment, **known
    )


def _read_predictions(folder: Path, score: float) -> tuple[Predictions | None, str]:
    """The saved predictions, or None and why not; those of another model are none."""
    try:
        found = read_predictions(folder / NAME)
    except InputError as error:
        return None, f"{NAME}: {error}"
    if abs(macro_f1(found) - score) > _SAME_SCORE:
        return None, f"{NAME}: macro-F1 {macro_f1(found):.6f}, but results.json has {score:.6f}"
    return found, ""


def _implementation(environment: Mapping[str, Any]) -> str | None:
    """How attention was computed at the longest length; None where that is not recorded."""
    found = environment.get("attention_implementations")
    if not isinstance(found, Mapping) or not all(str(length).isdigit() for length in found):
        return None
    longest = max(found, key=int, default=None)
    return None if longest is None else str(found[longest]).partition(" ")[0]


def _read_state(path: Path) -> tuple[str, str]:
    """State and reason. A run that says it is running but has no process was interrupted."""
    try:
        status = read_json(path)
        state = text(status, "state")
        if state not in STATES:
            raise InputError(f"state is {state!r}, expected {', '.join(STATES)}")
        reason = " ".join((text(status, "reason") or "").split())
        pid = whole(status, "pid")
        step = whole(status, "step")
    except InputError as error:
        return "failed", f"{path.name}: {error}"
    if state == "running" and pid is not None and not _alive(pid):
        at = "" if step is None else f" at step {step}"
        return "interrupted", f"process {pid} ended{at} without a word"
    return state, reason


def _alive(pid: int) -> bool:
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


def _read_results(path: Path, kind: str) -> dict[str, Any]:
    """Fields of a `RunRecord` from results.json; InputError if the decisive one is missing."""
    results = read_json(path)
    fields = {
        "data": text(results, "data"),
        "data_hash": text(results, "data_hash"),
        "attention": text(results, "attention"),
        "pretrain": text(results, "pretrain"),
        "device": text(results, "device"),
        "seed": whole(results, "seed"),
        "test_macro_f1": number(results, "test.macro_f1"),
        "test_accuracy": number(results, "test.accuracy"),
        "test_weighted_f1": number(results, "test.weighted_f1"),
        "test_auroc": number(results, "test.auroc"),
        "validation_macro_f1": number(results, "validation.macro_f1"),
        "validation_loss": number(results, "validation.loss"),
        "best_step": whole(results, "best_step"),
        "parameters": whole(results, "parameters"),
        "trainable_parameters": whole(results, "trainable_parameters"),
        "added_parameters": whole(results, "added_parameters"),
        "seconds_per_epoch": number(results, "cost.seconds_per_epoch"),
        "train_seconds": number(results, "cost.train_seconds"),
        "compile_seconds": number(results, "cost.compile_seconds"),
        "steps": whole(results, "cost.steps"),
        "tokens_per_second": number(results, "cost.tokens_per_second"),
        "peak_memory_mib": number(results, "cost.peak_memory_MiB"),
        "memory_kind": text(results, "cost.peak_memory_kind"),
        "joules_per_epoch": number(results, "cost.energy_joules_per_epoch"),
        "pretrain_seconds": number(results, "pretrain_cost.train_seconds"),
    } | _stages(results)
    decisive = "validation.loss" if kind in MLM_KINDS else "test.macro_f1"
    if fields[decisive.replace(".", "_")] is None:
        raise InputError(f"{decisive} is missing")
    if fields["memory_kind"] not in (None, "resident", "device"):
        raise InputError(
            f"cost.peak_memory_kind is {fields['memory_kind']!r}, expected resident or device"
        )
    return fields


def _stages(results: Mapping[str, Any]) -> dict[str, Any]:
    """The stages that led to a run in words, and the seconds of those before it.

    Empty for a run of a version that did not record them.
    """
    stages = results.get("stages")
    if not isinstance(stages, list) or not all(isinstance(stage, Mapping) for stage in stages):
        return {}
    names = [
        f"{text(stage, 'kind')} {text(stage, 'exp')} ({text(stage, 'attention')})"
        for stage in stages
    ]
    seconds = [number(stage, "cost.train_seconds") for stage in stages[:-1]]
    known = [value for value in seconds if value is not None]
    total = sum(known) if known and len(known) == len(seconds) else None
    return {"stages": " > ".join(names), "pretrain_seconds": total}


def read_latency(folder: Path, device: str | None) -> dict[int, tuple[float, float]]:
    """Batch size -> milliseconds of a batch, texts per second; empty where it was not measured.

    What was measured on another device than `device`, that of the training, is left out.
    """
    try:
        tree = read_json(folder / "evaluation.json")
        rows = tree.get("speed")
        if text(tree, "device") != device or not isinstance(rows, list):
            return {}
        found = {}
        for row in rows:
            if not isinstance(row, Mapping):
                return {}
            size = whole(row, "batch_size")
            time, rate = number(row, "median_ms"), number(row, "texts_per_second")
            if size is not None and time is not None and rate is not None:
                found[size] = time, rate
    except InputError:
        return {}
    return found
