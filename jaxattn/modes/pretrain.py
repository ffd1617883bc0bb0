"""--mode=pretrain: train a vocabulary and an encoder on text alone (masked language model)."""

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp

from jaxattn.config import Config
from jaxattn.data.batching import BatchPlan, mlm_batch
from jaxattn.data.corpora import load_texts
from jaxattn.data.wordpiece import (
    encode_pieces,
    load_tokenizer,
    save_tokenizer,
    special_ids,
    train_wordpiece,
    unknown_warning,
)
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import MlmEvaluator
from jaxattn.model.heads import MlmModel
from jaxattn.modes import environment
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder, write_json
from jaxattn.modes.training import buckets, say, texts_hash, train
from jaxattn.train.loop import NumpyBatch
from jaxattn.train.sharding import BatchPlacement, check_batches, make_mesh
from jaxattn.train.state import evaluation_attention_key, init_key
from jaxattn.train.steps import mlm_loss

SCRATCH = "none"
"""--pretrain=none: the encoder starts from random weights."""


def run(request: Request) -> None:
    """Pretrains into runs/pretrain/<exp>/."""
    exp = request.needed("exp", "wiki_lsh")
    folder = RunFolder(request.runs, "pretrain", exp)
    folder.must_be_free(request.resume)
    if exp == SCRATCH:
        raise InputError(
            f"--exp={SCRATCH}: this name means 'not pretrained' in --pretrain={SCRATCH}"
        )
    if folder.begun:
        given = request.resolved() if request.config is not None else None
        config = folder.continued_config(given)
        if folder.state == "finished":
            say(f"{folder.path} is finished already")
            return
    else:
        config = request.resolved()
    pretrain(folder, config)


def make_tokenizer(folder: RunFolder, config: Config, texts: list[str]) -> Any:
    """The run's tokenizer: the saved one, that of `tokenizer.path`, or one trained on `texts`."""
    saved = folder.path / "tokenizer.json"
    if saved.exists():
        return load_tokenizer(saved, config.tokenizer.lowercase)
    if config.tokenizer.path:
        return load_tokenizer(config.tokenizer.path, config.tokenizer.lowercase)
    say(f"training a WordPiece vocabulary on {len(texts):,} texts")
    return train_wordpiece(texts, config.tokenizer)


def pretrain(folder: RunFolder, config: Config, stop_after: int | None = None) -> None:
    """Pretrains in `folder`, or goes on where it stopped; `stop_after`: see `train`."""
    corpus = load_texts(config.data)
    tokenizer = make_tokenizer(folder, config, corpus.train)
    special, vocab_size = special_ids(tokenizer), tokenizer.get_vocab_size()
    say(f"tokenising {len(corpus.train) + len(corpus.validation):,} texts")
    tokens, stats = encode_pieces(tokenizer, corpus.train, config.data.max_length)
    validation, _ = encode_pieces(tokenizer, corpus.validation, config.data.max_length)
    if warning := unknown_warning(stats):
        warnings.warn(warning, stacklevel=1)
    plan = BatchPlan(
        tokens.lengths,
        buckets=buckets(config),
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        shuffle=True,
    )
    say(f"{len(tokens):,} pieces of text, {stats.tokens:,} tokens, vocabulary of {vocab_size:,}")

    def batch(step: int) -> NumpyBatch:
        length, indices = plan.batch_indices(step)
        return mlm_batch(
            tokens,
            indices,
            length,
            seed=config.train.seed,
            epoch=step // plan.steps_per_epoch,
            rate=config.data.mask_rate,
            vocab_size=vocab_size,
            special=special,
        )

    model = MlmModel(config, vocab_size)
    mesh = make_mesh(config.train)
    check_batches(config.train, mesh)
    evaluator = MlmEvaluator(
        model,
        evaluation_attention_key(config.train.seed),
        validation,
        buckets=buckets(config),
        batch_size=config.train.eval_batch_size or config.train.batch_size,
        mask_rate=config.data.mask_rate,
        vocab_size=vocab_size,
        special=special,
        place=BatchPlacement(mesh),
    )
    params = init_mlm(model, config.train.seed)
    digest = texts_hash(corpus.train, corpus.validation)
    folder.begin(config, {}, environment.describe(config))
    with folder.running():
        save_tokenizer(tokenizer, folder.path / "tokenizer.json")
        outcome = train(
            folder,
            config,
            stage=f"pretrain {folder.exp}",
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
        write_json(
            folder.path / "results.json",
            {
                "kind": "pretrain",
                "exp": folder.exp,
                "attention": config.attention.type,
                "data": config.data.name,
                "data_hash": digest,
                "seed": config.train.seed,
                "parameters": outcome.parameters,
                "best_step": outcome.best_step,
                "validation": evaluator.metrics(outcome.params),
                "cost": outcome.cost,
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
