"""--mode=eval: metrics of a finished classifier on validation and test."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from jaxattn.config import replace
from jaxattn.data.corpora import Examples, LabelledCorpus, load_labelled
from jaxattn.errors import InputError
from jaxattn.evaluate.metrics import per_class
from jaxattn.modes import environment
from jaxattn.modes.classifier import Classifier, data_hash, load_classifier, report_on_test
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder, write_json
from jaxattn.modes.tables import print_table
from jaxattn.predictions.calibration import calibration
from jaxattn.predictions.files import read_predictions
from jaxattn.predictions.intervals import macro_f1_interval

PREDICTIONS = "evaluation_test.csv"
BATCH_SIZES = (1, 32)
"""At which latency and throughput are told."""
MOST_BATCHES = 32
"""Of each size are timed."""


def run(request: Request) -> None:
    """Evaluates runs/finetune/<exp>/; writes evaluation.json and evaluation_test.csv there.

    The data are those of the run, or those of --config where one is given; lengths are the run's.
    """
    folder = RunFolder(request.runs, "finetune", request.needed("exp", "imdb_lsh"))
    classifier = load_classifier(folder)
    config = classifier.config
    if request.config is not None:
        config = replace(config, request.data_options())
    corpus = _relabelled(load_labelled(config.data), classifier.label_names)
    report: dict[str, Any] = report_on_test(
        folder,
        config,
        classifier.predictor,
        classifier.trained,
        classifier.tokenizer,
        corpus,
        PREDICTIONS,
    )
    predictions = read_predictions(folder.path / PREDICTIONS)
    sure = macro_f1_interval((predictions,))
    report |= {
        "per_class": per_class(predictions.labels, predictions.predicted, classifier.label_names),
        "macro_f1_interval": [sure.low, sure.high],
        "calibration_error": calibration(predictions).error,
        "speed": speed(classifier, corpus.test.texts),
        "device": environment.device_name(),
        "data_hash": data_hash(corpus),
    }
    write_json(folder.path / "evaluation.json", report)
    show(report)
    print(f"written: {folder.path / 'evaluation.json'}, {folder.path / PREDICTIONS}")


def speed(classifier: Classifier, texts: Sequence[str]) -> list[dict[str, float | int]]:
    """What a classification takes at each of `BATCH_SIZES`, of token ids to probabilities.

    `median_ms` is of a batch, `texts_per_second` of all together, `texts` how many were timed:
    the same ones for every run on the same data, chosen by chance.
    """
    rng = np.random.default_rng(0)
    rows = []
    for size in BATCH_SIZES:
        count = min(len(texts), MOST_BATCHES * size)
        chosen = [texts[place] for place in rng.permutation(len(texts))[:count]]
        seconds, held = classifier.batch_seconds(chosen, size)
        rows.append(
            {
                "batch_size": size,
                "texts": count,
                "median_ms": 1000 * median(seconds),
                "texts_per_second": sum(held) / sum(seconds),
            }
        )
    return rows


def show(report: dict[str, Any]) -> None:
    """Prints the metrics of both splits, the classes and the speed."""
    print(f"{'':12}{'validation':>12}{'test':>12}")
    for name, value in report["test"].items():
        other = report["validation"][name]
        cells = ("-" if x is None else f"{x:.4f}" for x in (other, value))
        print(f"{name:12}" + "".join(f"{cell:>12}" for cell in cells))
    low, high = report["macro_f1_interval"]
    print(f"test macro-F1, 95 % interval: {low:.4f} to {high:.4f}")
    print(f"expected calibration error:   {report['calibration_error']:.4f}")
    rows = [
        (
            row["class"],
            *(f"{row[name]:.4f}" for name in ("precision", "recall", "f1")),
            str(row["support"]),
        )
        for row in report["per_class"]
    ]
    print_table("test", ("class", "precision", "recall", "F1", "texts"), rows)
    for row in report["speed"]:
        print(
            f"batches of {row['batch_size']}: {row['median_ms']:.2f} ms in the median, "
            f"{row['texts_per_second']:,.1f} texts/s ({report['device']}, {row['texts']} texts)"
        )


def _relabelled(corpus: LabelledCorpus, names: tuple[str, ...]) -> LabelledCorpus:
    """`corpus` with its labels numbered as the classifier numbers them."""
    if corpus.label_names == names:
        return corpus
    unknown = sorted(set(corpus.label_names) - set(names))
    if unknown:
        raise InputError(
            f"unknown label {unknown[0]!r} in the data; the classifier knows: {', '.join(names)}"
        )
    index = np.array([names.index(name) for name in corpus.label_names], np.int32)

    def renumbered(examples: Examples) -> Examples:
        return Examples(examples.texts, index[examples.labels])

    return LabelledCorpus(
        renumbered(corpus.train), renumbered(corpus.validation), renumbered(corpus.test), names
    )
