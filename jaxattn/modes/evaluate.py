"""--mode=eval: metrics of a finished classifier on validation and test, or on other texts."""

from typing import Any

from jaxattn.classifier.evaluation import (
    PREDICTIONS,
    evaluate_splits,
    evaluate_texts,
)
from jaxattn.classifier.load import FORM, load_classifier
from jaxattn.config import UNTRACKED, Config
from jaxattn.console import print_table, tell
from jaxattn.errors import InputError
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder

READING = ("predict.long", "predict.overlap", "log.wandb", "log.wandb_project")

OPTIONS = (
    *READING, "data.path", "data.text_column", "data.label_column", "data.no_label",
    "data.first_label", *FORM,
)  # fmt: skip
"""That flags can change where there is no --config=<file>."""

METRICS = ("accuracy", "macro_f1", "weighted_f1", "auroc", "loss")


def run(request: Request) -> None:
    """Evaluates runs/finetune/<exp>/; writes evaluation.json and evaluation_test.csv there.

    The data are those of the run, or those of the file --config; lengths are the run's.
    With --input (a file with labels) or --split only these texts are evaluated, and the files are
    evaluation_<split>.* or evaluation_file_<name>.*. Long texts are cut as in training, with
    --config.predict.long=window read in windows.
    """
    folder = RunFolder(request.runs, "finetune", request.needed("exp", "imdb_lsh"))
    if request.has_file:
        options = request.data_options(READING)
    else:
        options = request.flagged_options(OPTIONS)
    if request.input and (request.split or request.names("data.path")):
        other = "--split" if request.split else "data.path"
        raise InputError(f"--mode=eval: --input and {other} are both given; one says the texts")
    # Who made the run does not decide what leaves this machine.
    classifier = load_classifier(folder, UNTRACKED | options)
    if request.input or request.split:
        name, report = evaluate_texts(folder, classifier, request.input, request.split)
        for metric in ("texts", *METRICS):
            value = report[metric]
            shown = "-" if value is None else f"{value:,}" if metric == "texts" else f"{value:.4f}"
            tell(f"{metric:18}{shown:>12}")
        long_share, files = (
            report["long_share"],
            (f"evaluation_{name}.json", f"evaluation_{name}.csv"),
        )
    else:
        name, report = "test", evaluate_splits(folder, classifier)
        tell(f"{'':12}{'validation':>12}{'test':>12}")
        for metric, value in report["test"].items():
            cells = (
                "-" if x is None else f"{x:.4f}" for x in (report["validation"][metric], value)
            )
            tell(f"{metric:12}" + "".join(f"{cell:>12}" for cell in cells))
        long_share, files = report["long_share"]["test"], ("evaluation.json", PREDICTIONS)
    _print_described(name, report)
    _print_long(classifier.config, long_share)
    tell(f"written: {', '.join(str(folder.path / file) for file in files)}")


def _print_long(config: Config, share: float) -> None:
    if share:
        done = "read in windows" if config.predict.long == "window" else "cut"
        tell(f"{share:.1%} of the texts have over {config.data.max_length} tokens: {done}")


def _print_described(name: str, report: dict[str, Any]) -> None:
    """What both reports have: interval, calibration, classes and speed."""
    low, high = report["macro_f1_interval"]
    tell(f"{name} macro-F1, 95 % interval: {low:.4f} to {high:.4f}")
    for note in report.get("notes", ()):
        tell(f"look at: {note}")
    tell(f"expected calibration error:   {report['calibration_error']:.4f}")
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
        tell(
            f"batches of {row['batch_size']}: {row['median_ms']:.2f} ms in the median, "
            f"{row['texts_per_second']:,.1f} texts/s ({report['device']}, {row['texts']} texts)"
        )
