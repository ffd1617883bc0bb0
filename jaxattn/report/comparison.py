"""Runs set side by side: what may be compared with what, who is best, and the verdicts."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import stdev
from typing import Any

from jaxattn.report.criteria import FAIL, INCONCLUSIVE, NOT_MEASURED, PASS, Criterion, judge
from jaxattn.report.cross_validation import FoldedGroup, folded_groups
from jaxattn.report.folds import cut_of, folds_of
from jaxattn.report.record import COSTS, RANKED_BY, RunRecord
from jaxattn.report.setups import (
    Setup,
    data_headings,
    exact_setups,
    group_setups,
    ratio,
    validation_score,
    yardstick,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Configurations that may be compared: of the same data, device and budget.

    `data` names the texts, `budget` says in words what all setups were given, `setups` hold
    fine-tuning runs (unfinished ones too), `baselines` one run each, `criteria` judge the
    setups.
    """

    data: str
    device: str
    budget: tuple[str, ...]
    setups: tuple[Setup, ...]
    baselines: tuple[Setup, ...]
    criteria: tuple[Criterion, ...]

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
        measured = [setup for setup in (*self.setups, *self.baselines) if setup.finished]
        return tuple(sorted(measured, key=validation_score, reverse=True))

    def label(self, setup: Setup) -> str:
        """The attention, with the experiment where the group has it more than once."""
        name = setup.runs[0].label
        once = self._attentions[setup.attention] == 1
        return name if once else f"{name} ({setup.runs[0].exp})"

    @cached_property
    def _attentions(self) -> Counter[str]:
        return Counter(setup.attention for setup in (*self.setups, *self.baselines))

    @cached_property
    def _exact(self) -> Mapping[Any, Setup]:
        return exact_setups(self.setups)

    def exact(self, setup: Setup) -> Setup | None:
        """The exact attention to set `setup` against; None for exact ones and baselines."""
        is_exact = setup.attention == "sdpa"
        return None if is_exact else self._exact.get((setup.shape, setup.budget))


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A run, its place (None if it is not ranked) and what follows from comparing it with others.

    `test_macro_f1_std` is the sample standard deviation over the finished seeds of its setup.
    `time_vs_sdpa` and `memory_vs_sdpa` are its cost divided by the mean of the sdpa runs of the
    same data, device and model; for a baseline, which has no such model, None.
    """

    record: RunRecord
    rank: int | None
    data: str
    seeds: int | None
    test_macro_f1_std: float | None
    time_vs_sdpa: float | None
    memory_vs_sdpa: float | None
    pass_wnf: str


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """What follows from the records of all runs, worked out once for tables, pictures and page.

    `rank_by`, one of `RANKED_BY`, is the measure that gives a run its rank.
    """

    records: Sequence[RunRecord]
    rank_by: str = "test_macro_f1"

    @cached_property
    def headings(self) -> Mapping[Path, str]:
        """Run folder -> name of its data, with the hash where that name is ambiguous."""
        folds = {}
        folded = [run for run in self.records if folds_of(run)]
        cuts = {(run.data, folds_of(run), cut_of(run)) for run in folded}
        repeats = Counter(cut[:2] for cut in cuts)
        for run in folded:
            name = f"{run.data}, fold {run.config.get('data.fold')} of {folds_of(run)}"
            if repeats[run.data, folds_of(run)] > 1:
                name += f" by data.split_seed {cut_of(run)}"
            folds[run.folder] = name
        return data_headings(self.single) | folds

    @cached_property
    def single(self) -> Sequence[RunRecord]:
        """The records without the folds of a cross-validation, of which one says nothing alone."""
        return [run for run in self.records if not folds_of(run)]

    @cached_property
    def folded(self) -> Sequence[FoldedGroup]:
        """What was cross-validated."""
        return folded_groups(self.records)

    @cached_property
    def setups(self) -> Sequence[Setup]:
        """All setups of the pretraining, TAPT and fine-tuning runs, in the order of the records."""
        return group_setups(self.single, self.headings)

    @cached_property
    def _exact(self) -> Mapping[Any, Setup]:
        return exact_setups(self.setups)

    def exact(self, setup: Setup) -> Setup | None:
        """The exact attention of the same shape and budget; of an exact setup the best of them."""
        return self._exact.get((setup.shape, setup.budget))

    @cached_property
    def baselines(self) -> Mapping[str, Sequence[Setup]]:
        """Name of the data -> its finished baselines."""
        baselines: dict[str, list[Setup]] = {}
        for run in self.single:
            if run.kind == "baseline" and run.finished:
                data, name = self.headings[run.folder], f"{run.attention}{run.first_words}"
                baselines.setdefault(data, []).append(Setup(data, name, (), (), (run,)))
        return baselines

    def baseline(self, data: str) -> Setup | None:
        """The finished TF-IDF + LogReg run of these data; of several the best on validation."""
        return yardstick(self.baselines.get(data, ()))

    @cached_property
    def criteria(self) -> Sequence[Criterion]:
        """The cost and quality criteria of every fine-tuned setup."""
        return [
            criterion
            for setup in self.setups
            if setup.kind == "finetune"
            for criterion in judge(setup, self.exact(setup), self.baseline(setup.data))
        ]

    @cached_property
    def verdicts(self) -> Mapping[Setup, str]:
        """Judged setup -> FAIL if a criterion failed, PASS if all passed.

        Else NOT MEASURED if one was not measured, else INCONCLUSIVE.
        """
        verdicts: dict[Setup, set[str]] = {}
        for row in self.criteria:
            verdicts.setdefault(row.setup, set()).add(row.verdict)
        order = (FAIL, NOT_MEASURED, INCONCLUSIVE, PASS)
        return {
            setup: next(verdict for verdict in order if verdict in given)
            for setup, given in verdicts.items()
        }

    @cached_property
    def groups(self) -> Sequence[Group]:
        """The groups that hold a finished run, by data. A baseline is in each of its data."""
        gathered: dict[tuple[str, str, tuple[str, ...]], list[Setup]] = {}
        for setup in self.setups:
            if setup.kind == "finetune":
                gathered.setdefault((setup.data, setup.device, setup.budget), []).append(setup)
        groups = [
            Group(
                *conditions,
                tuple(setups),
                tuple(self.baselines.get(conditions[0], ())),
                tuple(row for row in self.criteria if row.setup in setups),
            )
            for conditions, setups in gathered.items()
            if any(setup.finished for setup in setups)
        ]
        for data in sorted(set(self.baselines) - {group.data for group in groups}):
            alone = tuple(self.baselines[data])
            groups.append(Group(data, alone[0].device, (), (), alone, ()))
        return sorted(groups, key=lambda group: group.data)

    @cached_property
    def ranking(self) -> Sequence[Ranked]:
        """All runs: for each data set the ranked ones, then the others; MLM runs come last.

        Ranked are finished fine-tuning and baseline runs that have the measure `rank_by`; of equals
        the faster is first. A failed, interrupted or running one never is.
        """
        ranks = self._ranks()
        setups = {run.folder: setup for setup in self.setups for run in setup.runs}
        rows = []
        for run in self.records:
            setup = setups.get(run.folder)
            scores = setup.values("test_macro_f1") if setup else []
            time, memory = self._against_exact(run, setup)
            rows.append(
                Ranked(
                    record=run,
                    rank=ranks.get(run.folder),
                    data=self.headings[run.folder],
                    seeds=setup.seeds if setup else None,
                    test_macro_f1_std=stdev(scores) if len(scores) > 1 else None,
                    time_vs_sdpa=time,
                    memory_vs_sdpa=memory,
                    pass_wnf=self.verdicts.get(setup, "") if setup else "",
                )
            )

        def order(row: Ranked) -> tuple[bool, bool, str, bool, float, str]:
            run, rank = row.record, math.inf if row.rank is None else row.rank
            return run.is_mlm, run.kind == "tapt", row.data, not run.finished, rank, run.exp

        return sorted(rows, key=order)

    def _ranks(self) -> dict[Path, int]:
        """Folder -> place, from 1, within its data set (and device, for a cost)."""
        ranks: dict[Path, int] = {}
        taken: Counter[tuple[str, str | None]] = Counter()
        is_cost = self.rank_by in COSTS

        def measure(run: RunRecord) -> float | None:
            value: float | None = getattr(run, RANKED_BY[self.rank_by])
            return value

        def order(run: RunRecord) -> tuple[float, float, str]:
            value = measure(run) or 0.0
            time = math.inf if run.seconds_per_epoch is None else run.seconds_per_epoch
            return value if is_cost else -value, time, run.exp

        for run in sorted(self.records, key=order):
            if run.finished and not run.is_mlm and measure(run) is not None:
                group = self.headings[run.folder], run.device if is_cost else None
                taken[group] += 1
                ranks[run.folder] = taken[group]
        return ranks

    def _against_exact(
        self, run: RunRecord, setup: Setup | None
    ) -> tuple[float | None, float | None]:
        """Time and memory as ratios; memory only against the same kind of memory."""
        exact = self.exact(setup) if setup and run.finished else None
        if exact is None:
            return None, None
        time = ratio(run.seconds_per_epoch, exact.mean("seconds_per_epoch"))
        for field in ("device_memory_mib", "resident_memory_mib"):
            memory = ratio(getattr(run, field), exact.mean(field))
            if memory is not None:
                return time, memory
        return time, None
