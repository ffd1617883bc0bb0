"""--mode=pretrain: train a vocabulary and an encoder on text alone (masked language model)."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxattn.config import Config
from jaxattn.data.corpora import TextCorpus, load_texts
from jaxattn.data.extend_vocabulary import refuse_extension
from jaxattn.data.packing import PackedPlan
from jaxattn.data.vocabularies import new_tokenizer
from jaxattn.data.wordpiece import (
    encode_pieces,
    load_tokenizer,
    save_tokenizer,
    unknown_warning,
)
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import MlmEvaluator
from jaxattn.model.heads import MlmModel
from jaxattn.modes import environment
from jaxattn.modes.attention_change import AttentionChange
from jaxattn.modes.mlm_batches import make_masking, mlm_batches
from jaxattn.modes.precision import settled
from jaxattn.modes.publish import write_results
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder
from jaxattn.modes.stage_record import stage_record
from jaxattn.modes.training import (
    buckets,
    cache_folder,
    mlm_plan,
    say,
    texts_hash,
    train,
    trained_by,
)
from jaxattn.ops.trees import tree_hash
from jaxattn.train.sharding import BatchPlacement, check_batches, make_mesh
from jaxattn.train.state import init_key
from jaxattn.train.steps import mlm_loss

SCRATCH = "none"
"""--pretrain=none: the encoder starts from random weights."""


def run(request: Request) -> None:
    """Pretrains into runs/pretrain/<exp>/, by --config or by what --mode=new has put there."""
    folder = run_folder_of(request)
    folder.must_be_free(request.resume)
    if folder.drafted:
        if request.config is not None:
            raise InputError(
                f"--config: {folder.config_path} has the options of this run; leave --config out, "
                "or choose another --exp"
            )
        config = settled(folder.saved_config()[0])
    elif folder.begun:
        given = request.resolved() if request.config is not None else None
        config = folder.continued_config(given)
        if folder.state == "finished":
            say(f"{folder.path} is finished already")
            return
    else:
        config = settled(request.resolved())
    pretrain(folder, config)


def run_folder_of(request: Request) -> RunFolder:
    """The folder of the pretraining that --exp names; InputError for a name it cannot have."""
    exp = request.needed("exp", "wiki_lsh")
    if exp == SCRATCH:
        raise InputError(
            f"--exp={SCRATCH}: this name means 'not pretrained' in --pretrain={SCRATCH}"
        )
    return RunFolder(request.runs, "pretrain", exp)


def make_tokenizer(folder: RunFolder, config: Config, texts: Sequence[str]) -> Any:
    """The run's tokenizer: the saved one, that of `tokenizer.path`, or one made from `texts`."""
    saved = folder.path / "tokenizer.json"
    if saved.exists():
        return load_tokenizer(saved, config.tokenizer.lowercase)
    if config.tokenizer.path:
        return load_tokenizer(config.tokenizer.path, config.tokenizer.lowercase)
    if config.tokenizer.kind != "bytes":
        say(f"making a vocabulary ({config.tokenizer.kind}) from {len(texts):,} texts")
    return new_tokenizer(texts, config.tokenizer)


@dataclasses.dataclass(frozen=True)
class MlmStart:
    """What an MLM begins with that does not begin with random weights.

    Attributes:
      params: random parameters -> the first ones of this training.
      extra: entries of the saved configuration.
      results: entries of results.json.
      stages: the stages before this one.
      change: what the model was before its attention was exchanged; None: it was not.
    """

    params: Callable[[Any], Any]
    extra: dict[str, Any]
    results: dict[str, Any]
    stages: list[dict[str, Any]]
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
            buckets=buckets(config),
            batch_size=config.train.eval_batch_size or config.train.batch_size,
            masking=masking,
            place=BatchPlacement(mesh),
        )

    evaluator = evaluator_of(model)
    params = init_mlm(model, config.train.seed)
    at_start = {}
    if start is not None:
        params = start.params(params)
        at_start = {"validation_at_start": evaluator.metrics(trained_by(config, params, 0))}
        say(f"validation loss of the checkpoint: {at_start['validation_at_start']['loss']:.4f}")
    change = start.change if start is not None else None
    if change is not None:
        before = evaluator_of(MlmModel(change.config, vocab_size))
        at_start["validation_before_change"] = before.metrics(
            trained_by(change.config, change.params, 0)
        )
    digest = texts_hash(corpus.train, corpus.validation)
    folder.begin(config, start.extra if start else {}, environment.describe(config))
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
        changed = {}
        if change is not None:
            changed = {"attention_change": change.report(**at_start, validation=at_end)}
        write_results(
            folder,
            config,
            {
                "kind": folder.kind,
                "exp": folder.exp,
                "attention": config.attention.type,
                "data": config.data.name,
                "data_hash": digest,
                "seed": config.train.seed,
                "parameters": outcome.parameters,
                "best_step": outcome.best_step,
                "best_hash": tree_hash(outcome.trained.params),
                **(start.results if start else {}),
                **at_start,
                "validation": at_end,
                **changed,
                "cost": outcome.cost,
                "stages": [
                    *(start.stages if start else ()),
                    stage_record(folder, config, outcome.best_step, outcome.cost),
                ],
                "compiled_programs": outcome.programs,
                "tokenizer": dataclasses.asdict(stats) | {"vocabulary": vocab_size},
                "device": environment.device_name(),
            },
        )
    say(f"finished: {folder.path}")


def init_mlm(model: MlmModel, seed: int) -> Any:
    """Parameters at step 0."""
    keys = {"params": init_key(seed), "attention": init_key(seed)}
    ids, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
    positions = jnp.zeros((1, 1), jnp.int32)

    def init() -> Any:
        return model.init(keys, ids, mask, positions, deterministic=True)["params"]

    return jax.jit(init)()
