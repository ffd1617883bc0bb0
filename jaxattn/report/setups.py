"""Which runs may be compared, and which differ by nothing but their seed."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean

from jaxattn.config import Scope, as_meant, scope_of
from jaxattn.evaluate.intervals import (
    Interval,
    comparable,
    macro_f1_difference,
    macro_f1_interval,
)
from jaxattn.report.record import RunRecord
from jaxattn.runs.kinds import BASELINE_ATTENTION
from jaxattn.runs.predictions import Predictions

Key = tuple[object, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Setup:
    """Runs that differ by nothing but their seed, failed ones among them; or one baseline.

    `shape` is what a step computes, `budget` says in words what they were given to learn from.
    """

    data: str
    attention: str
    shape: Key
    budget: tuple[str, ...]
    runs: tuple[RunRecord, ...]

    @property
    def kind(self) -> str:
        """What made the runs: a stage or the baseline."""
        return self.runs[0].kind

    @property
    def device(self) -> str:
        """The device of all runs."""
        return self.runs[0].device or "unknown device"

    @cached_property
    def finished(self) -> tuple[RunRecord, ...]:
        """The runs that have results."""
        return tuple(run for run in self.runs if run.finished)

    @property
    def seeds(self) -> int:
        """How many different seeds have results."""
        return len({run.seed for run in self.finished})

    def values(self, field: str) -> list[float]:
        """The values of a `RunRecord` field over the finished runs that have it."""
        values = (getattr(run, field) for run in self.finished)
        return [value for value in values if value is not None]

    def mean(self, field: str) -> float | None:
        """The mean of a field over the finished runs, None if none has it."""
        values = self.values(field)
        return fmean(values) if values else None

    @property
    def best_run(self) -> RunRecord:
        """The finished run with the highest validation macro-F1; of equals the first."""

        def score(run: RunRecord) -> float:
            return -1.0 if run.validation_macro_f1 is None else run.validation_macro_f1

        return max(self.finished, key=score)

    @cached_property
    def predictions(self) -> tuple[Predictions, ...]:
        """Those of all finished runs; empty if one of them has none, or they are of other texts."""
        saved = [run.predictions for run in self.finished if run.predictions is not None]
        whole = len(saved) == len(self.finished)
        return tuple(saved) if saved and whole and comparable(*saved) else ()

    @cached_property
    def interval(self) -> Interval | None:
        """Mean test macro-F1, over texts and seeds; None without `predictions`."""
        return macro_f1_interval(self.predictions) if self.predictions else None

    def lead(self, other: "Setup") -> Interval | None:
        """Macro-F1 minus that of `other` in percentage points; None where they do not pair."""
        ours, theirs = self.predictions, other.predictions
        if not ours or not theirs or not comparable(*ours, *theirs):
            return None
        return macro_f1_difference(ours, theirs).scaled(100)


def data_headings(records: Sequence[RunRecord]) -> dict[Path, str]:
    """Run folder -> name of its data, with the hash where one name stands for different data.

    A run that never came to record its hash goes with the others of its name if these agree.
    """
    hashes: dict[tuple[str, str | None], set[str]] = {}
    for record in records:
        known = hashes.setdefault(_corpus(record), set())
        if record.data_hash is not None:
            known.add(record.data_hash)
    headings = {}
    for record in records:
        name = record.data or "unknown data"
        if len(hashes[_corpus(record)]) > 1:
            name += f" ({(record.data_hash or 'unknown')[:8]})"
        headings[record.folder] = name
    return headings


def _corpus(record: RunRecord) -> tuple[str, str | None]:
    # The MLM reads other splits of a corpus, and so has another hash under the same name.
    return record.kind if record.is_mlm else "", record.data


def group_setups(records: Sequence[RunRecord], headings: Mapping[Path, str]) -> list[Setup]:
    """The pretraining, TAPT and fine-tuning runs of known attention, by setup, in their order.

    Two runs that started from different runs are one setup only if those are one too, which is
    seen if they are among `records`.
    """
    mlm = {_reference(record): record for record in records if record.is_mlm}

    def key(record: RunRecord, followed: tuple[str, ...] = ()) -> Key:
        origin: object = record.pretrain
        name = record.pretrain or ""
        # A run folder may say anything, even that a run started from itself.
        if record.kind != "pretrain" and name in mlm and name not in followed:
            origin = key(mlm[name], (*followed, name))
        return _setup_key(record, headings, origin)

    gathered: dict[Key, list[RunRecord]] = {}
    for record in records:
        if record.kind != "baseline" and record.attention is not None:
            gathered.setdefault(key(record), []).append(record)
    return [
        Setup(
            headings[runs[0].folder],
            str(runs[0].attention),
            _shape_key(runs[0], headings, mlm),
            budget(runs[0], mlm),
            tuple(runs),
        )
        for runs in gathered.values()
    ]


def exact_setups(setups: Iterable[Setup]) -> dict[tuple[Key, tuple[str, ...]], Setup]:
    """Shape and budget -> the finished sdpa setup that has both, to set others against.

    Of several (another learning rate, say) the best on validation: never chosen by the test.
    """
    gathered: dict[tuple[Key, tuple[str, ...]], list[Setup]] = {}
    for setup in setups:
        if setup.attention == "sdpa" and setup.finished:
            gathered.setdefault((setup.shape, setup.budget), []).append(setup)
    return {key: max(found, key=validation_score) for key, found in gathered.items()}


def best_on_validation(setups: Iterable[Setup]) -> Setup | None:
    """The one with the best mean on validation; of equals the first, None of none."""
    return max(setups, key=validation_score, default=None)


def yardstick(baselines: Iterable[Setup]) -> Setup | None:
    """Of the baselines the one that the criteria ask to beat; of several the best on validation.

    It is not the best of all kinds: a lead means the same on every corpus.
    """
    return best_on_validation(
        setup for setup in baselines if setup.runs[0].attention == BASELINE_ATTENTION
    )


def validation_score(setup: Setup) -> float:
    """Larger is better: mean validation macro-F1, for the MLM the negative validation loss."""
    if setup.runs[0].is_mlm:
        loss = setup.mean("validation_loss")
        return -math.inf if loss is None else -loss
    score = setup.mean("validation_macro_f1")
    return -math.inf if score is None else score


def ratio(value: float | None, reference: float | None) -> float | None:
    """`value / reference`, None where either is unknown or the reference is not positive."""
    if value is None or reference is None or reference <= 0:
        return None
    return value / reference


def _setup_key(record: RunRecord, headings: Mapping[Path, str], origin: object) -> Key:
    return (
        *_measured_on(record, headings),
        record.attention,
        origin,
        options_key(record, in_setup),
        tuple(sorted((name, repr(value)) for name, value in record.attention_options.items())),
        _method(record),
    )


def _shape_key(
    record: RunRecord, headings: Mapping[Path, str], mlm: Mapping[str, RunRecord]
) -> Key:
    def kept(path: str) -> bool:
        return in_setup(path) and Scope.TUNED not in scope_of(path)

    # A classifier that had TAPT is no yardstick for one that had none; distilling its own encoder
    # after an exchange of the attention told it nothing of the task.
    name = record.pretrain or ""
    origin = name.startswith("tapt/") and not (name in mlm and mlm[name].distilled)
    return *_measured_on(record, headings), origin, options_key(record, kept), _method(record)


@functools.cache
def in_setup(path: str) -> bool:
    """Whether an option is part of what is measured, as its scope says."""
    scope = scope_of(path)
    # The record tells those of the attention and of the method that were used.
    told = path.startswith(("attention.", "peft."))
    # Where texts and vocabulary lie is no part of it; what a stage adds to them is.
    elsewhere = Scope.MACHINE in scope and Scope.STAGE not in scope
    return not (told or elsewhere or scope & (Scope.BOOKKEEPING | Scope.SEED))


def _reference(record: RunRecord) -> str:
    """What a run that started from `record` calls it."""
    return record.exp if record.kind == "pretrain" else f"{record.kind}/{record.exp}"


def _measured_on(record: RunRecord, headings: Mapping[Path, str]) -> Key:
    return record.kind, headings[record.folder], record.device


def _method(record: RunRecord) -> Key:
    """What was trained; options of other methods tell nothing."""
    return record.peft, *((name, repr(value)) for name, value in record.peft_options.items())


def options_key(record: RunRecord, kept: Callable[[str], bool]) -> Key:
    """The options of a run whose names are `kept`, also those that it was saved without."""
    # Names without a dot belong to the run (its name, its origin), not to its configuration.
    return tuple(
        (path, repr(value))
        for path, value in sorted(as_meant(record.config).items())
        if "." in path and kept(path)
    )


_BUDGET = {
    "data.max_length": "{} tokens",
    "data.max_examples": "at most {} texts of a split",
    "train.epochs": "{} epochs",
    "train.max_steps": "at most {} steps",
}


def budget(run: RunRecord, mlm: Mapping[str, RunRecord]) -> tuple[str, ...]:
    """Length of texts, epochs, steps, number of texts, and the steps of the stages before.

    What an exchange of the attention took to be made good is a cost of that attention and no
    part of the budget: the encoder learned nothing from it that it did not give before.

    Args:
      run: a fine-tuning.
      mlm: what a run that started from it calls a pretraining or TAPT -> that run.
    """
    said = []
    for path, words in _BUDGET.items():
        if value := run.config.get(path):
            phrase = words.format(value)
            said.append(phrase.removesuffix("s") if value == 1 else phrase)
    before: list[str] = []
    name, followed = run.pretrain, set()
    while name and name not in followed:
        followed.add(name)
        origin = mlm.get(name)
        if origin and origin.distilled:
            name = origin.pretrain
            continue
        steps = f" of {origin.steps} steps" if origin and origin.steps else ""
        before.append(("TAPT" if name.startswith("tapt/") else "pretraining") + steps)
        name = origin.pretrain if origin else None
    return (*said, "after " + " and ".join(reversed(before)) if before else "from random weights")
