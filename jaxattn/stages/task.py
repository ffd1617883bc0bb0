"""What a stage hands to the training, and what it gets back."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from jaxattn.config import Config, flatten, to_plain
from jaxattn.evaluate.predict import Trained
from jaxattn.ops.trees import Params
from jaxattn.runs.results import Cost, Metrics
from jaxattn.stages.agreement import LABELS
from jaxattn.stages.batches import Plan
from jaxattn.stages.origin import FROM_SCRATCH, Origin
from jaxattn.stages.parameters import Base
from jaxattn.train.feed import NumpyBatch
from jaxattn.train.steps import LossFn

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Evaluator(Protocol):
    """The validation split, on which the best checkpoint is chosen."""

    def compile(self, trained: Trained) -> None:
        """Compiles what `metrics` will need."""

    def metrics(self, trained: Trained) -> Metrics:
        """The metrics of a model."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What a stage trains, made ready by the stage and carried out by `train`.

    Attributes:
      loss: params, batch, rngs, deterministic -> sums.
      params: those that are trained, at step 0.
      plan: of the training examples.
      batch: step -> batch.
      evaluator: of the validation split.
      tokenizer: of the run, kept in every checkpoint.
      data_hash: kept too; a run is not continued on other data.
      data_size: texts of each split, to tell how other data differ.
      origin: the checkpoint it starts from.
      base: the parameters that are not trained; None: all are.
      saved: entries beside the saved options.
      environment: entries of environment.json.
    """

    loss: LossFn
    params: Params
    plan: Plan
    batch: Callable[[int], NumpyBatch]
    evaluator: Evaluator
    tokenizer: "Tokenizer"
    data_hash: str
    data_size: Mapping[str, int]
    origin: Origin = FROM_SCRATCH
    base: Base | None = None
    saved: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def frozen(self) -> Params | None:
        """The parameters that are not trained; None: all are."""
        return None if self.base is None else self.base.frozen

    def document(self, config: Config) -> dict[str, Any]:
        """What every checkpoint says of the run."""
        about = {
            "config": flatten(to_plain(config)),
            "tokenizer": self.tokenizer.to_str(),
            "data_hash": self.data_hash,
            "data_size": dict(self.data_size),
        }
        if LABELS in self.saved:
            about[LABELS] = self.saved[LABELS]
        if self.base is not None:
            about |= self.base.document()
        return about


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A finished training: what the best checkpoint holds, and what it took.

    `stopped_step` is the step after which it was stopped early, or None.
    """

    trained: Trained
    best_step: int
    stopped_step: int | None
    programs: int
    cost: Cost
