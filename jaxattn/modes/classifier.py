"""A trained classifier read from its run folder, and its report on a labelled corpus."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxattn.config import Config
from jaxattn.data.corpora import LabelledCorpus
from jaxattn.data.derived import CLEANERS
from jaxattn.data.wordpiece import encode, load_tokenizer, special_ids
from jaxattn.errors import InputError
from jaxattn.evaluate.metrics import classification_metrics, confusion
from jaxattn.evaluate.predict import ClassPredictor, Placement, Trained
from jaxattn.model.heads import ClassifierModel
from jaxattn.modes.classifier_params import params_of_run
from jaxattn.modes.run_folder import RunFolder, entry, read_json
from jaxattn.modes.training import buckets, cache_folder, texts_hash, with_draws
from jaxattn.predictions.files import write_predictions
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.state import evaluation_attention_key


@dataclasses.dataclass(frozen=True)
class Classifier:
    """The best checkpoint of a fine-tuning run, ready to predict."""

    config: Config
    label_names: tuple[str, ...]
    tokenizer: Any
    predictor: ClassPredictor
    trained: Trained

    def probabilities(self, texts: list[str]) -> Any:
        """Class probabilities, float64 [len(texts), classes], of texts as they come.

        Mark-up is taken out of them as it was in training.
        """
        data = self.config.data
        cleaned = [CLEANERS[data.clean](text) for text in texts]
        tokens, _ = encode(self.tokenizer, cleaned, data.max_length, truncate=data.truncate)
        return self.predictor.probabilities(self.trained, tokens)

    def batch_seconds(self, texts: list[str], batch_size: int) -> tuple[list[float], list[int]]:
        """Wall seconds and number of texts of each batch, warm; tokenising is not counted."""
        data = self.config.data
        tokens, _ = encode(self.tokenizer, texts, data.max_length, truncate=data.truncate)
        return self.predictor.batch_seconds(self.trained, tokens, batch_size)


def make_predictor(
    config: Config, model: ClassifierModel, pad_id: int, place: Placement | None = None
) -> ClassPredictor:
    """The predictor of a model."""
    return ClassPredictor(
        model,
        buckets=buckets(config),
        batch_size=config.train.eval_batch_size or config.train.batch_size,
        pad_id=pad_id,
        place=place,
    )


def load_classifier(folder: RunFolder) -> Classifier:
    """Reads a fine-tuning run; raises InputError when it has no checkpoint yet."""
    folder.must_exist()
    config, extra = folder.saved_config()
    label_names = tuple(entry(extra, "label_names", list, folder.config_path))
    if folder.state != "finished":
        warnings.warn(f"{folder.path} is {folder.state}, not finished", stacklevel=1)
    tokenizer = load_tokenizer(folder.path / "tokenizer.json", config.tokenizer.lowercase)
    checkpoints = Checkpoints(folder.path / "checkpoints", keep=1)
    best = best_step(folder, checkpoints)
    model = ClassifierModel(config, tokenizer.get_vocab_size(), len(label_names))
    params = params_of_run(folder, config, model, best)
    predictor = make_predictor(config, model, special_ids(tokenizer).pad)
    # One program instead of a dozen small ones: a third of a second when a process starts.
    interval = config.attention.options.redraw_interval
    key = jax.jit(lambda: evaluation_attention_key(config.train.seed, best, interval))()
    trained = Trained(params, key)
    if jax.default_backend() != "cpu":
        # There a QR decomposition would take longer than the rest of a batch.
        trained = with_draws(config, trained)
    return Classifier(config, label_names, tokenizer, predictor, trained)


def best_step(folder: RunFolder, checkpoints: Checkpoints) -> int:
    """The step of the checkpoint that validation chose; InputError where there is none.

    A finished run says it. Of another one the latest checkpoint does, which has to be read and
    verified for it.
    """
    results = folder.path / "results.json"
    if folder.state == "finished" and results.exists():
        step: int = entry(read_json(results), "best_step", int, results)
        if step in checkpoints.steps():
            return step
    latest = checkpoints.latest()
    if latest is None:
        raise InputError(f"{folder.path}: no finished checkpoint to read")
    return checkpoints.document(latest)["tally"]["best_step"] or latest


def data_hash(corpus: LabelledCorpus) -> str:
    """SHA-256 over texts, labels and splits: equal for runs that saw the same data."""
    splits = (corpus.train, corpus.validation, corpus.test)
    labels = (" ".join(map(str, examples.labels)) for examples in splits)
    return texts_hash(*(examples.texts for examples in splits), [*corpus.label_names, *labels])


class Read(NamedTuple):
    """What a classifier made of n texts.

    probabilities: float64 [n, classes]. long_share: share of the texts with more than
    `data.max_length` tokens.
    """

    probabilities: np.ndarray
    long_share: float


def cut_reader(
    config: Config, predictor: ClassPredictor, trained: Trained, tokenizer: Any
) -> Callable[[Sequence[str]], Read]:
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
    read: Callable[[Sequence[str]], Read],
    predictions_file: str,
) -> dict[str, Any]:
    """Metrics on validation and test; writes the predictions on test into the run folder."""
    report: dict[str, Any] = {"long_share": {}}
    for name, examples in (("validation", corpus.validation), ("test", corpus.test)):
        probabilities, report["long_share"][name] = read(examples.texts)
        report[name] = classification_metrics(probabilities, examples.labels)
    report["confusion"] = confusion(probabilities, corpus.test.labels)
    write_predictions(
        folder.path / predictions_file, corpus.label_names, corpus.test.labels, probabilities
    )
    return report
