"""The time that training will take: that of a step of each length, and of all steps."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypedDict

from jaxattn.plan.programs import PlannedSteps, Timing
from jaxattn.stages.batches import total_steps


class LengthRow(TypedDict):
    """The steps of one length: how many in an epoch, how long one takes, how that is known."""

    length: int
    steps: int | None
    seconds_per_step: float | None
    tokens_per_second: float | None
    how: str


@dataclasses.dataclass(frozen=True)
class Times:
    """Steps and seconds; None where they are not known.

    `compile_seconds`: of all lengths; those not compiled here count as the mean.
    """

    lengths: list[LengthRow]
    steps_per_epoch: int | None
    steps: int | None
    seconds_per_epoch: float | None
    train_seconds: float | None
    compile_seconds: float | None


def times(planned: PlannedSteps, share: float) -> Times:
    """Times the steps of all lengths within a share of `plan.seconds`."""
    config, workload = planned.config, planned.workload
    timings = planned.timings(planned.lengths, share)
    rows = length_rows(timings, workload.steps, config.train.batch_size)
    per_epoch, seconds = workload.steps_per_epoch, epoch_seconds(rows)
    steps = total_steps(config, per_epoch) if per_epoch else None
    compiled = [t.compile_seconds for t in timings.values() if t.compile_seconds is not None]
    return Times(
        rows,
        per_epoch,
        steps,
        seconds,
        seconds / per_epoch * steps if seconds and per_epoch and steps else None,
        sum(compiled) / len(compiled) * len(timings) if compiled else None,
    )


def length_rows(
    timings: Mapping[int, Timing], steps: Mapping[int, int] | None, batch_size: int
) -> list[LengthRow]:
    """A row for each length.

    The time of a length that was not timed is that of the nearest one that was, by tokens.
    """
    known = {n: timing.seconds for n, timing in timings.items() if timing.seconds is not None}
    rows: list[LengthRow] = []
    for length, timing in timings.items():
        seconds, how = timing.seconds, "timed"
        if seconds is None and known:
            near = min(known, key=lambda other: abs(other - length))
            seconds, how = known[near] * length / near, f"by tokens, from {near}"
        elif seconds is None:
            how = "not timed"
        elif timing.rows < batch_size:
            how = f"{timing.rows} rows timed"
        rows.append(
            {
                "length": length,
                "steps": None if steps is None else steps[length],
                "seconds_per_step": seconds,
                "tokens_per_second": batch_size * length / seconds if seconds else None,
                "how": how,
            }
        )
    return rows


def epoch_seconds(rows: Sequence[LengthRow]) -> float | None:
    """Seconds of an epoch; None where steps or times are not known."""
    total = 0.0
    for row in rows:
        if row["steps"] is None or row["seconds_per_step"] is None:
            return None
        total += row["steps"] * row["seconds_per_step"]
    return total
