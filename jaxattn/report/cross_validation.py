"""Cross-validations, repeated or not: what was run on the same folds, side by side."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from statistics import fmean, stdev

from jaxattn.evaluate.class_notes import unpredicted_in_runs
from jaxattn.evaluate.intervals import Interval
from jaxattn.report.folds import Pooled, cut_of, folds_of, saved
from jaxattn.report.record import RunRecord
from jaxattn.report.setups import Key, group_setups, in_setup, options_key

_TOKENS = frozenset(
    f"data.{name}"
    for name in (
        "max_length", "length_buckets", "truncate", "mlm_splits", "mask_rate", "whole_words",
        "packing",
    )
)  # fmt: skip
"""Options of the data that do not decide which texts are in which fold."""


@dataclasses.dataclass(frozen=True, eq=False)
class CrossValidation:
    """Runs that differ in their fold, cut and seed only.

    Attributes:
      label: names them within their data.
      cuts: data.split_seed of every repeat -> its runs.
    """

    label: str
    cuts: Mapping[int, Pooled]

    @classmethod
    def of(cls, label: str, runs: Sequence[RunRecord]) -> "CrossValidation":
        """The runs by their cut, which all are into as many folds."""
        cuts: dict[int, list[RunRecord]] = {}
        for run in runs:
            cuts.setdefault(cut_of(run), []).append(run)
        folds = folds_of(runs[0])
        return cls(label, {cut: Pooled(folds, tuple(cuts[cut])) for cut in sorted(cuts)})

    @cached_property
    def runs(self) -> tuple[RunRecord, ...]:
        """Those of all repeats."""
        return tuple(run for cut in self.cuts.values() for run in cut.runs)

    @cached_property
    def repeats(self) -> Mapping[int, Pooled]:
        """The cuts whose folds have all finished; only these are pooled and compared."""
        return {seed: cut for seed, cut in self.cuts.items() if cut.predictions}

    @property
    def is_exact(self) -> bool:
        """Whether exact attention was cross-validated."""
        return self.runs[0].attention == "sdpa"

    @property
    def done(self) -> int:
        """How many folds, of all repeats together, a run has finished."""
        return sum(cut.done for cut in self.cuts.values())

    @cached_property
    def macro_f1(self) -> float | None:
        """Of the pooled predictions, the mean over repeats; None without a whole one."""
        scores = [cut.macro_f1 for cut in self.repeats.values() if cut.macro_f1 is not None]
        return fmean(scores) if scores else None

    @cached_property
    def interval(self) -> Interval | None:
        """Its 95 % interval; None without a whole repeat."""
        return _mean([cut.interval for cut in self.repeats.values() if cut.interval is not None])

    @property
    def scores(self) -> list[float]:
        """Test macro-F1 of the finished runs."""
        values = (run.test_macro_f1 for run in self.runs if run.finished)
        return [value for value in values if value is not None]

    @property
    def seconds(self) -> float:
        """Seconds of an epoch (of a baseline: its fit), the mean over runs; infinite if unknown."""
        values = [run.seconds_per_epoch for run in self.runs if run.seconds_per_epoch is not None]
        return fmean(values) if values else math.inf

    @property
    def spread(self) -> float | None:
        """Standard deviation of `scores`; None of fewer than two."""
        return stdev(self.scores) if len(self.scores) > 1 else None

    def leads(self, other: "CrossValidation") -> list[Interval]:
        """Pooled macro-F1 minus that of `other`, percentage points, of each repeat that pairs.

        Those are the cuts whose folds have all finished in both, on the same texts.
        """
        shared = [seed for seed in self.repeats if seed in other.repeats]
        gaps = [self.repeats[seed].lead(other.repeats[seed]) for seed in shared]
        return [gap for gap in gaps if gap is not None]

    def lead(self, other: "CrossValidation") -> Interval | None:
        """The mean of `leads`; None where no repeat pairs."""
        return _mean(self.leads(other))


@dataclasses.dataclass(frozen=True, eq=False)
class FoldedGroup:
    """What was cross-validated on the same folds: best validation first, baselines among it."""

    data: str
    folds: int
    entries: tuple[CrossValidation, ...]

    @property
    def repeats(self) -> int:
        """Of how many cuts there are runs."""
        return len({seed for entry in self.entries for seed in entry.cuts})

    @property
    def heading(self) -> str:
        """Data, repeats and folds in words."""
        times = f"{self.repeats} x " if self.repeats > 1 else ""
        return f"{self.data}, {times}{self.folds} folds"

    @property
    def answer(self) -> str:
        """The best by validation, what it reaches, and how sure that is; or what is missing."""
        whole = [entry for entry in self.entries if entry.repeats]
        if not whole:
            done = max(cut.done for entry in self.entries for cut in entry.cuts.values())
            return f"{done} of {self.folds} folds have finished, all are needed."
        best, sure = whole[0], whole[0].interval
        said = f"Use {best.label}: macro-F1 {100 * (best.macro_f1 or 0):.2f} % of the folds' texts"
        if sure is not None:
            low, high = 100 * sure.low, 100 * sure.high
            said += f" together (95 % interval {low:.2f} to {high:.2f}"
            said += f"; single folds {100 * min(best.scores):.2f} to {100 * max(best.scores):.2f}"
            said += f"{self._fewer(len(best.repeats))})"
        listed = []
        for entry in [entry for entry in whole if entry is not best][:4]:
            if (gap := best.lead(entry)) is not None:
                fewer = self._fewer(len(best.leads(entry)))
                sure_of = f"({gap.low:+z.2f} to {gap.high:+z.2f}{fewer})"
                listed.append(f"{gap.value:+z.2f} pp to {entry.label} {sure_of}")
        said += f"{': ' if listed else ''}{', '.join(listed)}."
        runs = [run for cut in best.repeats.values() for seed in cut.by_seed for run in seed]
        note = unpredicted_in_runs([saved(run) for run in runs], "in {} of {} runs")
        return f"{said} {note[0].upper()}{note[1:]}." if note else said

    def rows(self) -> list[dict[str, object]]:
        """Heading -> value of every entry, in percent and percentage points."""
        exact = next((entry for entry in self.entries if entry.is_exact and entry.repeats), None)
        return [self._row(entry, exact) for entry in self.entries]

    def _row(self, entry: CrossValidation, exact: CrossValidation | None) -> dict[str, object]:
        sure = entry.interval.scaled(100) if entry.interval else None
        gaps = entry.leads(exact) if exact is not None and entry is not exact else []
        gap, fewer = _mean(gaps), self._fewer(len(gaps))
        score, spread = entry.macro_f1, entry.spread
        return {
            "attention": entry.label,
            "seeds": str(len({run.seed for run in entry.runs if run.finished})),
            "repeats": f"{len(entry.repeats)} of {self.repeats}" if self.repeats > 1 else None,
            "folds": f"{entry.done} of {self.repeats * self.folds}",
            "pooled macro-F1 %": None if score is None else f"{100 * score:.2f}",
            "95 % interval": f"{sure.low:.2f} to {sure.high:.2f}" if sure else None,
            "mean of folds %": f"{100 * fmean(entry.scores):.2f}" if entry.scores else None,
            "sd of folds, pp": None if spread is None else f"{100 * spread:.2f}",
            "against sdpa, pp": (
                f"{gap.value:+z.2f} ({gap.low:+z.2f} to {gap.high:+z.2f}{fewer})" if gap else None
            ),
            "s / epoch": f"{entry.seconds:,.1f}" if math.isfinite(entry.seconds) else None,
        }

    def _fewer(self, count: int) -> str:
        """Said of what only `count` of the repeats tell; "" where all do."""
        return f"; {count} of {self.repeats} repeats" if count < self.repeats else ""


def folded_groups(records: Sequence[RunRecord]) -> list[FoldedGroup]:
    """The cross-validated runs among `records`, by data and folds."""
    folded = [run for run in records if folds_of(run)]
    # Setups, but for fold and cut; each has other data, and so its own hash.
    headings = {run.folder: run.data or "unknown data" for run in folded}
    settings = [setup.runs for setup in group_setups(folded, headings) if setup.kind == "finetune"]
    baselines: dict[Key, list[RunRecord]] = {}
    for run in folded:
        if run.kind == "baseline":
            # It reads nothing of the options of training.
            own = options_key(run, lambda name: name.startswith("baseline."))
            baselines.setdefault((_texts(run), run.label, own), []).append(run)
    groups: dict[Key, list[tuple[RunRecord, ...]]] = {}
    for runs in [*settings, *map(tuple, baselines.values())]:
        groups.setdefault(_texts(runs[0]), []).append(runs)
    found = []
    for settings in groups.values():
        names = [runs[0].label for runs in settings]
        entries = [
            CrossValidation.of(name if names.count(name) == 1 else f"{name} ({runs[0].exp})", runs)
            for name, runs in zip(names, settings, strict=True)
        ]
        entries.sort(key=_on_validation, reverse=True)
        first = settings[0][0]
        found.append(FoldedGroup(headings[first.folder], folds_of(first), tuple(entries)))
    return sorted(found, key=lambda group: group.heading)


def _mean(intervals: Sequence[Interval]) -> Interval | None:
    """Estimate and ends, each the mean over repeats; None of none.

    Not narrower than the interval of one repeat: another cut of the same texts is no new sample of
    texts. An average over repeats only takes out the chance of the cut.
    """
    if not intervals:
        return None
    return Interval(
        fmean(each.value for each in intervals),
        fmean(each.low for each in intervals),
        fmean(each.high for each in intervals),
    )


def _texts(run: RunRecord) -> Key:
    """What decides which texts are in which fold, but for the cut."""

    def kept(name: str) -> bool:
        return name.startswith("data.") and name not in _TOKENS and in_setup(name)

    return run.data, folds_of(run), options_key(run, kept)


def _on_validation(entry: CrossValidation) -> float:
    values = (run.validation_macro_f1 for run in entry.runs if run.finished)
    known = [value for value in values if value is not None]
    return fmean(known) if known else -math.inf
