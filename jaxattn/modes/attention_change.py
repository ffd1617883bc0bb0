"""What the MLM loses where a stage takes another attention, and what its training brings back."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxattn.config import Config
from jaxattn.modes.training import say

Metrics = Mapping[str, float | None]


@dataclasses.dataclass(frozen=True)
class AttentionChange:
    """The model before the change: its configuration and parameters, to be evaluated once.

    `after` is the attention it has now.
    """

    config: Config
    params: Any
    after: str

    def report(
        self, validation_before_change: Metrics, validation_at_start: Metrics, validation: Metrics
    ) -> dict[str, float | str | None]:
        """For results.json, in nats per masked token; says it too.

        `regained` is the share of the lost loss that training made good: above 1 where the trained
        model is better than the one it began with, None where the change lost nothing. Training
        on new texts would have helped the old attention as well: how much, only a second run
        without the change tells.
        """
        losses = (validation_before_change, validation_at_start, validation)
        before, swapped, after = (float(metrics["loss"] or 0.0) for metrics in losses)
        lost = swapped - before
        regained = (swapped - after) / lost if lost > 0 else None
        kind = self.config.attention.type
        told = "" if regained is None else f", {regained:.0%} of what was lost"
        say(
            f"validation loss: {before:.4f} with {kind}, {swapped:.4f} with {self.after} before "
            f"any training, {after:.4f} after it{told}"
        )
        return {
            "from": kind,
            "to": self.after,
            "loss_before": before,
            "loss_changed": swapped,
            "loss_trained": after,
            "regained": regained,
        }


def attention_change(config: Config, before: Config, params: Any) -> AttentionChange | None:
    """None where the attention, its options among it, is that of the stage before.

    Args:
      config: of this stage.
      before: of the one before.
      params: the parameters it left, with the vocabulary and the positions of this stage.
    """
    own, kept = config.attention, before.attention
    if (own.type, own.options) == (kept.type, kept.options):
        return None
    # Whatever else this stage changes is changed here too; weights are not dropped in evaluation.
    model = dataclasses.replace(config.model, attention_dropout=0.0)
    return AttentionChange(
        dataclasses.replace(config, model=model, attention=kept), params, own.type
    )
