"""--mode=eval: metrics of a finished classifier on validation and test, or on other texts."""

import re
from pathlib import Path
from typing import Any

from jaxattn.classifier.evaluation import _relabelled, described, reader
from jaxattn.classifier.load import Classifier, load_classifier
from jaxattn.config import Config, replace
from jaxattn.console import print_table
from jaxattn.data.corpora.splits import data_hash, load_labelled, load_labelled_file, texts_hash
from jaxattn.errors import InputError, did_you_mean
from jaxattn.evaluate.corpus import report_on_test
from jaxattn.evaluate.metrics import classification_metrics, confusion
from jaxattn.files import write_json
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.predictions import write_predictions
from jaxattn.runs.publish import log_evaluation

PREDICTIONS = "evaluation_test.csv"

SPLITS = ("train", "validation", "test")

READING = ("predict.long", "predict.overlap")

OPTIONS = (*READING, "data.path", "data.text_column", "data.label_column")
"""That flags can change where there is no --config=<file>."""

METRICS = ("accuracy", "macro_f1", "weighted_f1", "auroc", "loss")


def run(request: Request) -> None:
    """Evaluates runs/finetune/<exp>/; writes evaluation.json and evaluation_test.csv there.

    The data are those of the run, or those of the file --config; lengths are the run's.
    With --input (a file with labels) or --split only these texts are evaluated: see `evaluate_on`.
    Long texts are cut as in training, with --config.predict.long=window read in windows.
    """
    folder = RunFolder(request.runs, "finetune", request.needed("exp", "imdb_lsh"))
    classifier = load_classifier(folder)
    if request.has_file:
        options = request.data_options(READING)
    else:
        options = request.flagged_options(OPTIONS)
    config = replace(classifier.config, options)
    if request.input or request.split:
        evaluate_on(request, folder, classifier, config)
        return
    corpus = _relabelled(load_labelled(config.data), classifier.label_names)
    report = report_on_test(folder, corpus, reader(classifier, config), PREDICTIONS)
    report["long"] = config.predict.long
    report |= described(classifier, folder.path / PREDICTIONS, corpus.test.texts)
    report["data_hash"] = data_hash(corpus)
    write_json(folder.path / "evaluation.json", report)
    log_evaluation(folder, config.log, "test", report["test"])
    show(report)
    _show_long(config, report["long_share"]["test"])
    print(f"written: {folder.path / 'evaluation.json'}, {folder.path / PREDICTIONS}")


def evaluate_on(
    request: Request, folder: RunFolder, classifier: Classifier, config: Config
) -> None:
    """Evaluates on the file --input, or on the split --split of the data.

    Writes evaluation_<name>.json and .csv, beside those of the test split, where name is the split,
    or file_ and the file's name.

    Raises:
      InputError: both are given, no such split, or a file, text or label that cannot be read.
    """
    if request.input and request.split:
        raise InputError("--mode=eval: --input and --split are both given; one says the texts")
    if request.input and request.names("data.path"):
        raise InputError("--mode=eval: --input and data.path are both given; one says the texts")
    if request.input:
        file = Path(request.input)
        if not file.is_file():
            raise InputError(f"--input: {file}: no such file")
        name = "file_" + re.sub(r"[^\w.-]", "_", file.stem)
        examples = load_labelled_file(file, config.data, classifier.label_names)
    else:
        if request.split not in SPLITS:
            hint = did_you_mean(request.split, SPLITS)
            raise InputError(
                f"--split: found {request.split!r}, allowed: {', '.join(SPLITS)}{hint}"
            )
        name = request.split
        corpus = _relabelled(load_labelled(config.data), classifier.label_names)
        examples = getattr(corpus, name)
    probabilities, long_share = reader(classifier, config)(examples.texts)
    path = folder.path / f"evaluation_{name}.csv"
    write_predictions(path, classifier.label_names, examples.labels, probabilities)
    report: dict[str, Any] = {
        "texts": len(examples.texts),
        "long": config.predict.long,
        "long_share": long_share,
        **classification_metrics(probabilities, examples.labels),
        "confusion": confusion(probabilities, examples.labels),
        **described(classifier, path, examples.texts),
        "data_hash": texts_hash(
            examples.texts, [*classifier.label_names, " ".join(map(str, examples.labels))]
        ),
    }
    write_json(path.with_suffix(".json"), report)
    log_evaluation(folder, config.log, name, report)
    for metric in ("texts", *METRICS):
        value = report[metric]
        shown = "-" if value is None else f"{value:,}" if metric == "texts" else f"{value:.4f}"
        print(f"{metric:18}{shown:>12}")
    _show_described(name, report)
    _show_long(config, long_share)
    print(f"written: {path.with_suffix('.json')}, {path}")


def _show_long(config: Config, share: float) -> None:
    if share:
        done = "read in windows" if config.predict.long == "window" else "cut"
        print(f"{share:.1%} of the texts have over {config.data.max_length} tokens: {done}")


def show(report: dict[str, Any]) -> None:
    """Prints the metrics of both splits, the classes and the speed."""
    print(f"{'':12}{'validation':>12}{'test':>12}")
    for name, value in report["test"].items():
        other = report["validation"][name]
        cells = ("-" if x is None else f"{x:.4f}" for x in (other, value))
        print(f"{name:12}" + "".join(f"{cell:>12}" for cell in cells))
    _show_described("test", report)


def _show_described(name: str, report: dict[str, Any]) -> None:
    """Prints what `described` has found."""
    low, high = report["macro_f1_interval"]
    print(f"{name} macro-F1, 95 % interval: {low:.4f} to {high:.4f}")
    print(f"expected calibration error:   {report['calibration_error']:.4f}")
    rows = [
        (
            row["class"],
            *(f"{row[metric]:.4f}" for metric in ("precision", "recall", "f1")),
            str(row["support"]),
        )
        for row in report["per_class"]
    ]
    print_table(name, ("class", "precision", "recall", "F1", "texts"), rows)
    for row in report["speed"]:
        print(
            f"batches of {row['batch_size']}: {row['median_ms']:.2f} ms in the median, "
            f"{row['texts_per_second']:,.1f} texts/s ({report['device']}, {row['texts']} texts)"
        )
