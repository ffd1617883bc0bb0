"""--mode=baseline: TF-IDF and logistic regression on the same texts and splits."""

import itertools
import time
from typing import Any

from jaxattn.config import AUTO_PRECISION, Config, replace
from jaxattn.data.corpora import LabelledCorpus, load_labelled
from jaxattn.evaluate import tfidf
from jaxattn.evaluate.metrics import classification_metrics, confusion
from jaxattn.modes import environment
from jaxattn.modes.classifier import data_hash
from jaxattn.modes.publish import write_results
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder
from jaxattn.modes.training import say
from jaxattn.predictions.files import NAME, write_predictions


def run(request: Request) -> None:
    """Fits and tests the baseline into runs/baseline/<exp>/."""
    folder = RunFolder(request.runs, "baseline", request.needed("exp", "imdb_tfidf"))
    folder.must_be_free(request.resume)
    if folder.begun:
        config = folder.continued_config(request.resolved() if request.config else None)
        if folder.state == "finished":
            say(f"{folder.path} is finished already")
            return
    else:
        config = request.resolved()
        if config.train.precision == AUTO_PRECISION:
            # Scikit-learn has no part in what a GPU can do.
            config = replace(config, {"train.precision": "float32"})
    baseline(folder, config)


def baseline(folder: RunFolder, config: Config) -> None:
    """Fits each setting of the grid, tests the one that is best on validation, in `folder`."""
    corpus = load_labelled(config.data)
    # Scikit-learn computes on the CPU, whatever device there is for the encoders.
    machine = environment.describe(config) | {"device": environment.cpu_name()}
    folder.begin(config, {}, machine)
    with folder.running():
        say(f"fitting TF-IDF + logistic regression on {len(corpus.train.texts):,} texts")
        began = time.monotonic()
        model, grid = best_of_grid(config, corpus)
        chosen = max(grid, key=lambda row: row["validation_macro_f1"])
        probabilities = {
            name: model.probabilities(examples.texts)
            for name, examples in (("validation", corpus.validation), ("test", corpus.test))
        }
        seconds = time.monotonic() - began
        metrics = {
            name: classification_metrics(probabilities[name], examples.labels)
            for name, examples in (("validation", corpus.validation), ("test", corpus.test))
        }
        model.save(folder.path)
        test = probabilities["test"]
        write_predictions(folder.path / NAME, corpus.label_names, corpus.test.labels, test)
        write_results(
            folder,
            config,
            {
                "kind": "baseline",
                "exp": folder.exp,
                "attention": "tfidf+logreg",
                "data": config.data.name,
                "data_hash": data_hash(corpus),
                "seed": config.train.seed,
                "pretrain": None,
                "parameters": model.parameters,
                "best_step": None,
                **metrics,
                "confusion": confusion(test, corpus.test.labels),
                "chosen": chosen,
                "grid": grid,
                "cost": {
                    "train_seconds": model.fit_seconds,
                    "seconds_per_epoch": model.fit_seconds,
                    "total_seconds": seconds,
                    "tokens_per_second": None,
                    "peak_memory_MiB": environment.resident_memory(),
                    "peak_memory_kind": "resident",
                },
                "pretrain_cost": None,
                "device": environment.cpu_name(),
            },
        )
    say(
        f"finished: {folder.path}: {chosen['features']:,} features, C = {chosen['strength']:g}; "
        f"test macro-F1 {metrics['test']['macro_f1']:.4f}"
    )


def best_of_grid(
    config: Config, corpus: LabelledCorpus
) -> tuple[tfidf.TfidfModel, list[dict[str, Any]]]:
    """The model that is best on validation, and a row for each setting; of equals the first."""
    best: tfidf.TfidfModel | None = None
    rows: list[dict[str, Any]] = []
    options = config.baseline
    for features, strength in itertools.product(options.features, options.strengths):
        model = tfidf.fit(
            corpus.train.texts,
            corpus.train.labels,
            features=features,
            strength=strength,
            seed=config.train.seed,
            num_classes=len(corpus.label_names),
            words=options.words,
        )
        found = model.probabilities(corpus.validation.texts)
        score = classification_metrics(found, corpus.validation.labels)["macro_f1"]
        if best is None or score > max(row["validation_macro_f1"] for row in rows):
            best = model
        rows.append(
            {
                "features": features,
                "strength": strength,
                "validation_macro_f1": score,
                "fit_seconds": model.fit_seconds,
            }
        )
    assert best is not None
    return best, rows
