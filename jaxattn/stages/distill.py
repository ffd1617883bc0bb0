"""Adapting an encoder to another attention: its hidden states become what they were before.

Each block is to give, on the task's texts, what it gave with the attention that was exchanged
(layer-wise distillation, as in Jiao et al. 2020, "TinyBERT", with the encoder as its own teacher).
No MLM head is needed, which many published encoders lack.
"""

import dataclasses
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.data.batches.order import classification_batch
from jaxattn.data.corpora.splits import TextCorpus, texts_hash
from jaxattn.data.tokens.arrays import TokenRows, special_ids
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import BatchSums, Placement, Trained, trained_by
from jaxattn.model.heads import Batch, MlmModel, Rngs, init_mlm
from jaxattn.model.hidden import hidden_states, relative_distance
from jaxattn.ops.trees import Params, count_parameters
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.results import Metrics, Results
from jaxattn.stages.batches import bucket_plan, encoded_pieces, whole_text_batches
from jaxattn.stages.change import AttentionChange
from jaxattn.stages.origin import Origin, has_trained_head
from jaxattn.stages.parameters import Base, carried_over
from jaxattn.stages.task import Outcome, Task
from jaxattn.stages.training import run_stage
from jaxattn.stages.vocabulary import StageVocabulary
from jaxattn.train.feed import NumpyBatch
from jaxattn.train.sharding import BatchPlacement, check_batches, make_mesh, whole
from jaxattn.train.steps import LossFn, Sums

TEACHER = "teacher"
"""Name of the parameters before the exchange among those that are not trained."""


def to_distill(
    config: Config, change: AttentionChange | None, runs: Path, pretrain: str
) -> AttentionChange | None:
    """`change` where the hidden states before it are to be kept; None where the MLM goes on.

    Args:
      config: of a TAPT run; what `tapt.objective` = auto means is settled here.
      change: that of the attention; None: it is that of the stage before.
      runs: the folder of all runs.
      pretrain: what it begins with, name@step.

    Raises:
      InputError: they are to be kept and nothing was exchanged, or several texts share a row.
    """
    wanted = config.tapt.objective
    if wanted == "distill" and change is None:
        raise InputError(
            "tapt.objective: found 'distill', allowed where the attention is exchanged "
            f"(attention.type is that of {pretrain}, and so are its options); leave it out"
        )
    if wanted == "mlm" or (wanted == "auto" and (not change or has_trained_head(runs, pretrain))):
        return None
    if config.data.packing:
        raise InputError(
            "data.packing: found True, allowed where an exchanged attention is distilled "
            "(tapt.objective): False"
        )
    return change


def distillation_loss(student: MlmModel, teacher: MlmModel) -> LossFn:
    """Sums over the real tokens of a batch `ids, mask, weights` of `relative_distance`.

    The parameters are the student's, and the teacher's under `TEACHER`.
    """

    def loss(params: Params, batch: Batch, rngs: Rngs, deterministic: bool) -> Sums:
        before = jax.lax.stop_gradient(params[TEACHER])
        streams = {name: key for name, key in rngs.items() if name == "attention"}
        wanted = hidden_states(teacher, before, batch, streams)
        own = {name: value for name, value in params.items() if name != TEACHER}
        found = hidden_states(student, own, batch, rngs)
        # Tokens are counted here, not texts.
        mask_BN = batch["mask"]
        distance_BN = relative_distance(found, wanted, mask_BN)
        return {"loss": distance_BN.sum(), "count": mask_BN.sum().astype(jnp.float32)}

    return loss


class DistanceEvaluator:
    """The mean of `relative_distance` over the tokens of the validation split, as `loss`."""

    def __init__(
        self, loss: LossFn, teacher: Params, tokens: TokenRows, config: Config, pad_id: int,
        place: Placement,
    ) -> None:  # fmt: skip
        """`teacher`: the parameters before the exchange; `tokens`: the validation texts."""

        def sums(trained: Trained, batch: Batch) -> Sums:
            return loss(trained.params, batch, trained.rngs, True)

        def batch(length: int, indices: np.ndarray) -> NumpyBatch:
            return classification_batch(tokens, None, indices, length, pad_id)

        self._teacher = teacher
        self._sums = BatchSums(
            sums, tokens, batch, place=place, buckets=config.data.buckets,
            batch_size=config.train.eval_batch_size or config.train.batch_size,
        )  # fmt: skip

    def metrics(self, trained: Trained) -> Metrics:
        """`loss`, a share: 0 where nothing has changed."""
        total = self._sums.totals(self._with_teacher(trained))
        return {"loss": total["loss"] / max(total["count"], 1.0)}

    def compile(self, trained: Trained) -> None:
        """Compiles what `metrics` will need."""
        self._sums.compile(self._with_teacher(trained))

    def _with_teacher(self, trained: Trained) -> Trained:
        return trained._replace(params={**trained.params, TEACHER: self._teacher})


def distill(
    folder: RunFolder,
    config: Config,
    corpus: TextCorpus,
    vocabulary: StageVocabulary,
    origin: Origin,
    params: Params,
    change: AttentionChange,
    stop_after: int | None = None,
) -> None:
    """Trains in `folder` the encoder of `params`, with its new attention.

    Args:
      folder: of the TAPT run.
      config: of this stage.
      corpus: its texts; long ones are read in pieces.
      vocabulary: of this stage.
      origin: where the parameters are from.
      params: that it left: the encoder is trained, the MLM's head stays.
      change: the model before the exchange.
      stop_after: see `train`.
    """
    mesh = make_mesh(config.train)
    check_batches(config.train, mesh)
    tokenizer = vocabulary.tokenizer
    vocab_size, pad = tokenizer.get_vocab_size(), special_ids(tokenizer).pad
    tokens, validation, stats = encoded_pieces(config, tokenizer, corpus, inherited=True)
    say(
        f"{len(tokens):,} pieces of text, {stats.tokens:,} tokens: the hidden states of "
        f"{change.after} become those of {change.config.attention.label}"
    )
    plan = bucket_plan(config, tokens.lengths)
    model = MlmModel(config, vocab_size)
    # LSH may have no projections of keys of its own: what is not needed is left, what is new made.
    params = carried_over(init_mlm(model, config.train.seed), params, origin.pretrain)
    teacher = {TEACHER: change.params}
    loss = distillation_loss(model, MlmModel(change.config, vocab_size))
    evaluator = DistanceEvaluator(
        # On the devices once, not with every batch.
        loss, whole(mesh, change.params), validation, config, pad, BatchPlacement(mesh)
    )  # fmt: skip
    at_start = evaluator.metrics(trained_by(config, whole(mesh, params), 0))
    task = Task(
        loss=loss,
        params=params,
        plan=plan,
        batch=whole_text_batches(tokens, None, plan, pad),
        evaluator=evaluator,
        tokenizer=tokenizer,
        data_hash=texts_hash(corpus.train, corpus.validation),
        data_size={"training": len(corpus.train), "validation": len(corpus.validation)},
        origin=origin,
        base=Base(origin.pretrain, teacher, lambda trained, _: trained),
        saved=origin.saved,
    )

    def finish(outcome: Outcome, results: Results) -> Results:
        at_end = evaluator.metrics(outcome.trained)
        if float(at_end["loss"] or 0.0) > float(at_start["loss"] or 0.0):
            warnings.warn(
                f"{folder.path}: adapting made the hidden states worse, not better: more steps, a "
                "lower train.learning_rate, or none at all (study.adapt_steps=0)",
                stacklevel=1,
            )
        return dataclasses.replace(
            results,
            parameters=count_parameters(params),
            vocabulary=vocabulary.report,
            validation_at_start=at_start,
            validation=at_end,
            attention_change=change.report(
                "distill", 0.0, float(at_start["loss"] or 0.0), float(at_end["loss"] or 0.0)
            ),
            tokenizer=dataclasses.asdict(stats) | {"vocabulary": vocab_size},
        )

    run_stage(folder, config, task, mesh, finish, stop_after)
    say(f"finished: {folder.path}")
