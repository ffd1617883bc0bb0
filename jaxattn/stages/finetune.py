"""Fine-tuning: a classifier from a pretrained encoder."""

import warnings
from pathlib import Path

import numpy as np

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.data.batches.order import classification_batch
from jaxattn.data.corpora.splits import data_hash, load_labelled
from jaxattn.data.tokens.arrays import special_ids
from jaxattn.data.tokens.encode import encode, unknown_warning
from jaxattn.data.tokens.tokenise import cache_folder
from jaxattn.data.tokens.wordpiece import save_tokenizer
from jaxattn.evaluate.corpus import cut_reader, report_on_test
from jaxattn.evaluate.metrics import classification_metrics
from jaxattn.evaluate.predict import Trained, make_predictor
from jaxattn.model.heads import ClassifierModel
from jaxattn.model.peft import counts, on_folded
from jaxattn.ops.trees import tree_hash
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH
from jaxattn.runs.publish import write_results
from jaxattn.runs.results import Results, Stage
from jaxattn.stages import machine
from jaxattn.stages.batches import bucket_plan
from jaxattn.stages.origin import stages_before, unchanged_params
from jaxattn.stages.parameters import check_method, first_params, first_pooler, grown, tiled
from jaxattn.stages.training import train
from jaxattn.stages.vocabulary import stage_vocabulary
from jaxattn.train.feed import NumpyBatch
from jaxattn.train.job import NonFiniteError
from jaxattn.train.sharding import BatchPlacement, check_batches, make_mesh
from jaxattn.train.steps import classification_loss


def finetune(
    folder: RunFolder, config: Config, runs: Path, pretrain: str, stop_after: int | None = None
) -> None:
    """Fine-tunes in `folder`, or goes on where it stopped; `stop_after`: see `train`."""
    check_method(config, pretrain)
    mesh = make_mesh(config.train)
    check_batches(config.train, mesh)
    corpus = load_labelled(config.data)
    vocabulary = stage_vocabulary(folder, config, runs, pretrain, corpus.train.texts)
    tokenizer = vocabulary.tokenizer
    special, vocab_size = special_ids(tokenizer), tokenizer.get_vocab_size()
    data, cache = config.data, cache_folder(config)
    tokens, stats = encode(
        tokenizer, corpus.train.texts, data.max_length, truncate=data.truncate, cache=cache
    )
    validation, _ = encode(
        tokenizer, corpus.validation.texts, data.max_length, truncate=data.truncate, cache=cache
    )
    if warning := unknown_warning(stats):
        warnings.warn(warning, stacklevel=1)
    say(
        f"{len(tokens):,} training texts of {len(corpus.label_names)} classes, "
        f"{stats.truncated_share:.1%} cut at {config.data.max_length} tokens"
    )
    plan = bucket_plan(config, tokens.lengths)

    def batch(step: int) -> NumpyBatch:
        length, indices = plan.batch_indices(step)
        return classification_batch(tokens, corpus.train.labels, indices, length, special.pad)

    model = ClassifierModel(config, vocab_size, len(corpus.label_names))
    found, pretrain_hash = None, None
    if pretrain != SCRATCH:
        found, pretrain_hash = unchanged_params(folder, runs, pretrain)
        found = tiled(grown(found, vocabulary.origins), config.model.max_seq_len)
    params, base = first_params(model, config, special, pretrain, found)
    counted = counts(params, None if base is None else base.frozen)
    if pretrain != SCRATCH:
        params = {**params, **first_pooler(config, runs, pretrain)}
    say(
        f"{config.peft.method}: {counted['total']:,} parameters, {counted['trainable']:,} of them "
        f"trained, {counted['added']:,} added to the encoder"
    )
    predictor = make_predictor(config, model, special.pad, BatchPlacement(mesh))

    def validate(trained: Trained) -> dict[str, float | None]:
        probabilities = predictor.probabilities(trained, validation)
        if not np.isfinite(probabilities).all():
            raise NonFiniteError("the logits on the validation split are not finite")
        return dict(classification_metrics(probabilities, corpus.validation.labels))

    digest = data_hash(corpus)
    before = stages_before(runs, pretrain)
    extra = {
        "pretrain": pretrain,
        "pretrain_hash": pretrain_hash,
        "label_names": list(corpus.label_names),
    }
    folder.begin(config, extra, machine.describe(config) | {"parameters": counted})
    with folder.running():
        save_tokenizer(tokenizer, folder.path / "tokenizer.json")
        outcome = train(
            folder,
            config,
            stage=f"finetune {folder.exp}",
            loss_fn=on_folded(
                classification_loss(
                    model,
                    label_smoothing=config.finetune.label_smoothing,
                    class_weights=class_weights(
                        config.finetune.class_weights, corpus.train.labels, len(corpus.label_names)
                    ),
                ),
                config.peft,
            ),
            params=params,
            plan=plan,
            batch=batch,
            prepare=lambda trained: predictor.compile(trained, validation),
            validate=validate,
            select="macro_f1",
            higher_is_better=True,
            tokenizer_json=tokenizer.to_str(),
            data_hash=digest,
            mesh=mesh,
            finetune=config.finetune,
            base=base,
            stop_after=stop_after,
        )
        read = cut_reader(config, predictor, outcome.trained, tokenizer)
        tested = report_on_test(folder, corpus, read, "predictions_test.csv")
        write_results(
            folder,
            config,
            Results(
                kind="finetune",
                exp=folder.exp,
                attention=config.attention.type,
                data=config.data.name,
                data_hash=digest,
                seed=config.train.seed,
                pretrain=None if pretrain == SCRATCH else pretrain.partition("@")[0],
                pretrain_hash=pretrain_hash,
                peft=config.peft.method,
                parameters=counted["total"],
                trainable_parameters=counted["trainable"],
                added_parameters=counted["added"],
                best_step=outcome.best_step,
                stopped_step=outcome.stopped_step,
                best_hash=tree_hash(outcome.trained.params),
                **tested,
                cost=outcome.cost,
                pretrain_cost=before[-1].cost if before else None,
                stages=(
                    *before,
                    Stage.of(folder.kind, folder.exp, config, outcome.best_step, outcome.cost),
                ),
                compiled_programs=outcome.programs,
                truncated_share=stats.truncated_share,
                unknown_share=stats.unknown_share,
                vocabulary=vocabulary.report,
                device=machine.device_name(),
            ),
        )
    test = tested["test"]
    say(
        f"finished: {folder.path}: test accuracy {test['accuracy']:.4f}, "
        f"macro-F1 {test['macro_f1']:.4f}"
    )


def class_weights(how: str, labels: np.ndarray, num_classes: int) -> np.ndarray | None:
    """Weight of every class in the loss, float64 [num_classes]; None for equal weights.

    "balanced": n / (classes that occur * n of the class), so that every class weighs the same in
    total and the mean weight of an example is 1. A class that does not occur weighs 0: all that
    its weight would act on is its share of smoothed targets.
    """
    if how == "none":
        return None
    counts = np.bincount(labels, minlength=num_classes)
    balanced = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, balanced, 0.0)
