"""A finished classifier read from the folder of its run, or from one that was exported."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jaxattn.classifier.classifier import Classifier
from jaxattn.classifier.exported import read_export
from jaxattn.config import replace
from jaxattn.errors import InputError, listed
from jaxattn.evaluate.predict import Trained, with_draws
from jaxattn.files import entry
from jaxattn.model.heads import ClassifierModel
from jaxattn.model.keys import evaluation_attention_key
from jaxattn.ops.trees import Params, tree_hash
from jaxattn.runs.exports import is_export
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import KINDS
from jaxattn.runs.predictions import NAME as PREDICTIONS
from jaxattn.runs.predictions import read_predictions
from jaxattn.stages.agreement import LABELS
from jaxattn.stages.parameters import params_of_run
from jaxattn.stages.vocabulary import tokenizer_of
from jaxattn.train.checkpoints import Checkpoints

Options = Mapping[str, Any]
"""Options that are changed: dotted name -> value; the others are as they were saved."""

FORM = ("data.separator", "data.quotes", "data.header", "data.encoding")
"""Options that say how a file is written, which another one need not be."""

CHANGEABLE = ("predict.long", "predict.overlap", "data.text_column", *FORM)
"""Options that can be changed when texts are labelled; all others are the run's."""


def classifier_folder(runs: Path, run: str, exp: str) -> Path:
    """The folder `run` (of a run, or exported), or the fine-tuning `exp` where that is empty."""
    if run:
        return Path(run)
    folder = RunFolder(runs, "finetune", exp)
    folder.must_exist()
    return folder.path


def open_classifier(path: str | Path, options: Options) -> Classifier:
    """The classifier in the folder of a fine-tuning run, or in one that --mode=export wrote.

    Raises:
      InputError: there is no classifier, or it cannot be read.
    """
    folder = Path(path)
    if is_export(folder):
        return read_export(folder, options)
    if not (folder / KINDS["finetune"].config_file).is_file():
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder")
        raise InputError(
            f"{folder}: found no classifier; expected runs/finetune/<exp>, or a folder that "
            "--mode=export wrote"
        )
    # It may have been moved, or have another name.
    return load_classifier(RunFolder.at(folder, "finetune"), options)


def load_classifier(folder: RunFolder, options: Options | None = None) -> Classifier:
    """The best checkpoint of a fine-tuning run.

    Raises:
      InputError: there is none yet, or its parameters, tokenizer, options and classes are not all
        those of one run.
    """
    folder.must_exist()
    config, extra = folder.saved.config()
    label_names = tuple(entry(extra, LABELS, list, folder.saved.path))
    if folder.state != "finished":
        state = folder.state or "of unknown state"
        warnings.warn(f"{folder.path} is {state}, not finished", stacklevel=1)
    tokenizer = tokenizer_of(folder, config)
    best = _best_step(folder, Checkpoints(folder.path / "checkpoints", keep=1))
    model = ClassifierModel(config, tokenizer.get_vocab_size(), len(label_names))
    params = params_of_run(folder, config, model, best)
    if folder.manifest is None and folder.state == "finished":
        _require_results(folder, label_names, params)
    # One program instead of a dozen small ones: a third of a second when a process starts.
    interval = config.attention.redraw_interval
    key = jax.jit(lambda: evaluation_attention_key(config.train.seed, best, interval))()
    trained = Trained(params, key)
    if jax.default_backend() != "cpu":
        # There a QR decomposition would take longer than the rest of a batch.
        trained = with_draws(config, trained)
    return Classifier(replace(config, options or {}), label_names, tokenizer, trained)


def _best_step(folder: RunFolder, checkpoints: Checkpoints) -> int:
    """The step of the checkpoint that validation chose; InputError where there is none.

    A finished run says it. Of another one the latest checkpoint does, which has to be read and
    verified for it.
    """
    if folder.state == "finished":
        step = folder.results().best_step
        if step is None:
            raise InputError(f"{folder.results_path}: best_step: found None, expected a step")
        if step not in checkpoints.steps():
            raise InputError(
                f"{folder.path}: its results are those of step {step}, whose checkpoint is not "
                "there or has no manifest.json; bring it back from a copy, or train the run again "
                "under another --exp"
            )
        return step
    latest = checkpoints.latest()
    if latest is None:
        raise InputError(f"{folder.path}: no finished checkpoint to read")
    return checkpoints.document(latest)["tally"]["best_step"] or latest


def _require_results(folder: RunFolder, label_names: tuple[str, ...], params: Params) -> None:
    """Raises InputError where a finished run without a manifest contradicts itself.

    Its results name the hash of the parameters, its predictions the classes in their order.
    """
    expected = folder.results().best_hash if folder.results_path.exists() else None
    if expected and tree_hash(params) != expected:
        raise InputError(
            f"{folder.results_path}: best_hash is not that of the checkpoint that it names; "
            "restore the folder from a copy, or train the run again under another --exp"
        )
    predictions = folder.path / PREDICTIONS
    if predictions.is_file() and (names := read_predictions(predictions).names) != label_names:
        raise InputError(
            f"{folder.saved.path}: {LABELS}: found {listed(label_names)}, but {PREDICTIONS} has "
            f"{listed(names)}; restore them as they were"
        )
