"""Who is best: finished runs in order within each data set, the others after them."""

import dataclasses
import math
from collections.abc import Sequence
from statistics import stdev

from jaxattn.errors import InputError, did_you_mean
from jaxattn.report.criteria import pass_wnf
from jaxattn.report.record import RunRecord
from jaxattn.report.setups import Setup, data_headings, group_setups, ratio, sdpa_reference

QUALITIES = {
    "test_macro_f1": "test_macro_f1",
    "test_accuracy": "test_accuracy",
    "test_weighted_f1": "test_weighted_f1",
    "test_auroc": "test_auroc",
    "validation_macro_f1": "validation_macro_f1",
}
"""Measures of which more is better -> field of `RunRecord`; ranked within a data set."""

COSTS = {
    "time_per_epoch": "seconds_per_epoch",
    "train_seconds": "train_seconds",
    "max_gpu_mem_MiB": "device_memory_mib",
    "peak_rss_MiB": "resident_memory_mib",
    "parameters": "parameters",
}
"""Measures of which less is better -> field; ranked within a data set and a device."""


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


def rank(records: Sequence[RunRecord], by: str = "test_macro_f1") -> list[Ranked]:
    """All runs: for each data set the ranked ones (ties: the faster first), then the others.

    Ranked are finished fine-tuning and baseline runs that have the measure; a failed,
    interrupted or running one never is. Pretraining and TAPT runs come last.

    Raises:
      InputError: unknown measure.
    """
    known = {**QUALITIES, **COSTS}
    if by not in known:
        hint = did_you_mean(by, list(known))
        raise InputError(f"ranking by {by!r} is not possible; allowed: {', '.join(known)}{hint}")
    headings = data_headings(records)
    places = _places(records, known[by], by in COSTS)
    setups = group_setups(records)
    own = {run.folder: setup for setup in setups for run in setup.runs}
    verdicts = pass_wnf(records)
    rows = []
    for record in records:
        setup = own.get(record.folder)
        scores = setup.values("test_macro_f1") if setup is not None else []
        time, memory = _against_sdpa(record, setup, setups)
        rows.append(
            Ranked(
                record=record,
                rank=places.get(record.folder),
                data=headings[record.folder],
                seeds=setup.seeds if setup is not None else None,
                test_macro_f1_std=stdev(scores) if len(scores) > 1 else None,
                time_vs_sdpa=time,
                memory_vs_sdpa=memory,
                pass_wnf=verdicts.get(record.folder, ""),
            )
        )
    return sorted(rows, key=_order)


def _places(records: Sequence[RunRecord], field: str, is_cost: bool) -> dict:
    """Folder -> place, from 1, within its data set (and device, for a cost)."""
    headings = data_headings(records)
    fields: dict[tuple, list[RunRecord]] = {}
    for record in records:
        if record.finished and not record.is_mlm and getattr(record, field) is not None:
            # Seconds and bytes of different devices are not comparable; qualities are.
            device = record.device if is_cost else None
            fields.setdefault((headings[record.folder], device), []).append(record)

    def key(record: RunRecord) -> tuple[float, float, str]:
        value = getattr(record, field)
        time = math.inf if record.seconds_per_epoch is None else record.seconds_per_epoch
        return value if is_cost else -value, time, record.exp

    return {
        record.folder: place
        for group in fields.values()
        for place, record in enumerate(sorted(group, key=key), start=1)
    }


def _against_sdpa(
    record: RunRecord, setup: Setup | None, setups: Sequence[Setup]
) -> tuple[float | None, float | None]:
    """Time and memory as ratios; memory only against the same kind of memory."""
    exact = sdpa_reference(setup, setups) if setup is not None and record.finished else None
    if exact is None:
        return None, None
    time = ratio(record.seconds_per_epoch, exact.mean("seconds_per_epoch"))
    for field in ("device_memory_mib", "resident_memory_mib"):
        memory = ratio(getattr(record, field), exact.mean(field))
        if memory is not None:
            return time, memory
    return time, None


def _order(row: Ranked) -> tuple:
    place = math.inf if row.rank is None else row.rank
    unfinished = not row.record.finished
    return row.record.is_mlm, row.record.kind == "tapt", row.data, unfinished, place, row.record.exp
