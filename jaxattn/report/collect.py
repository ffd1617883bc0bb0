"""Run folders -> records. Nothing in a run folder is executed, and a broken one is a failed run."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxattn.config import attention_label
from jaxattn.errors import InputError
from jaxattn.evaluate.intervals import macro_f1
from jaxattn.files import real
from jaxattn.report.contradictions import changed_files, differs, predictions_of
from jaxattn.report.record import RunRecord, distils
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import BASELINE_ATTENTION, BASELINE_ATTENTIONS, KINDS, SCRATCH
from jaxattn.runs.results import Cost, Results
from jaxattn.runs.signed import read_signed
from jaxattn.runs.values import number, text, text_or_none, whole, whole_or_none

IDENTITY = ("data", "data_hash", "attention", "pretrain", "seed", "device")
"""Fields that say what a run is."""


def collect(root: Path) -> list[RunRecord]:
    """All runs under `root`, in the order of kind and name.

    `root` is a folder of kinds (`runs`), the folder of one kind (`runs/finetune`) or one run.
    A run whose files are missing, half-written or not what they should be is listed as failed
    with the cause.

    Raises:
      InputError: `root` is no folder, or no run is under it.
    """
    runs = runs_under(root)
    if len(runs) == 1 and runs[0].path == Path(root):
        return [_read_run(runs[0])]
    records = [_read_run(run) for run in runs if not (run.drafted or run.merged or run.imported)]
    if not records:
        raise _none(root)
    return records


def runs_under(root: Path) -> list[RunFolder]:
    """The folders of all runs, in the order of kind and name; `root` is as in `collect`.

    Raises:
      InputError: `root` is no folder, or no run is under it.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected a folder of runs")
    if RunFolder.at(root).is_run:
        return [RunFolder.at(root)]
    folders = [(kind, root / kind) for kind in KINDS if (root / kind).is_dir()]
    if not folders and real(root).name in KINDS:
        folders = [(real(root).name, root)]
    runs = [
        RunFolder.at(path, kind) for kind, parent in folders for path in sorted(parent.iterdir())
    ]
    found = [run for run in runs if run.is_run]
    if not found:
        raise _none(root)
    return found


def _none(root: Path) -> InputError:
    wanted = ", ".join(f"{kind}/<exp>" for kind in KINDS)
    return InputError(f"{root}: found no run; expected folders {wanted}")


def _read_run(run: RunFolder) -> RunRecord:
    kind = KINDS[run.kind]

    def said(error: InputError) -> str:
        return str(error).removeprefix(f"{run.path}/")

    causes: list[str] = []
    try:
        status = run.status()
        state, reason = status.state, status.reason
    except InputError as error:
        state, reason = "failed", said(error)
    config: dict[str, Any] = {}
    try:
        config = run.saved.flat()
    except InputError as error:
        # A baseline's results stand without options: it has fixed settings and no architecture.
        if kind.encoder or run.saved.path.is_file():
            causes.append(said(error))
    # What is read from it only names things; the results name the device too.
    environment = run.environment()
    known: dict[str, Any] = {
        "data": text_or_none(config, "data.name"),
        "attention": _attention(config),
        "pretrain": _pretrained_from(config),
        "seed": whole_or_none(config, "train.seed"),
        "device": text_or_none(environment, "device"),
        "implementation": _implementation(environment),
    }
    if not kind.encoder:
        kind_of_it = text_or_none(config, "baseline.kind") or ""
        known["attention"] = BASELINE_ATTENTIONS.get(kind_of_it, BASELINE_ATTENTION)
    fields: dict[str, Any] = {}
    if state == "finished":
        try:
            causes += changed_files(run)
            results = run.results()
            if results.value(kind.decisive) is None:
                raise InputError(f"results.json: {kind.decisive} is missing")
            fields = _fields(results)
            if results.cost and results.cost.accumulation:
                # So it was computed, and costs what that costs.
                config["train.accumulation"] = results.cost.accumulation
            if not kind.mlm:
                found, fault = predictions_of(run, results)
                fields |= {"predictions": found, "predictions_fault": fault}
        except InputError as error:
            causes.append(said(error))
    if state == "finished" and causes:
        state, reason = "failed", "; ".join(dict.fromkeys(causes))
    # A failed run keeps what it was, never what it reached: no report may use that by mistake.
    known |= {
        name: value
        for name, value in fields.items()
        if value is not None and (state == "finished" or name in IDENTITY)
    }
    if state == "failed" and not reason:
        reason = "; ".join(causes) or "no reason recorded"
    if state == "finished" and not kind.mlm:
        predictions = known.get("predictions")
        if predictions is not None and differs(macro_f1(predictions), known["test_macro_f1"]):
            known["test_macro_f1"] = macro_f1(predictions)
        known["latency"] = read_latency(run.path, known["device"])
    return RunRecord(
        run.path, run.kind, run.exp, state, reason, config=config, environment=environment, **known
    )


def _pretrained_from(config: Mapping[str, Any]) -> str | None:
    """The run it started from; None where the encoder was not pretrained."""
    name = (text_or_none(config, "pretrain") or SCRATCH).partition("@")[0]
    return None if name == SCRATCH else name


def _attention(config: Mapping[str, Any]) -> str | None:
    kind, pattern = text_or_none(config, "attention.type"), config.get("attention.pattern")
    if kind is None or not isinstance(pattern, list | None):
        return kind
    return attention_label(kind, [str(name) for name in pattern or ()])


def _implementation(environment: Mapping[str, Any]) -> str | None:
    """How attention was computed at the longest length; None where that is not recorded."""
    found = environment.get("attention_implementations")
    if not isinstance(found, Mapping) or not all(str(length).isdigit() for length in found):
        return None
    longest = max(found, key=int, default=None)
    return None if longest is None else str(found[longest]).partition(" ")[0]


def _fields(results: Results) -> dict[str, Any]:
    """Fields of a `RunRecord`."""
    cost, test, validation = results.cost or Cost(), results.test or {}, results.validation or {}
    return {
        "data": results.data,
        "data_hash": results.data_hash,
        "attention": results.attention,
        "pretrain": results.pretrain,
        "device": results.device,
        "seed": results.seed,
        "best_step": results.best_step,
        "parameters": results.parameters,
        "trainable_parameters": results.trainable_parameters,
        "added_parameters": results.added_parameters,
        "steps": cost.steps,
        "train_seconds": cost.train_seconds,
        "compile_seconds": cost.compile_seconds,
        "seconds_per_epoch": cost.seconds_per_epoch,
        "tokens_per_second": cost.tokens_per_second,
        "test_macro_f1": test.get("macro_f1"),
        "test_accuracy": test.get("accuracy"),
        "test_weighted_f1": test.get("weighted_f1"),
        "test_auroc": test.get("auroc"),
        "validation_macro_f1": validation.get("macro_f1"),
        # A distance to hidden states is no loss of an MLM.
        "validation_loss": None if distils(results.attention_change) else validation.get("loss"),
        "exchange": results.attention_change,
        "peak_memory_mib": cost.peak_memory_MiB,
        "memory_kind": cost.peak_memory_kind,
        "joules_per_epoch": cost.energy_joules_per_epoch,
        "stages": _told(results),
        "pretrain_seconds": _seconds_before(results),
    }


def _told(results: Results) -> str | None:
    """The stages that led to a run in words; None for one that did not record them."""
    stages = results.stages
    if stages is None:
        return None
    return " > ".join(
        f"{stage.kind} {stage.exp} ({stage.attention}"
        f"{f', from {stage.imported_from}' if stage.imported_from else ''})"
        for stage in stages
    )


def _seconds_before(results: Results) -> float | None:
    """Seconds of training of all stages before a run; None where one of them is not known."""
    if results.stages is None:
        return results.pretrain_cost.train_seconds if results.pretrain_cost else None
    seconds = [(stage.cost or Cost()).train_seconds for stage in results.stages[:-1]]
    known = [value for value in seconds if value is not None]
    return sum(known) if known and len(known) == len(seconds) else None


def read_latency(folder: Path, device: str | None) -> dict[int, tuple[float, float]]:
    """Batch size -> milliseconds of a batch, texts per second; empty where it was not measured.

    What was measured on another device than `device`, that of the training, is left out.
    """
    try:
        tree, is_right = read_signed(folder / "evaluation.json")
        rows = tree.get("speed")
        if is_right is False:
            warnings.warn(
                f"{folder / 'evaluation.json'}: changed since it was written, so its times are "
                "left out; `jaxattn eval` measures them anew",
                stacklevel=2,
            )
            return {}
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
