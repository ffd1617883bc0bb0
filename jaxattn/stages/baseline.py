"""The baseline of a run's data: a linear classifier of n-grams."""

import time
from typing import Any

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.data.corpora.class_checks import class_warnings, copy_warnings
from jaxattn.data.corpora.splits import LabelledCorpus, data_hash, load_labelled
from jaxattn.evaluate.class_notes import class_notes
from jaxattn.evaluate.metrics import classification_metrics, confusion
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import BASELINE_ATTENTIONS, BASELINE_LABELS
from jaxattn.runs.predictions import NAME, write_predictions
from jaxattn.runs.publish import write_results
from jaxattn.runs.results import Cost, Results
from jaxattn.stages import machine
from jaxattn.stages.ngram_fits import counted_texts
from jaxattn.stages.ngrams import NgramModel


def baseline(folder: RunFolder, config: Config) -> None:
    """Fits each setting of the grid, tests the one that is best on validation, in `folder`."""
    corpus = load_labelled(config.data)
    for warning in (*class_warnings(corpus), *copy_warnings(corpus)):
        say(f"look at: {warning}")
    # Scikit-learn computes on the CPU, whatever device there is for the encoders.
    about = machine.describe(config) | {"device": machine.cpu_name()}
    folder.begin(config, {}, about)
    with folder.running():
        name = BASELINE_ATTENTIONS[config.baseline.kind]
        say(f"fitting {BASELINE_LABELS[name]} on {len(corpus.train.texts):,} texts")
        began = time.monotonic()
        model, validation, grid = best_of_grid(config, corpus)
        chosen = max(grid, key=lambda row: row["validation_macro_f1"])
        if config.baseline.kind == "svm":
            model = model.scaled(validation, corpus.validation.labels)
        probabilities = {
            "validation": model.of_counts(validation),
            "test": model.probabilities(corpus.test.texts),
        }
        seconds = time.monotonic() - began
        metrics = {
            name: classification_metrics(probabilities[name], examples.labels)
            for name, examples in (("validation", corpus.validation), ("test", corpus.test))
        }
        model.save(folder.path)
        test = probabilities["test"]
        notes = [
            note
            for name, examples in (("validation", corpus.validation), ("test", corpus.test))
            for note in class_notes(
                confusion(probabilities[name], examples.labels), corpus.label_names, name
            )
        ]
        write_predictions(folder.path / NAME, corpus.label_names, corpus.test.labels, test)
        write_results(
            folder,
            config,
            Results(
                kind="baseline",
                exp=folder.exp,
                attention=name,
                data=config.data.name,
                data_hash=data_hash(corpus),
                seed=config.train.seed,
                parameters=model.parameters,
                validation=metrics["validation"],
                test=metrics["test"],
                confusion=confusion(test, corpus.test.labels),
                notes=notes or None,
                chosen=chosen,
                grid=grid,
                cost=Cost(
                    train_seconds=model.fit_seconds,
                    seconds_per_epoch=model.fit_seconds,
                    total_seconds=seconds,
                    peak_memory_MiB=machine.resident_memory(),
                    peak_memory_kind="resident",
                ),
                device=machine.cpu_name(),
            ),
        )
    say(
        f"finished: {folder.path}: {chosen['features']:,} features, C = {chosen['strength']:g}; "
        f"test macro-F1 {metrics['test']['macro_f1']:.4f}"
    )
    for note in notes:
        say(f"look at: {note}")


def best_of_grid(
    config: Config, corpus: LabelledCorpus
) -> tuple[NgramModel, Any, list[dict[str, Any]]]:
    """The model that is best on validation, of equals the first; what the grid took.

    Returns:
      The model; the validation texts as its `counts`; and a row for each setting.
    """
    best: tuple[NgramModel, Any] | None = None
    rows: list[dict[str, Any]] = []
    options = config.baseline
    counted = counted_texts(
        corpus.train.texts,
        corpus.train.labels,
        features=max(options.features),
        num_classes=len(corpus.label_names),
        words=options.words,
        kind=options.kind,
    )
    validation = counted.count(corpus.validation.texts)
    for features in options.features:
        counts = validation[:, counted.columns(features)]
        models = counted.fits(features, options.strengths, config.train.seed)
        for strength, model in zip(options.strengths, models, strict=True):
            found = model.of_counts(counts)
            score = classification_metrics(found, corpus.validation.labels)["macro_f1"]
            if best is None or score > max(row["validation_macro_f1"] for row in rows):
                best = model, counts
            rows.append(
                {
                    "features": features,
                    "strength": strength,
                    "validation_macro_f1": score,
                    "fit_seconds": model.fit_seconds,
                }
            )
    assert best is not None
    return *best, rows
