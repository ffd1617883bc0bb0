"""Training with masked language modelling: pretraining, and TAPT on a task's texts."""

import dataclasses
from pathlib import Path

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.data.batches.packing import PackedPlan
from jaxattn.data.corpora.splits import TextCorpus, load_task_texts, load_texts, texts_hash
from jaxattn.data.tokens.extend import refuse_extension
from jaxattn.evaluate.predict import MlmEvaluator, trained_by
from jaxattn.model.heads import MlmModel, init_mlm
from jaxattn.ops.trees import Params
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH
from jaxattn.runs.results import Metrics, Results
from jaxattn.stages.batches import encoded_pieces, make_masking, mlm_batches, mlm_plan
from jaxattn.stages.change import AttentionChange, attention_change
from jaxattn.stages.distill import distill, to_distill
from jaxattn.stages.origin import FROM_SCRATCH, POOLER, Origin, begin_with, source_of
from jaxattn.stages.parameters import carried_over, grown, tiled
from jaxattn.stages.room import require_room
from jaxattn.stages.task import Outcome, Task
from jaxattn.stages.training import run_stage
from jaxattn.stages.vocabulary import StageVocabulary, stage_vocabulary
from jaxattn.train.sharding import BatchPlacement, check_batches, make_mesh
from jaxattn.train.steps import mlm_loss


@dataclasses.dataclass(frozen=True)
class MlmStart:
    """What an MLM begins with that does not begin with random weights.

    Attributes:
      origin: the checkpoint.
      params: its parameters, with the vocabulary and the positions of this stage.
      change: what the model was before its attention was exchanged; None: it was not.
    """

    origin: Origin
    params: Params
    change: AttentionChange | None


def pretrain(folder: RunFolder, config: Config, stop_after: int | None = None) -> None:
    """Pretrains in `folder`, or goes on where it stopped; `stop_after`: see `train`."""
    # Said before the texts are read, which may take minutes.
    require_room(folder, config)
    refuse_extension(config.tokenizer)
    corpus = load_texts(config.data)
    vocabulary = stage_vocabulary(folder, config, folder.runs, SCRATCH, corpus.train)
    train_mlm(folder, config, corpus, vocabulary, stop_after=stop_after)


def tapt(
    folder: RunFolder, config: Config, runs: Path, pretrain: str, stop_after: int | None = None
) -> None:
    """Trains in `folder` from `pretrain` (name@step), or goes on where it stopped.

    `stop_after`: see `train`.
    """
    require_room(folder, config)
    corpus = load_task_texts(config.data)
    vocabulary = stage_vocabulary(folder, config, runs, pretrain, corpus.train)
    saved, origin = begin_with(folder, runs, pretrain)
    # That of an imported BERT: the MLM has none, fine-tuning finds it where it was imported.
    saved = {name: value for name, value in saved.items() if name != POOLER}
    first = tiled(grown(saved, vocabulary.origins), config.model.max_seq_len)
    change = attention_change(config, source_of(runs, pretrain)[0].saved.config()[0], first)
    if exchanged := to_distill(config, change, runs, pretrain):
        distill(folder, config, corpus, vocabulary, origin, first, exchanged, stop_after)
        return
    start = MlmStart(origin, first, change)
    train_mlm(folder, config, corpus, vocabulary, start, stop_after=stop_after)


def train_mlm(
    folder: RunFolder,
    config: Config,
    corpus: TextCorpus,
    vocabulary: StageVocabulary,
    start: MlmStart | None = None,
    stop_after: int | None = None,
) -> None:
    """Trains the MLM on `corpus`, from random weights or from `start`."""
    mesh = make_mesh(config.train)
    check_batches(config.train, mesh)
    tokenizer = vocabulary.tokenizer
    vocab_size = tokenizer.get_vocab_size()
    require_room(folder, config, vocab_size)
    tokens, validation, stats = encoded_pieces(
        config, tokenizer, corpus, inherited=start is not None
    )
    say(f"{len(tokens):,} pieces of text, {stats.tokens:,} tokens, vocabulary of {vocab_size:,}")
    masking = make_masking(config, tokenizer)
    plan = mlm_plan(config, tokens.lengths)
    if isinstance(plan, PackedPlan):
        say(f"packed into {plan.rows:,} rows, {plan.useful_share:.1%} of their places useful")

    def evaluator_of(model: MlmModel) -> MlmEvaluator:
        return MlmEvaluator(
            model,
            validation,
            buckets=config.data.buckets,
            batch_size=config.train.eval_batch_size or config.train.batch_size,
            masking=masking,
            place=BatchPlacement(mesh),
        )

    model = MlmModel(config, vocab_size)
    evaluator, params = evaluator_of(model), init_mlm(model, config.train.seed)
    at_start: Metrics | None = None
    before_change: Metrics | None = None
    if start is not None:
        params = carried_over(params, start.params, start.origin.pretrain)
        at_start = evaluator.metrics(trained_by(config, params, 0))
        say(f"validation loss of the checkpoint: {at_start['loss']:.4f}")
        if change := start.change:
            before = evaluator_of(MlmModel(change.config, vocab_size))
            before_change = before.metrics(trained_by(change.config, change.params, 0))
    task = Task(
        loss=mlm_loss(model),
        params=params,
        plan=plan,
        batch=mlm_batches(config, tokens, plan, masking),
        evaluator=evaluator,
        tokenizer=tokenizer,
        data_hash=texts_hash(corpus.train, corpus.validation),
        data_size={"training": len(corpus.train), "validation": len(corpus.validation)},
        origin=start.origin if start else FROM_SCRATCH,
        saved=start.origin.saved if start else {},
    )

    def finish(outcome: Outcome, results: Results) -> Results:
        at_end = evaluator.metrics(outcome.trained)
        changed = None
        if start and start.change and before_change and at_start:
            losses = (float(m["loss"] or 0.0) for m in (before_change, at_start, at_end))
            changed = start.change.report("mlm", *losses)
        return dataclasses.replace(
            results,
            vocabulary=vocabulary.report,
            validation_at_start=at_start,
            validation_before_change=before_change,
            validation=at_end,
            attention_change=changed,
            tokenizer=dataclasses.asdict(stats) | {"vocabulary": vocab_size},
        )

    run_stage(folder, config, task, mesh, finish, stop_after)
    say(f"finished: {folder.path}")
