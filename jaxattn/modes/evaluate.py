"""--mode=eval: metrics of a finished classifier on validation and test."""

import numpy as np

from jaxattn.config import replace
from jaxattn.data.corpora import Examples, LabelledCorpus, load_labelled
from jaxattn.errors import InputError
from jaxattn.modes.classifier import data_hash, load_classifier, report_on_test
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder, write_json


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
    report = report_on_test(
        folder,
        config,
        classifier.predictor,
        classifier.trained,
        classifier.tokenizer,
        corpus,
        "evaluation_test.csv",
    )
    write_json(folder.path / "evaluation.json", report | {"data_hash": data_hash(corpus)})
    print(f"{'':12}{'validation':>12}{'test':>12}")
    for name, value in report["test"].items():
        other = report["validation"][name]
        cells = ("-" if x is None else f"{x:.4f}" for x in (other, value))
        print(f"{name:12}" + "".join(f"{cell:>12}" for cell in cells))
    print(f"written: {folder.path / 'evaluation.json'}, {folder.path / 'evaluation_test.csv'}")


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
