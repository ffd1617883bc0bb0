"""An exchange of the attention between two stages: what it lost, and what training regained."""

import dataclasses

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.ops.trees import Params
from jaxattn.runs.results import Facts

LEAST = 1e-4
"""A loss below this is rounding: no share of it means anything."""


@dataclasses.dataclass(frozen=True)
class AttentionChange:
    """The model before the change: its configuration and parameters, to be evaluated once.

    `after` is the attention it has now.
    """

    config: Config
    params: Params
    after: str

    def report(self, objective: str, before: float, swapped: float, after: float) -> Facts:
        """For results.json, and said.

        The losses are those of the objective on the validation texts: with "mlm" nats per masked
        token, with "distill" the distance to the hidden states before the change, as a share.
        `regained` is the share of the lost loss that training made good: above 1 where the trained
        model is better than the one it began with, None where the change lost less than `LEAST`,
        as LSH does on texts of one chunk, where it is exact. Training
        on new texts would have helped the old attention as well: how much, only a second run
        without the change tells.
        """
        lost = swapped - before
        regained = (swapped - after) / lost if lost > LEAST else None
        kind = self.config.attention.label
        told = "" if regained is None else f", {regained:.0%} of what was lost"
        measure = {"mlm": "loss", "distill": "distance of the hidden states"}[objective]
        say(
            f"validation {measure}: {before:.4f} with {kind}, {swapped:.4f} with {self.after} "
            f"before any training, {after:.4f} after it{told}"
        )
        return {
            "from": kind,
            "to": self.after,
            "objective": objective,
            "loss_before": before,
            "loss_changed": swapped,
            "loss_trained": after,
            "regained": regained,
        }


def attention_change(config: Config, before: Config, params: Params) -> AttentionChange | None:
    """None where the attention, its options among it, is that of the stage before.

    Args:
      config: of this stage.
      before: of the one before.
      params: the parameters it left, with the vocabulary and the positions of this stage.
    """
    own, kept, layers = config.attention, before.attention, config.model.num_layers
    if own.of_layers(layers) == kept.of_layers(layers):
        return None
    # Whatever else this stage changes is changed here too; weights are not dropped in evaluation.
    model = dataclasses.replace(config.model, attention_dropout=0.0)
    return AttentionChange(
        dataclasses.replace(config, model=model, attention=kept), params, own.label
    )
