"""Predictions for the texts of a corpus, and what they are worth."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxattn.config import Config
from jaxattn.data.corpora.splits import LabelledCorpus
from jaxattn.data.tokens.encode import encode
from jaxattn.data.tokens.tokenise import cache_folder
from jaxattn.evaluate.class_notes import class_notes
from jaxattn.evaluate.metrics import classification_metrics, confusion
from jaxattn.evaluate.predict import Predictor, Trained
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.predictions import write_predictions

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Read(NamedTuple):
    """What a classifier made of n texts.

    probabilities: float64 [n, classes]. long_share: share of the texts with more than
    `data.max_length` tokens.
    """

    probabilities: np.ndarray
    long_share: float


Reader = Callable[[Sequence[str]], Read]


def cut_reader(
    config: Config, predictor: Predictor, trained: Trained, tokenizer: "Tokenizer"
) -> Reader:
    """Reads the texts of a corpus as training did: long ones are cut."""

    def read(texts: Sequence[str]) -> Read:
        data = config.data
        tokens, stats = encode(
            tokenizer, texts, data.max_length, truncate=data.truncate, cache=cache_folder(config)
        )
        return Read(predictor.probabilities(trained, tokens), stats.truncated_share)

    return read


def report_on_test(
    folder: RunFolder,
    corpus: LabelledCorpus,
    read: Reader,
    predictions_file: str,
) -> dict[str, Any]:
    """Metrics on validation and test; writes the predictions on test into the run folder.

    `notes`, where there are any, are those of `class_notes`.
    """
    report: dict[str, Any] = {"long_share": {}}
    notes: list[str] = []
    for name, examples in (("validation", corpus.validation), ("test", corpus.test)):
        probabilities, report["long_share"][name] = read(examples.texts)
        report[name] = classification_metrics(probabilities, examples.labels)
        counts = confusion(probabilities, examples.labels)
        notes += class_notes(counts, corpus.label_names, name)
    report["confusion"] = counts
    if notes:
        report["notes"] = notes
    write_predictions(
        folder.path / predictions_file, corpus.label_names, corpus.test.labels, probabilities
    )
    return report
