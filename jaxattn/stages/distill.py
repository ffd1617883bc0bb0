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
from jaxattn.data.batches.order import batches_in_order, classification_batch
from jaxattn.data.corpora.splits import TextCorpus, texts_hash
from jaxattn.data.tokens.arrays import TokenRows, special_ids
from jaxattn.data.tokens.encode import encode_pieces
from jaxattn.data.tokens.tokenise import cache_folder
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import Placement, Trained, first_of_each, trained_by
from jaxattn.model.heads import Batch, MlmModel, Rngs, init_mlm
from jaxattn.model.hidden import hidden_states, relative_distance
from jaxattn.ops.programs import Programs
from jaxattn.ops.trees import Params, count_parameters
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.results import Metrics, Results
from jaxattn.stages.batches import bucket_plan
from jaxattn.stages.change import AttentionChange
from jaxattn.stages.origin import Origin, source_of
from jaxattn.stages.parameters import Base, carried_over
from jaxattn.stages.task import Outcome, Task
from jaxattn.stages.training import run_stage
from jaxattn.stages.vocabulary import StageVocabulary
from jaxattn.train.feed import NumpyBatch
from jaxattn.train.sharding import BatchPlacement, check_batches, make_mesh, whole
from jaxattn.train.steps import LossFn, Sums

TEACHER = "teacher"
"""Name of the parameters before the exchange among those that are not trained."""


def objective(config: Config, change: AttentionChange | None, runs: Path, pretrain: str) -> str:
    """What `tapt.objective` means for a run that begins with `pretrain` (name@step).

    Raises:
      InputError: hidden states are to be kept, and nothing was exchanged.
    """
    wanted = config.tapt.objective
    if wanted == "auto":
        return "distill" if change and not has_trained_head(runs, pretrain) else "mlm"
    if wanted == "distill" and change is None:
        raise InputError(
            "tapt.objective: found 'distill', allowed where the attention is exchanged "
            f"(attention.type is that of {pretrain}, and so are its options); leave it out"
        )
    return wanted


def has_trained_head(runs: Path, pretrain: str) -> bool:
    """Whether any stage to `pretrain` has trained an MLM head."""
    source, _ = source_of(runs, pretrain)
    if not source.results_path.exists():
        return True
    results = source.results()
    if source.kind == "tapt":
        distilled = (results.attention_change or {}).get("objective") == "distill"
        return not distilled or has_trained_head(runs, source.pretrained_from())
    return not (results.imported or {}).get("new")


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
        self, loss: LossFn, teacher: Params, tokens: TokenRows, config: Config, pad: int,
        place: Placement,
    ) -> None:  # fmt: skip
        """`teacher`: the parameters before the exchange; `tokens`: the validation texts."""

        def sums(trained: Trained, batch: dict[str, jax.Array]) -> Sums:
            return loss(trained.params, batch, trained.rngs, True)

        self.programs = Programs(sums, donate=False, place=place)
        self._teacher, self._tokens, self._pad = teacher, tokens, pad
        size = config.train.eval_batch_size or config.train.batch_size
        self._batches = batches_in_order(
            tokens.lengths, buckets=config.data.buckets, batch_size=size
        )

    def metrics(self, trained: Trained) -> Metrics:
        """`loss`, a share: 0 where nothing has changed."""
        whole = self._with_teacher(trained)
        results = [self.programs(whole, self._batch(*each)) for each in self._batches]
        fetched = jax.device_get(results)
        total = sum(float(sums["loss"]) for sums in fetched)
        return {"loss": total / max(sum(float(sums["count"]) for sums in fetched), 1.0)}

    def compile(self, trained: Trained) -> None:
        """Compiles what `metrics` will need."""
        for each in first_of_each(self._batches):
            self.programs.prepare(self._with_teacher(trained), self._batch(*each))

    def _with_teacher(self, trained: Trained) -> Trained:
        return trained._replace(params={**trained.params, TEACHER: self._teacher})

    def _batch(self, length: int, indices: np.ndarray) -> NumpyBatch:
        return classification_batch(self._tokens, None, indices, length, self._pad)


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
    cache = cache_folder(config)
    tokens, stats = encode_pieces(tokenizer, corpus.train, config.data.max_length, cache=cache)
    validation, _ = encode_pieces(tokenizer, corpus.validation, config.data.max_length, cache=cache)
    say(
        f"{len(tokens):,} pieces of text, {stats.tokens:,} tokens: the hidden states of "
        f"{change.after} become those of {change.config.attention.type}"
    )
    plan = bucket_plan(config, tokens.lengths)

    def batch(step: int) -> NumpyBatch:
        length, indices = plan.batch_indices(step)
        return classification_batch(tokens, None, indices, length, pad)

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
        batch=batch,
        evaluator=evaluator,
        tokenizer=tokenizer,
        data_hash=texts_hash(corpus.train, corpus.validation),
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
