"""A finished classifier on labelled texts: metrics, speed and errors."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from jaxattn.classifier.load import Classifier
from jaxattn.classifier.text_classifier import CHUNK, TextClassifier
from jaxattn.config import Config, replace
from jaxattn.data.corpora.splits import Examples, LabelledCorpus
from jaxattn.errors import InputError
from jaxattn.evaluate.calibration import calibration
from jaxattn.evaluate.corpus import Read, cut_reader
from jaxattn.evaluate.intervals import macro_f1_interval
from jaxattn.evaluate.metrics import per_class
from jaxattn.runs.predictions import read_predictions
from jaxattn.stages import machine

BATCH_SIZES = (1, 32)
"""At which latency and throughput are told."""

MOST_BATCHES = 32
"""Of each size are timed."""


def reader(classifier: Classifier, config: Config) -> Callable[[Sequence[str]], Read]:
    """Reads the texts of a corpus as `predict.long` says."""
    if config.predict.long == "truncate":
        return cut_reader(config, classifier.predictor, classifier.trained, classifier.tokenizer)
    # The corpus has taken mark-up out already.
    plain = replace(config, {"data.clean": "none"})
    whole = TextClassifier(plain, classifier.label_names, classifier.tokenizer, classifier.trained)

    def read(texts: Sequence[str]) -> Read:
        starts = range(0, len(texts), CHUNK)
        parts = [whole.classify(list(texts[start : start + CHUNK])) for start in starts]
        found, long = (np.concatenate(each) for each in zip(*parts, strict=True))
        return Read(found, float(long.mean()))

    return read


def described(classifier: Classifier, path: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Classes, interval and calibration of the predictions in `path`, and the speed on `texts`."""
    predictions = read_predictions(path)
    sure = macro_f1_interval((predictions,))
    return {
        "per_class": per_class(predictions.labels, predictions.predicted, classifier.label_names),
        "macro_f1_interval": [sure.low, sure.high],
        "calibration_error": calibration(predictions).error,
        "speed": speed(classifier, texts),
        "device": machine.device_name(),
    }


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
