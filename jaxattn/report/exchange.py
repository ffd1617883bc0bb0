"""What an exchange of the attention cost a run, what it lost, and what training won back."""

import dataclasses
from collections.abc import Sequence

from jaxattn.console import shown
from jaxattn.errors import InputError
from jaxattn.report.record import RunRecord
from jaxattn.runs.values import number, text

MEASURES = {
    "mlm": "MLM loss, nats a token",
    "distill": "distance of the hidden states, a share of their size",
}
"""Objective of the stage -> what is measured, on validation texts."""


@dataclasses.dataclass(frozen=True)
class Exchange:
    """That of one TAPT run.

    Attributes:
      exp: its name.
      before, after: the attentions.
      objective: what was trained, one of `MEASURES`.
      losses: of the encoder as it was, with the new attention, and after training.
      regained: the share of what was lost; None where nothing was.
      steps, seconds: of the training.
    """

    exp: str
    before: str
    after: str
    objective: str
    losses: tuple[float | None, float | None, float | None]
    regained: float | None
    steps: int | None
    seconds: float | None

    @classmethod
    def of(cls, run: RunRecord) -> "Exchange | None":
        """That of a finished run; None where it exchanged nothing, or does not say what."""
        if run.exchange is None or not run.finished:
            return None
        found = run.exchange
        try:
            # What was exchanged before there was a choice went on with the MLM.
            objective = text(found, "objective") if "objective" in found else "mlm"
            before, after = text(found, "from"), text(found, "to")
            losses = tuple(
                number(found, f"loss_{when}") for when in ("before", "changed", "trained")
            )
            regained = number(found, "regained")
        except InputError:
            return None
        if objective not in MEASURES or before is None or after is None:
            return None
        first, second, third = losses
        return cls(
            run.exp, before, after, objective, (first, second, third), regained,
            run.steps, run.train_seconds,
        )  # fmt: skip

    @property
    def sentence(self) -> str:
        """For a reader at the terminal."""
        before, changed, trained = (shown(loss, ".3f") for loss in self.losses)
        won = "" if self.regained is None else f", {self.regained:.0%} of what was lost"
        return (
            f"{self.exp}: {self.after} in place of {self.before}: {MEASURES[self.objective]}: "
            f"{before} before, {changed} at the exchange, {trained} after "
            f"{shown(self.steps, ',.0f')} steps ({shown(self.seconds, ',.0f')} s){won}."
        )


def exchanges(records: Sequence[RunRecord]) -> list[Exchange]:
    """Those of all records, in their order."""
    return [exchange for run in records if (exchange := Exchange.of(run)) is not None]
