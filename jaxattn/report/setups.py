"""Which runs may be compared, and which differ by nothing but their seed."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from jaxattn.config import Scope, scope_of
from jaxattn.evaluate.intervals import Interval, comparable, macro_f1_difference
from jaxattn.report.record import RunRecord
from jaxattn.runs.predictions import Predictions

Key = tuple[object, ...]


@dataclasses.dataclass(frozen=True)
class Setup:
    """Runs that differ by nothing but their seed, failed ones among them.

    `shape` is what a step computes, `budget` says in words what they were given to learn from.
    """

    data: str
    attention: str
    shape: Key
    budget: tuple[str, ...]
    runs: tuple[RunRecord, ...]

    @property
    def finished(self) -> tuple[RunRecord, ...]:
        """The runs that have results."""
        return tuple(run for run in self.runs if run.finished)

    @property
    def seeds(self) -> int:
        """How many different seeds have results."""
        return len({run.seed for run in self.finished})

    def values(self, field: str) -> list[float]:
        """The values of a `RunRecord` field over the finished runs that have it."""
        found = (getattr(run, field) for run in self.finished)
        return [value for value in found if value is not None]

    @property
    def predictions(self) -> tuple[Predictions, ...]:
        """Those of all finished runs; empty if one of them has none, or they are of other texts."""
        found = [run.predictions for run in self.finished if run.predictions is not None]
        whole = len(found) == len(self.finished)
        return tuple(found) if found and whole and comparable(*found) else ()

    def mean(self, field: str) -> float | None:
        """The mean of a field over the finished runs, None if none has it."""
        values = self.values(field)
        return fmean(values) if values else None


def data_headings(records: Sequence[RunRecord]) -> dict[Path, str]:
    """Run folder -> name of its data, with the hash where one name stands for different data.

    A run that never came to record its hash goes with the others of its name if these agree.
    """
    hashes: dict[tuple[str, str | None], set[str]] = {}
    for record in records:
        found = hashes.setdefault(_corpus(record), set())
        if record.data_hash is not None:
            found.add(record.data_hash)
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


def group_setups(records: Sequence[RunRecord]) -> list[Setup]:
    """The pretraining, TAPT and fine-tuning runs of known attention, by setup, in their order.

    Two runs that started from different runs are one setup only if those are one too, which is
    seen if they are among `records`.
    """
    headings = data_headings(records)
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
            _shape_key(runs[0], headings),
            budget(runs[0], mlm),
            tuple(runs),
        )
        for runs in gathered.values()
    ]


def sdpa_reference(setup: Setup, setups: Sequence[Setup]) -> Setup | None:
    """The finished sdpa setup of the same kind, data, device, budget and model shape.

    Of several (another learning rate, say) the best on validation: never chosen by the test.
    """
    candidates = [
        other
        for other in setups
        if other.attention == "sdpa"
        and other.finished
        and (other.shape, other.budget) == (setup.shape, setup.budget)
    ]
    return max(candidates, key=validation_score) if candidates else None


def validation_score(setup: Setup) -> float:
    """Larger is better: mean validation macro-F1, for the MLM the negative validation loss."""
    if setup.runs[0].is_mlm:
        loss = setup.mean("validation_loss")
        return -math.inf if loss is None else -loss
    score = setup.mean("validation_macro_f1")
    return -math.inf if score is None else score


def best_baselines(records: Sequence[RunRecord]) -> dict[str, RunRecord]:
    """Heading of the data -> its finished baseline; of several the best on validation."""
    headings = data_headings(records)
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        if record.kind == "baseline" and record.finished:
            found.setdefault(headings[record.folder], []).append(record)
    return {heading: best_on_validation(runs) for heading, runs in found.items()}


def best_on_validation(runs: Sequence[RunRecord]) -> RunRecord:
    """The run with the highest validation macro-F1; of equals the first."""

    def score(run: RunRecord) -> float:
        return -1.0 if run.validation_macro_f1 is None else run.validation_macro_f1

    return max(runs, key=score)


def lead(ours: Sequence[Predictions], theirs: Sequence[Predictions]) -> Interval | None:
    """Macro-F1 of `ours` minus `theirs` in percentage points; None where they cannot be paired."""
    if not ours or not theirs or not comparable(*ours, *theirs):
        return None
    return macro_f1_difference(tuple(ours), tuple(theirs)).scaled(100)


def ratio(value: float | None, reference: float | None) -> float | None:
    """`value / reference`, None where either is unknown or the reference is not positive."""
    if value is None or reference is None or reference <= 0:
        return None
    return value / reference


def _setup_key(record: RunRecord, headings: dict[Path, str], origin: object) -> Key:
    return (
        *_place(record, headings),
        record.attention,
        origin,
        _options(record, _in_setup),
        tuple(sorted((name, repr(value)) for name, value in record.attention_options.items())),
        _method(record),
    )


def _shape_key(record: RunRecord, headings: dict[Path, str]) -> Key:
    def kept(path: str) -> bool:
        return _in_setup(path) and Scope.TUNED not in scope_of(path)

    # A classifier that had TAPT is no yardstick for one that had none.
    origin = record.pretrain and record.pretrain.startswith("tapt/")
    return *_place(record, headings), origin, _options(record, kept), _method(record)


def _in_setup(path: str) -> bool:
    """Whether an option is part of what is measured."""
    scope = scope_of(path)
    # The record tells those of the attention and of the method that were used.
    told = path.startswith(("attention.", "peft."))
    # Where texts and vocabulary lie is no part of it; what a stage adds to them is.
    elsewhere = Scope.MACHINE in scope and Scope.STAGE not in scope
    return not (told or elsewhere or scope & (Scope.BOOKKEEPING | Scope.SEED))


def _reference(record: RunRecord) -> str:
    """What a run that started from `record` calls it."""
    return record.exp if record.kind == "pretrain" else f"{record.kind}/{record.exp}"


def _place(record: RunRecord, headings: dict[Path, str]) -> Key:
    return record.kind, headings[record.folder], record.device


def _method(record: RunRecord) -> Key:
    """What was trained; options of other methods tell nothing."""
    return record.peft, *((name, repr(value)) for name, value in record.peft_options.items())


def _options(record: RunRecord, kept: Callable[[str], bool]) -> Key:
    # Names without a dot belong to the run (its name, its origin), not to its configuration.
    return tuple(
        (path, repr(value))
        for path, value in sorted(record.config.items())
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
        kind = "tapt" if name.startswith("tapt/") else "pretrain"
        steps = f" of {origin.steps} steps" if origin and origin.steps else ""
        before.append(f"{'TAPT' if kind == 'tapt' else 'pretraining'}{steps}")
        name = origin.pretrain if origin else None
    return (*said, "after " + " and ".join(reversed(before)) if before else "from random weights")


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that may be compared.

    `data` names the texts, `budget` says in words what all setups were given, `setups` hold
    fine-tuning runs (unfinished ones too), `baselines` one TF-IDF run each.
    """

    data: str
    device: str
    budget: tuple[str, ...]
    setups: tuple[Setup, ...]
    baselines: tuple[Setup, ...]

    @property
    def conditions(self) -> str:
        """Device and budget in words."""
        return ", ".join((self.device, *self.budget))

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """The finished runs, baselines last."""
        return tuple(run for setup in (*self.setups, *self.baselines) for run in setup.finished)

    @property
    def entries(self) -> tuple[Setup, ...]:
        """Setups and baselines with results, the best on validation first."""
        found = [setup for setup in (*self.setups, *self.baselines) if setup.finished]
        return tuple(sorted(found, key=validation_score, reverse=True))


def comparable_groups(records: Sequence[RunRecord]) -> list[Group]:
    """The groups that hold a finished run. A baseline is in every group of its data."""
    headings = data_headings(records)
    baselines: dict[str, list[Setup]] = {}
    for run in records:
        if run.kind == "baseline" and run.finished:
            heading = headings[run.folder]
            name = str(run.attention)
            if words := run.config.get("baseline.words"):
                name += f", first {words} words"
            baselines.setdefault(heading, []).append(Setup(heading, name, (), (), (run,)))
    gathered: dict[tuple[str, str, tuple[str, ...]], list[Setup]] = {}
    for setup in group_setups(records):
        first = setup.runs[0]
        if first.kind == "finetune":
            key = setup.data, first.device or "unknown device", setup.budget
            gathered.setdefault(key, []).append(setup)
    groups = [
        Group(*key, tuple(setups), tuple(baselines.get(key[0], ())))
        for key, setups in gathered.items()
        if any(setup.finished for setup in setups)
    ]
    alone = set(baselines) - {group.data for group in groups}
    for heading in sorted(alone):
        runs = tuple(baselines[heading])
        groups.append(Group(heading, runs[0].runs[0].device or "unknown device", (), (), runs))
    return sorted(groups, key=lambda group: group.data)
