"""Which finished runs may stand in one picture: same data, same device, same budget."""

import dataclasses
from collections.abc import Sequence

from jaxattn.report.record import RunRecord
from jaxattn.report.setups import Setup, data_headings, group_setups, validation_score


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
