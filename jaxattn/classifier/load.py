"""A trained classifier read from its run folder, and its report on a labelled corpus."""

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxattn.classifier.text_classifier import TextClassifier
from jaxattn.config import (
    Config,
    Scope,
    flatten,
    of_scope,
    read_yaml,
    replace,
    to_plain,
    write_yaml,
)
from jaxattn.data.read.columns import CLEANERS
from jaxattn.data.tokens.arrays import special_ids
from jaxattn.data.tokens.encode import encode
from jaxattn.data.tokens.wordpiece import load_tokenizer
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import ClassPredictor, Trained, make_predictor, with_draws
from jaxattn.files import entry
from jaxattn.model.heads import ClassifierModel
from jaxattn.model.keys import evaluation_attention_key
from jaxattn.ops.trees import flat_names, nested
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.parameters import params_of_run
from jaxattn.train.checkpoints import Checkpoints


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
    if folder.state == "finished" and folder.results_path.exists():
        step = folder.results().best_step
        if step is not None and step in checkpoints.steps():
            return step
    latest = checkpoints.latest()
    if latest is None:
        raise InputError(f"{folder.path}: no finished checkpoint to read")
    return checkpoints.document(latest)["tally"]["best_step"] or latest


def open_classifier(path: str | Path, options: Mapping[str, Any]) -> TextClassifier:
    """The classifier in the folder of a fine-tuning run, or in one that --mode=export wrote.

    Args:
      path: of the folder.
      options: of the section `predict`, dotted name -> value; the others are as they were saved.

    Raises:
      InputError: there is no classifier, or it cannot be read.
    """
    folder = Path(path)
    if (folder / "model.safetensors").is_file():
        pass

        config, names, tokenizer, trained = read_export(folder)
        return TextClassifier(replace(config, options), names, tokenizer, trained)
    from jaxattn.runs.folder import RunFolder
    from jaxattn.runs.kinds import KINDS

    whole = folder.absolute()
    if not (whole / KINDS["finetune"].config_file).is_file() or whole.parent.name != "finetune":
        if not whole.is_dir():
            raise InputError(f"{folder}: there is no such folder")
        raise InputError(
            f"{folder}: found no classifier; expected runs/finetune/<exp>, or a folder that "
            "--mode=export wrote"
        )
    pass

    read = load_classifier(RunFolder(whole.parent.parent, "finetune", whole.name))
    config = replace(read.config, options)
    return TextClassifier(config, read.label_names, read.tokenizer, read.trained)


FORMAT = 1

WEIGHTS = "model.safetensors"

CONFIG = "config.yaml"

TOKENIZER = "tokenizer.json"


def write_model(
    folder: Path, config: Config, label_names: tuple[str, ...], tokenizer: Any, trained: Trained
) -> None:
    """Writes weights, options and tokenizer into a folder that exists."""
    from safetensors.numpy import save

    weights = {name: np.asarray(leaf) for name, leaf in flat_names(trained.params).items()}
    data = save({name: np.ascontiguousarray(x) for name, x in weights.items()})
    # `save_file` makes a file that nobody else may read.
    (folder / WEIGHTS).write_bytes(data)
    key = np.asarray(jax.random.key_data(trained.attention_key)).tolist()
    about = {"label_names": list(label_names), "attention_key": key, "export_format": FORMAT}
    # Nothing here depends on the files of the machine where the run was made.
    options = flatten(to_plain(config)) | dict.fromkeys(of_scope(Config, Scope.MACHINE), "")
    write_yaml(folder / CONFIG, options | about)
    tokenizer.save(str(folder / TOKENIZER))


def read_export(folder: Path) -> tuple[Config, tuple[str, ...], Any, Trained]:
    """Options, names of the classes, tokenizer and parameters of an exported classifier.

    Raises:
      InputError: a file is missing, damaged, or of a later version of jaxattn.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / CONFIG
    config, extra = read_yaml(path)
    if extra.get("export_format") != FORMAT:
        raise InputError(
            f"{path}: export_format: found {extra.get('export_format')!r}, this version of jaxattn "
            f"reads {FORMAT}"
        )
    for name in ("label_names", "attention_key"):
        if not isinstance(extra.get(name), list):
            raise InputError(f"{path}: {name}: found {extra.get(name)!r}, expected a list")
    tokenizer = load_tokenizer(folder / TOKENIZER, config.tokenizer.lowercase)
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{folder / WEIGHTS}: not a readable safetensors file ({error})") from None
    key = jax.random.wrap_key_data(jax.numpy.array(extra["attention_key"], np.uint32))
    return config, tuple(map(str, extra["label_names"])), tokenizer, Trained(nested(weights), key)
