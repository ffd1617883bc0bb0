"""Training with masked language modelling: pretraining, and TAPT on a task's texts."""

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.data.batches.packing import PackedPlan
from jaxattn.data.corpora.splits import TextCorpus, load_task_texts, load_texts, texts_hash
from jaxattn.data.tokens.encode import encode_pieces, unknown_warning
from jaxattn.data.tokens.extend import refuse_extension
from jaxattn.data.tokens.tokenise import cache_folder
from jaxattn.data.tokens.wordpiece import save_tokenizer
from jaxattn.evaluate.predict import MlmEvaluator, trained_by
from jaxattn.model.heads import MlmModel, init_mlm
from jaxattn.ops.trees import tree_hash
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.publish import write_results
from jaxattn.runs.results import Facts, Metrics, Results, Stage
from jaxattn.stages import machine
from jaxattn.stages.batches import make_masking, mlm_batches, mlm_plan
from jaxattn.stages.origin import POOLER, source_of, stages_before, unchanged_params
from jaxattn.stages.parameters import carried_over, grown, tiled
from jaxattn.stages.training import train
from jaxattn.stages.vocabulary import make_tokenizer, stage_vocabulary
from jaxattn.train.sharding import BatchPlacement, check_batches, make_mesh
from jaxattn.train.steps import mlm_loss


@dataclasses.dataclass(frozen=True)
class AttentionChange:
    """The model before the change: its configuration and parameters, to be evaluated once.

    `after` is the attention it has now.
    """

    config: Config
    params: Any
    after: str

    def report(
        self, before_change: Metrics, at_start: Metrics, trained: Metrics
    ) -> dict[str, float | str | None]:
        """For results.json, in nats per masked token; says it too.

        `regained` is the share of the lost loss that training made good: above 1 where the trained
        model is better than the one it began with, None where the change lost nothing. Training
        on new texts would have helped the old attention as well: how much, only a second run
        without the change tells.
        """
        losses = (before_change, at_start, trained)
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


@dataclasses.dataclass(frozen=True)
class MlmStart:
    """What an MLM begins with that does not begin with random weights.

    Attributes:
      params: random parameters -> the first ones of this training.
      pretrain, pretrain_hash: the checkpoint, name@step, and the hash of its parameters.
      vocabulary: what extending it has changed; None: it was not.
      stages: the stages before this one.
      change: what the model was before its attention was exchanged; None: it was not.
    """

    params: Callable[[Any], Any]
    pretrain: str
    pretrain_hash: str
    vocabulary: Facts | None
    stages: list[Stage]
    change: AttentionChange | None = None


def pretrain(folder: RunFolder, config: Config, stop_after: int | None = None) -> None:
    """Pretrains in `folder`, or goes on where it stopped; `stop_after`: see `train`."""
    refuse_extension(config.tokenizer)
    corpus = load_texts(config.data)
    tokenizer = make_tokenizer(folder, config, corpus.train)
    train_mlm(folder, config, corpus, tokenizer, stop_after=stop_after)


def train_mlm(
    folder: RunFolder,
    config: Config,
    corpus: TextCorpus,
    tokenizer: Any,
    start: MlmStart | None = None,
    stop_after: int | None = None,
) -> None:
    """Trains the MLM on `corpus`, from random weights or from `start`."""
    mesh = make_mesh(config.train)
    check_batches(config.train, mesh)
    vocab_size = tokenizer.get_vocab_size()
    say(f"tokenising {len(corpus.train) + len(corpus.validation):,} texts")
    cache = cache_folder(config)
    tokens, stats = encode_pieces(tokenizer, corpus.train, config.data.max_length, cache=cache)
    validation, _ = encode_pieces(tokenizer, corpus.validation, config.data.max_length, cache=cache)
    if warning := unknown_warning(stats):
        warnings.warn(warning, stacklevel=1)
    say(f"{len(tokens):,} pieces of text, {stats.tokens:,} tokens, vocabulary of {vocab_size:,}")
    masking = make_masking(config, tokenizer)
    plan = mlm_plan(config, tokens.lengths)
    if isinstance(plan, PackedPlan):
        say(f"packed into {plan.rows:,} rows, {plan.useful_share:.1%} of their places useful")
    batch = mlm_batches(config, tokens, plan, masking)

    model = MlmModel(config, vocab_size)

    def evaluator_of(model: MlmModel) -> MlmEvaluator:
        return MlmEvaluator(
            model,
            validation,
            buckets=config.data.buckets,
            batch_size=config.train.eval_batch_size or config.train.batch_size,
            masking=masking,
            place=BatchPlacement(mesh),
        )

    evaluator = evaluator_of(model)
    params = init_mlm(model, config.train.seed)
    at_start: Metrics | None = None
    before_change: Metrics | None = None
    extra = {}
    if start is not None:
        params = start.params(params)
        at_start = evaluator.metrics(trained_by(config, params, 0))
        say(f"validation loss of the checkpoint: {at_start['loss']:.4f}")
        extra = {"pretrain": start.pretrain, "pretrain_hash": start.pretrain_hash}
    change = start.change if start is not None else None
    if change is not None:
        before = evaluator_of(MlmModel(change.config, vocab_size))
        before_change = before.metrics(trained_by(change.config, change.params, 0))
    digest = texts_hash(corpus.train, corpus.validation)
    folder.begin(config, extra, machine.describe(config))
    with folder.running():
        save_tokenizer(tokenizer, folder.path / "tokenizer.json")
        outcome = train(
            folder,
            config,
            stage=f"{folder.kind} {folder.exp}",
            loss_fn=mlm_loss(model),
            params=params,
            plan=plan,
            batch=batch,
            prepare=evaluator.compile,
            validate=evaluator.metrics,
            select="loss",
            higher_is_better=False,
            tokenizer_json=tokenizer.to_str(),
            data_hash=digest,
            mesh=mesh,
            stop_after=stop_after,
        )
        at_end = evaluator.metrics(outcome.trained)
        changed = None
        if change is not None and before_change is not None and at_start is not None:
            changed = change.report(before_change, at_start, at_end)
        write_results(
            folder,
            config,
            Results(
                kind=folder.kind,
                exp=folder.exp,
                attention=config.attention.type,
                data=config.data.name,
                data_hash=digest,
                seed=config.train.seed,
                parameters=outcome.parameters,
                best_step=outcome.best_step,
                best_hash=tree_hash(outcome.trained.params),
                pretrain=start.pretrain.partition("@")[0] if start else None,
                pretrain_hash=start.pretrain_hash if start else None,
                vocabulary=start.vocabulary if start else None,
                validation_at_start=at_start,
                validation_before_change=before_change,
                validation=at_end,
                attention_change=changed,
                cost=outcome.cost,
                stages=(
                    *(start.stages if start else ()),
                    Stage.of(folder.kind, folder.exp, config, outcome.best_step, outcome.cost),
                ),
                compiled_programs=outcome.programs,
                tokenizer=dataclasses.asdict(stats) | {"vocabulary": vocab_size},
                device=machine.device_name(),
            ),
        )
    say(f"finished: {folder.path}")


def tapt(
    folder: RunFolder, config: Config, runs: Path, pretrain: str, stop_after: int | None = None
) -> None:
    """Trains in `folder` from `pretrain` (name@step), or goes on where it stopped.

    `stop_after`: see `train`.
    """
    corpus = load_task_texts(config.data)
    vocabulary = stage_vocabulary(folder, config, runs, pretrain, corpus.train)
    found, digest = unchanged_params(folder, runs, pretrain)
    # That of an imported BERT: the MLM has none, fine-tuning finds it where it was imported.
    found = {name: value for name, value in found.items() if name != POOLER}
    first = tiled(grown(found, vocabulary.origins), config.model.max_seq_len)
    start = MlmStart(
        params=lambda fresh: carried_over(fresh, first, pretrain),
        change=attention_change(config, source_of(runs, pretrain)[0].saved_config()[0], first),
        pretrain=pretrain,
        pretrain_hash=digest,
        vocabulary=vocabulary.report,
        stages=stages_before(runs, pretrain),
    )
    train_mlm(folder, config, corpus, vocabulary.tokenizer, start, stop_after)


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
