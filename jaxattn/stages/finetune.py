"""Fine-tuning: a classifier from a pretrained encoder."""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.data.corpora.class_checks import class_warnings, copy_warnings
from jaxattn.data.corpora.splits import data_hash, load_labelled
from jaxattn.data.tokens.arrays import CutRows, TokenRows, special_ids
from jaxattn.data.tokens.encode import EncodeStats, encode, unknown_advice, unknown_warning
from jaxattn.data.tokens.tokenise import cache_folder
from jaxattn.evaluate.class_notes import unpredicted
from jaxattn.evaluate.corpus import cut_reader, report_on_test
from jaxattn.evaluate.metrics import classification_metrics, confusion
from jaxattn.evaluate.predict import Predictor, Trained, make_predictor
from jaxattn.model.heads import ClassifierModel
from jaxattn.model.peft import counts, on_folded
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH
from jaxattn.runs.results import Results
from jaxattn.stages.batches import labelled_plan, whole_text_batches
from jaxattn.stages.class_weights import class_weights
from jaxattn.stages.origin import FROM_SCRATCH, begin_with
from jaxattn.stages.parameters import check_method, first_params, first_pooler, grown, tiled
from jaxattn.stages.room import require_room
from jaxattn.stages.task import Outcome, Task
from jaxattn.stages.training import run_stage
from jaxattn.stages.vocabulary import stage_vocabulary
from jaxattn.train.job import NonFiniteError
from jaxattn.train.sharding import BatchPlacement, check_batches, make_mesh
from jaxattn.train.steps import classification_loss


@dataclasses.dataclass(frozen=True)
class ClassEvaluator:
    """The metrics of a classifier on labelled texts, int [n] classes of these names."""

    predictor: Predictor
    tokens: TokenRows
    labels: np.ndarray
    names: Sequence[str]

    def compile(self, trained: Trained) -> None:
        """Compiles what `metrics` will need."""
        self.predictor.compile(trained, self.tokens)

    def metrics(self, trained: Trained) -> dict[str, float | None]:
        """Those of `classification_metrics`; raises NonFiniteError for logits that are not."""
        probabilities = self.predictor.probabilities(trained, self.tokens)
        if not np.isfinite(probabilities).all():
            raise NonFiniteError("the logits on the validation split are not finite")
        if note := unpredicted(confusion(probabilities, self.labels), self.names):
            say(f"look at: on validation {note}")
        return dict(classification_metrics(probabilities, self.labels))


def finetune(
    folder: RunFolder, config: Config, runs: Path, pretrain: str, stop_after: int | None = None
) -> None:
    """Fine-tunes in `folder`, or goes on where it stopped; `stop_after`: see `train`."""
    check_method(config, pretrain)
    require_room(folder, config)
    mesh = make_mesh(config.train)
    check_batches(config.train, mesh)
    corpus = load_labelled(config.data)
    for said in (*class_warnings(corpus), *copy_warnings(corpus)):
        say(f"look at: {said}")
    train, classes = corpus.train, len(corpus.label_names)
    options = config.finetune
    weights = class_weights(
        options.class_weights, train.labels, classes, corpus.label_names, options.sampling
    )
    vocabulary = stage_vocabulary(folder, config, runs, pretrain, train.texts)
    tokenizer, special = vocabulary.tokenizer, special_ids(vocabulary.tokenizer)
    require_room(folder, config, tokenizer.get_vocab_size())

    def encoded(texts: Sequence[str]) -> tuple[CutRows, EncodeStats]:
        data, cache = config.data, cache_folder(config)
        return encode(tokenizer, texts, data.max_length, truncate=data.truncate, cache=cache)

    tokens, stats = encoded(train.texts)
    validation, _ = encoded(corpus.validation.texts)
    advice = unknown_advice(
        config.tokenizer, tokenizer.get_vocab_size(), inherited=pretrain != SCRATCH
    )
    if warning := unknown_warning(stats, advice):
        warnings.warn(warning, stacklevel=1)
    say(
        f"{len(tokens):,} training texts of {classes} classes, "
        f"{stats.truncated_share:.1%} cut at {config.data.max_length} tokens"
    )
    plan = labelled_plan(config, tokens.lengths, train.labels)
    model = ClassifierModel(config, tokenizer.get_vocab_size(), classes)
    saved, origin = None, FROM_SCRATCH
    if pretrain != SCRATCH:
        saved, origin = begin_with(folder, runs, pretrain)
        saved = tiled(grown(saved, vocabulary.origins), config.model.max_seq_len)
    params, base = first_params(model, config, special, pretrain, saved)
    counted = counts(params, None if base is None else base.frozen)
    if pretrain != SCRATCH:
        params = {**params, **first_pooler(config, runs, pretrain)}
    say(
        f"{config.peft.method}: {counted['total']:,} parameters, {counted['trainable']:,} of them "
        f"trained, {counted['added']:,} added to the encoder"
    )
    loss = classification_loss(
        model,
        label_smoothing=options.label_smoothing,
        class_weights=weights,
        focal_gamma=options.focal_gamma,
    )
    predictor = make_predictor(config, model, special.pad, BatchPlacement(mesh))
    task = Task(
        loss=on_folded(loss, config.peft),
        params=params,
        plan=plan,
        batch=whole_text_batches(tokens, train.labels, plan, special.pad),
        evaluator=ClassEvaluator(
            predictor, validation, corpus.validation.labels, corpus.label_names
        ),
        tokenizer=tokenizer,
        data_hash=data_hash(corpus),
        data_size={
            "training": len(train.texts),
            "validation": len(corpus.validation.texts),
            "test": len(corpus.test.texts),
        },
        origin=origin,
        base=base,
        saved=origin.saved | {"label_names": list(corpus.label_names)},
        environment={"parameters": counted},
    )

    def finish(outcome: Outcome, results: Results) -> Results:
        read = cut_reader(config, predictor, outcome.trained, tokenizer)
        return dataclasses.replace(
            results,
            peft=config.peft.method,
            parameters=counted["total"],
            trainable_parameters=counted["trainable"],
            added_parameters=counted["added"],
            pretrain_cost=origin.stages[-1].cost if origin.stages else None,
            truncated_share=stats.truncated_share,
            unknown_share=stats.unknown_share,
            vocabulary=vocabulary.report,
            **report_on_test(folder, corpus, read, "predictions_test.csv"),
        )

    results = run_stage(folder, config, task, mesh, finish, stop_after)
    test = results.test or {}
    say(
        f"finished: {folder.path}: test accuracy {test['accuracy']:.4f}, "
        f"macro-F1 {test['macro_f1']:.4f}"
    )
    for note in results.notes or ():
        say(f"look at: {note}")
