"""results.json: what a run reached and what it cost. Its entries are the fields of `Results`."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from jaxattn.config import Config, to_plain
from jaxattn.errors import InputError, quoted
from jaxattn.files import read_object, write_json
from jaxattn.runs.formats import ENTRY, FORMAT, check_format
from jaxattn.runs.values import found, number, text, whole

Metrics = Mapping[str, float | None]
"""Name of a metric -> its value; None where it is not defined."""

Facts = Mapping[str, Any]
"""What is kept as it was said and read by people."""

_ROUNDING = 1e-9
"""So much may a share of 1 be above it."""

MEMORY_KINDS = (None, "resident", "device")


NULL = {"null": True}
"""Of a field whose None says something: null is written. Other Nones are left out."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a training took; None where it was not measured.

    Attributes:
      steps, skipped_steps, steps_per_epoch: of the optimizer; those skipped had no finite gradient.
      train_seconds, seconds_per_epoch: the training steps alone.
      compile_seconds: before them.
      total_seconds: of a baseline: all settings, fitted and tried.
      tokens_per_second, useful_token_share: without padding.
      peak_memory_MiB: of the accelerator ("device") or of the process ("resident"), as
        `peak_memory_kind` says.
      energy_joules_per_epoch: of the GPUs.
      accumulation: micro-batches of a step, where those of the options did not fit the memory.
    """

    steps: int | None = None
    skipped_steps: int | None = None
    steps_per_epoch: int | None = None
    train_seconds: float | None = None
    compile_seconds: float | None = None
    seconds_per_epoch: float | None = None
    total_seconds: float | None = None
    tokens_per_second: float | None = None
    useful_token_share: float | None = None
    peak_memory_MiB: float | None = None
    peak_memory_kind: str | None = None
    energy_joules_per_epoch: float | None = dataclasses.field(default=None, metadata=NULL)
    accumulation: int | None = None


@dataclasses.dataclass(frozen=True)
class Stage:
    """One of the stages that led to a run, or the run itself.

    `step` is the checkpoint that is reported, or that went on; `imported_from` is the folder of
    parameters that were trained elsewhere, and `model_type` the architecture they had there.
    """

    kind: str
    exp: str
    step: int | None = dataclasses.field(default=None, metadata=NULL)
    data: str | None = dataclasses.field(default=None, metadata=NULL)
    attention: str | None = dataclasses.field(default=None, metadata=NULL)
    attention_options: Facts | None = dataclasses.field(default=None, metadata=NULL)
    cost: Cost | None = dataclasses.field(default=None, metadata=NULL)
    imported_from: str | None = None
    model_type: str | None = None

    @classmethod
    def of(cls, kind: str, exp: str, config: Config, step: int | None, cost: Cost | None) -> Self:
        """That of runs/<kind>/<exp>, which has these options."""
        used = {name: to_plain(own) for name, own in config.attention.used.items()}
        # Of one attention without its name, as they have always been told.
        options = used if len(used) > 1 else next(iter(used.values()))
        return cls(kind, exp, step, config.data.name, config.attention.label, options, cost)


@dataclasses.dataclass(frozen=True)
class Results:
    """The entries of results.json; None for what a run of this kind does not have.

    Attributes:
      kind, exp, attention, data, data_hash, seed, device: what the run is.
      pretrain, pretrain_hash: the run it started from and the hash of those parameters.
      peft: what was trained of the encoder.
      parameters, trainable_parameters, added_parameters: how many.
      best_step, best_hash: the checkpoint that validation chose, and the hash of its parameters.
      stopped_step: where the patience of a fine-tuning ended.
      long_share: split -> share of its texts that were cut.
      validation_at_start, validation_before_change: of an MLM that began with a checkpoint: before
        any training, and before that with the attention it had.
      validation, test: metrics of the best checkpoint.
      confusion: on test, row: class, column: prediction.
      notes: sentences on classes that are never predicted or that a split lacks.
      attention_change: what a change of attention lost and training regained.
      chosen, grid: the settings of a baseline.
      imported: where imported parameters are from.
      cost, pretrain_cost, stages: of the run, of the stage before, of all.
      compiled_programs: how many.
      tokenizer, truncated_share, unknown_share: of the training texts.
      vocabulary: what extending it has changed.
    """

    kind: str = ""
    exp: str = ""
    attention: str | None = None
    data: str | None = dataclasses.field(default=None, metadata=NULL)
    data_hash: str | None = None
    seed: int | None = None
    pretrain: str | None = dataclasses.field(default=None, metadata=NULL)
    pretrain_hash: str | None = dataclasses.field(default=None, metadata=NULL)
    peft: str | None = None
    parameters: int | None = None
    trainable_parameters: int | None = None
    added_parameters: int | None = None
    best_step: int | None = dataclasses.field(default=None, metadata=NULL)
    stopped_step: int | None = dataclasses.field(default=None, metadata=NULL)
    best_hash: str | None = None
    long_share: Facts | None = None
    validation_at_start: Metrics | None = None
    validation_before_change: Metrics | None = None
    validation: Metrics | None = None
    test: Metrics | None = None
    confusion: Sequence[Sequence[int]] | None = None
    notes: Sequence[str] | None = None
    attention_change: Facts | None = None
    chosen: Facts | None = None
    grid: Sequence[Facts] | None = None
    imported: Facts | None = None
    cost: Cost | None = None
    pretrain_cost: Cost | None = dataclasses.field(default=None, metadata=NULL)
    stages: tuple[Stage, ...] | None = None
    compiled_programs: int | None = None
    tokenizer: Facts | None = None
    truncated_share: float | None = None
    unknown_share: float | None = None
    vocabulary: Facts | None = dataclasses.field(default=None, metadata=NULL)
    device: str | None = None

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        write_json(path, {ENTRY: FORMAT} | tree(self))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the file; what it lacks is None.

        Raises:
          InputError: it cannot be read, or an entry is not what it has to be; both are named.
        """
        content = read_object(path)
        check_format(content, path)
        try:
            results: Self = _record(cls, content)
            if (kind := results.cost and results.cost.peak_memory_kind) not in MEMORY_KINDS:
                raise InputError(
                    f"cost.peak_memory_kind is {quoted(kind)}, expected resident or device"
                )
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        return results

    def value(self, name: str) -> float | None:
        """The number under a dotted name, as validation.macro_f1; None where there is none."""
        return number(tree(self), name)


def tree(record: Results | Cost | Stage) -> dict[str, Any]:
    """A record as it stands in the file."""
    entries = {}
    # An import and a baseline took no steps: no entry says that something was not measured.
    trained = not isinstance(record, Cost) or record.steps is not None
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Cost):
            value = tree(value)
        elif field.name == "stages" and value is not None:
            value = [tree(stage) for stage in value]
        if value is not None or (trained and "null" in field.metadata):
            entries[field.name] = value
    return entries


_Record = TypeVar("_Record", bound=Results | Cost | Stage)


def _record(kind: type[_Record], content: Mapping[str, Any], prefix: str = "") -> _Record:
    """The record whose fields stand under `prefix` in `content`."""
    fields = dataclasses.fields(kind)
    return kind(**{f.name: _READERS[f.type](content, prefix + f.name) for f in fields})


def _metrics(content: Mapping[str, Any], path: str) -> Metrics | None:
    value = found(content, path)
    if not isinstance(value, Mapping):
        return None
    metrics = {name: number(content, f"{path}.{name}") for name in value}
    for name, measured in metrics.items():
        most = math.inf if name == "loss" else 1 + _ROUNDING
        if measured is not None and not 0 <= measured <= most:
            allowed = "at least 0" if name == "loss" else "0 to 1"
            raise InputError(f"{path}.{name} is {measured:g}, allowed: {allowed}")
    return metrics


def _cost(content: Mapping[str, Any], path: str) -> Cost | None:
    return _record(Cost, content, f"{path}.") if isinstance(content.get(path), Mapping) else None


def _stages(content: Mapping[str, Any], path: str) -> tuple[Stage, ...] | None:
    """None for a run of a version that did not record them."""
    stages = content.get(path)
    if not isinstance(stages, list) or not all(isinstance(stage, Mapping) for stage in stages):
        return None
    return tuple(_record(Stage, stage) for stage in stages)


_READERS: dict[Any, Callable[[Mapping[str, Any], str], Any]] = {
    str: lambda content, path: text(content, path) or "",
    str | None: text,
    int | None: whole,
    float | None: number,
    Metrics | None: _metrics,
    Cost | None: _cost,
    tuple[Stage, ...] | None: _stages,
    Facts | None: found,
    Sequence[Facts] | None: found,
    Sequence[str] | None: found,
    Sequence[Sequence[int]] | None: found,
}
"""Type of a field -> how it is read at a dotted path."""
