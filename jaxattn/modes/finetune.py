"""--mode=finetune: train a classifier from a pretrained encoder (or from nothing), then test it."""

import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxattn.config import Config
from jaxattn.data.batching import BatchPlan, classification_batch
from jaxattn.data.corpora import load_labelled
from jaxattn.data.wordpiece import (
    encode,
    load_tokenizer,
    save_tokenizer,
    special_ids,
    unknown_warning,
)
from jaxattn.errors import InputError
from jaxattn.evaluate.metrics import classification_metrics
from jaxattn.model.heads import ClassifierModel
from jaxattn.modes import environment
from jaxattn.modes.classifier import data_hash, make_predictor, report_on_test
from jaxattn.modes.pretrain import SCRATCH, make_tokenizer
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder, entry, read_json, write_json
from jaxattn.modes.training import buckets, say, train
from jaxattn.ops.trees import shapes_differ
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.loop import NonFiniteError, NumpyBatch
from jaxattn.train.sharding import BatchPlacement, check_batches, make_mesh
from jaxattn.train.state import init_key
from jaxattn.train.steps import classification_loss


def run(request: Request) -> None:
    """Fine-tunes into runs/finetune/<exp>/ and reports on the test split."""
    exp = request.needed("exp", "imdb_lsh")
    folder = RunFolder(request.runs, "finetune", exp)
    folder.must_be_free(request.resume)
    if folder.begun:
        pretrain = folder.pretrained_from()
        if request.pretrain not in ("", pretrain, pretrain.partition("@")[0]):
            raise InputError(f"--pretrain={request.pretrain}: {folder.path} is from {pretrain!r}")
        given = None
        if request.config is not None:
            given = request.resolved(pretrained_config(request.runs, pretrain))
        config = folder.continued_config(given)
        if folder.state == "finished":
            say(f"{folder.path} is finished already")
            return
    else:
        pretrain = request.needed("pretrain", "wiki_lsh (or none, to start from random weights)")
        config = request.resolved(pretrained_config(request.runs, pretrain))
        pretrain = pinned(request.runs, pretrain)
    finetune(folder, config, request.runs, pretrain)


def _source(runs: Path, pretrain: str) -> tuple[RunFolder, int | None]:
    """The pretraining run of `name` or `name@step`, and the step where one is named."""
    name, _, step = pretrain.partition("@")
    if step and not step.isdigit():
        raise InputError(f"--pretrain={pretrain}: found step {step!r}, expected <exp>@<number>")
    return RunFolder(runs, "pretrain", name), int(step) if step else None


def pretrained_config(runs: Path, pretrain: str) -> Config | None:
    """The configuration whose architecture is inherited; None when training from scratch."""
    if pretrain == SCRATCH:
        return None
    source, _ = _source(runs, pretrain)
    source.must_exist()
    return source.saved_config()[0]


def pinned(runs: Path, pretrain: str) -> str:
    """`name@step` for `name`, with the step of the best checkpoint; else what was given.

    The step is kept with the run: a pretraining that goes on may find a better one later.
    """
    if pretrain == SCRATCH:
        return pretrain
    source, step = _source(runs, pretrain)
    checkpoints = Checkpoints(source.path / "checkpoints", keep=1)
    if step is None:
        latest = checkpoints.latest()
        if latest is None:
            raise InputError(f"{source.path}: no finished checkpoint to start from")
        if source.state != "finished":
            warnings.warn(
                f"{source.path} is {source.state}; using its best checkpoint so far", stacklevel=1
            )
        step = checkpoints.document(latest)["tally"]["best_step"] or latest
    return f"{source.exp}@{step}"


def pretrained_params(runs: Path, pretrain: str) -> Any:
    """Parameters of `name@step`."""
    source, step = _source(runs, pretrain)
    checkpoints = Checkpoints(source.path / "checkpoints", keep=1)
    if step not in checkpoints.steps():
        there = ", ".join(map(str, checkpoints.steps())) or "none"
        raise InputError(f"{source.path}: no checkpoint of step {step}; there are: {there}")
    return checkpoints.load_params(step)


def inherited_tokenizer(folder: RunFolder, config: Config, runs: Path, pretrain: str) -> Any:
    """The tokenizer of the pretraining run; None for a run that has, or makes, one of its own."""
    if pretrain == SCRATCH or (folder.path / "tokenizer.json").exists():
        return None
    path = _source(runs, pretrain)[0].path / "tokenizer.json"
    return load_tokenizer(path, config.tokenizer.lowercase)


def finetune(
    folder: RunFolder, config: Config, runs: Path, pretrain: str, stop_after: int | None = None
) -> None:
    """Fine-tunes in `folder`, or goes on where it stopped; `stop_after`: see `train`."""
    corpus = load_labelled(config.data)
    tokenizer = inherited_tokenizer(folder, config, runs, pretrain)
    if tokenizer is None:
        tokenizer = make_tokenizer(folder, config, corpus.train.texts)
    special, vocab_size = special_ids(tokenizer), tokenizer.get_vocab_size()
    tokens, stats = encode(tokenizer, corpus.train.texts, config.data.max_length)
    validation, _ = encode(tokenizer, corpus.validation.texts, config.data.max_length)
    if warning := unknown_warning(stats):
        warnings.warn(warning, stacklevel=1)
    say(
        f"{len(tokens):,} training texts of {len(corpus.label_names)} classes, "
        f"{stats.truncated_share:.1%} cut at {config.data.max_length} tokens"
    )
    plan = BatchPlan(
        tokens.lengths,
        buckets=buckets(config),
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        shuffle=True,
    )

    def batch(step: int) -> NumpyBatch:
        length, indices = plan.batch_indices(step)
        return classification_batch(tokens, corpus.train.labels, indices, length, special.pad)

    model = ClassifierModel(config, vocab_size, len(corpus.label_names))
    params = init_classifier(model, config.train.seed)
    if pretrain != SCRATCH:
        params = with_encoder(params, pretrained_params(runs, pretrain), pretrain)
    mesh = make_mesh(config.train)
    check_batches(config.train, mesh)
    predictor = make_predictor(config, model, special.pad, BatchPlacement(mesh))

    def validate(state_params: Any) -> dict[str, float | None]:
        probabilities = predictor.probabilities(state_params, validation)
        if not np.isfinite(probabilities).all():
            raise NonFiniteError("the logits on the validation split are not finite")
        return dict(classification_metrics(probabilities, corpus.validation.labels))

    digest = data_hash(corpus)
    pretrain_cost = _pretrain_cost(runs, pretrain)
    extra = {"pretrain": pretrain, "label_names": list(corpus.label_names)}
    folder.begin(config, extra, environment.describe(config))
    with folder.running():
        save_tokenizer(tokenizer, folder.path / "tokenizer.json")
        outcome = train(
            folder,
            config,
            stage=f"finetune {folder.exp}",
            loss_fn=classification_loss(
                model,
                label_smoothing=config.finetune.label_smoothing,
                class_weights=class_weights(
                    config.finetune.class_weights, corpus.train.labels, len(corpus.label_names)
                ),
            ),
            params=params,
            plan=plan,
            batch=batch,
            prepare=lambda params: predictor.compile(params, validation),
            validate=validate,
            select="macro_f1",
            higher_is_better=True,
            tokenizer_json=tokenizer.to_str(),
            data_hash=digest,
            mesh=mesh,
            finetune=config.finetune,
            stop_after=stop_after,
        )
        tested = report_on_test(
            folder, config, predictor, outcome.params, tokenizer, corpus, "predictions_test.csv"
        )
        write_json(
            folder.path / "results.json",
            {
                "kind": "finetune",
                "exp": folder.exp,
                "attention": config.attention.type,
                "data": config.data.name,
                "data_hash": digest,
                "seed": config.train.seed,
                "pretrain": None if pretrain == SCRATCH else pretrain.partition("@")[0],
                "parameters": outcome.parameters,
                "best_step": outcome.best_step,
                "stopped_step": outcome.stopped_step,
                **tested,
                "cost": outcome.cost,
                "pretrain_cost": pretrain_cost,
                "compiled_programs": outcome.programs,
                "truncated_share": stats.truncated_share,
                "unknown_share": stats.unknown_share,
                "device": environment.device_name(),
            },
        )
    test = tested["test"]
    say(
        f"finished: {folder.path}: test accuracy {test['accuracy']:.4f}, "
        f"macro-F1 {test['macro_f1']:.4f}"
    )


def class_weights(how: str, labels: np.ndarray, num_classes: int) -> np.ndarray | None:
    """Weight of every class in the loss, float64 [num_classes]; None for equal weights.

    "balanced": n / (classes that occur * n of the class), so that every class weighs the same in
    total and the mean weight of an example is 1.
    """
    if how == "none":
        return None
    counts = np.bincount(labels, minlength=num_classes)
    return len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))


def _pretrain_cost(runs: Path, pretrain: str) -> dict[str, Any] | None:
    if pretrain == SCRATCH:
        return None
    path = _source(runs, pretrain)[0].path / "results.json"
    return entry(read_json(path), "cost", dict, path) if path.exists() else None


def init_classifier(model: ClassifierModel, seed: int) -> Any:
    """Parameters at step 0."""
    keys = {"params": init_key(seed), "attention": init_key(seed)}
    ids, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)

    def init() -> Any:
        return model.init(keys, ids, mask, deterministic=True)["params"]

    return jax.jit(init)()


def with_encoder(params: Any, pretrained: Any, name: str) -> Any:
    """`params` with the encoder of `pretrained`; raises InputError where the shapes differ."""
    problem = shapes_differ(params["encoder"], pretrained["encoder"])
    if problem:
        raise InputError(f"--pretrain={name}: the encoders do not fit: {problem}")
    say("the classification head is new: its weights are random")
    return {**params, "encoder": jax.tree.map(jnp.asarray, pretrained["encoder"])}
