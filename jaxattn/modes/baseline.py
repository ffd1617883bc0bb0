"""--mode=baseline: TF-IDF and logistic regression on the same texts and splits."""

import time

from jaxattn.config import Config
from jaxattn.data.corpora import load_labelled
from jaxattn.evaluate import tfidf
from jaxattn.evaluate.metrics import classification_metrics, confusion
from jaxattn.modes import environment
from jaxattn.modes.classifier import data_hash
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder, write_json
from jaxattn.modes.training import say


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
    baseline(folder, config)


def baseline(folder: RunFolder, config: Config) -> None:
    """Fits and tests in `folder`."""
    corpus = load_labelled(config.data)
    # Scikit-learn computes on the CPU, whatever device there is for the encoders.
    machine = environment.describe(config) | {"device": environment.cpu_name()}
    folder.begin(config, {}, machine)
    with folder.running():
        say(f"fitting TF-IDF + logistic regression on {len(corpus.train.texts):,} texts")
        texts = {"validation": corpus.validation.texts, "test": corpus.test.texts}
        began = time.monotonic()
        result = tfidf.fit_predict(
            corpus.train.texts,
            corpus.train.labels,
            texts,
            config.train.seed,
            num_classes=len(corpus.label_names),
        )
        seconds = time.monotonic() - began
        metrics = {
            name: classification_metrics(result.probabilities[name], examples.labels)
            for name, examples in (("validation", corpus.validation), ("test", corpus.test))
        }
        write_json(
            folder.path / "results.json",
            {
                "kind": "baseline",
                "exp": folder.exp,
                "attention": "tfidf+logreg",
                "data": config.data.name,
                "data_hash": data_hash(corpus),
                "seed": config.train.seed,
                "pretrain": None,
                "parameters": result.parameters,
                "best_step": None,
                **metrics,
                "confusion": confusion(result.probabilities["test"], corpus.test.labels),
                "cost": {
                    "train_seconds": result.fit_seconds,
                    "seconds_per_epoch": result.fit_seconds,
                    "total_seconds": seconds,
                    "tokens_per_second": None,
                    "peak_memory_MiB": environment.resident_memory(),
                    "peak_memory_kind": "resident",
                },
                "pretrain_cost": None,
                "device": environment.cpu_name(),
            },
        )
    say(f"finished: {folder.path}: test macro-F1 {metrics['test']['macro_f1']:.4f}")
