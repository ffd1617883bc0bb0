"""A run's encoder and heads as a folder that `transformers` loads."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxattn.config import Config
from jaxattn.data.tokens.arrays import special_ids
from jaxattn.errors import InputError
from jaxattn.files import whole, write_json
from jaxattn.interop.families import MODEL_TYPES
from jaxattn.interop.family import ENCODER, MLM_HEAD, POOLER, Family, Parts
from jaxattn.interop.folder import CONFIG, WEIGHTS
from jaxattn.interop.options import document_of, refuse_other_architecture
from jaxattn.interop.tensors import Params, flatten_names, to_theirs
from jaxattn.interop.vocabulary import write_vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def write_published(
    folder: Path,
    config: Config,
    params: Params,
    tokenizer: "Tokenizer",
    *,
    model_type: str = "bert",
    label_names: Sequence[str] = (),
    origin: str,
) -> list[str]:
    """Writes config.json, model.safetensors and the vocabulary, whole or not at all.

    Args:
      folder: must not exist yet.
      config: of the run.
      params: its parameters: the encoder, and whatever there is of MLM head, pooler, classifier.
      tokenizer: its vocabulary.
      model_type: of the family that it is written as.
      label_names: classes, where there is a classifier.
      origin: the run, for messages and for the file's metadata.

    Returns:
      The classes of `transformers` that load it, the whole one first.

    Raises:
      InputError: the folder exists, or the run is nothing that the family could compute.
    """
    from safetensors.numpy import save

    family = MODEL_TYPES[model_type]
    refuse_other_architecture(config, family, origin)
    head = family.classifier
    if label_names and (config.head.pooling, config.head.pooler) != ("cls", head.pooler):
        raise InputError(
            f"{origin}: head.pooling: found {config.head.pooling!r} with head.pooler = "
            f"{config.head.pooler!r}; a Hugging Face {family.name} classifies by 'cls' with "
            f"{head.pooler!r}"
        )
    kind = json.loads(tokenizer.to_str())["model"]["type"]
    if family.word_pieces and kind != "WordPiece":
        raise InputError(f"{origin}: its tokens are no word pieces, which a {family.name}'s are")
    if folder.exists():
        raise InputError(f"--output={folder} exists already; give a new folder")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"--output={folder}: its folder does not exist")
    special = special_ids(tokenizer)
    every = family.tensors(config.model, family.first_position(special.pad))
    document = document_of(config, model_type, tokenizer.get_vocab_size(), special, origin)
    arrays = _tensors(config, params, family, every, bool(label_names), origin)
    called = family.model_types[model_type]
    loads = [f"{called}ForMaskedLM", f"{called}Model"]
    if label_names:
        loads = [f"{called}ForSequenceClassification", f"{called}Model"]
        document |= {
            "id2label": {str(number): name for number, name in enumerate(label_names)},
            "label2id": {name: number for number, name in enumerate(label_names)},
            head.dropout: config.head.dropout,
        }
    document["architectures"] = loads[:1]
    # `save_file` makes a file that nobody else may read.
    weights = save(arrays, {"format": "pt", "origin": origin})
    with whole(folder) as temporary:
        temporary.mkdir()
        (temporary / WEIGHTS).write_bytes(weights)
        write_json(temporary / CONFIG, document)
        write_vocabulary(temporary, tokenizer, config, typed=family.token_types > 1)
    return loads


def _tensors(
    config: Config, params: Params, family: Family, every: Parts, classifies: bool, origin: str
) -> dict[str, np.ndarray]:
    if family.token_types and not config.model.token_types:
        embeddings = params["encoder"]["embeddings"]
        # Zeros change nothing: there it cannot be left out.
        width = embeddings["tokens"]["embedding"].shape[1]
        nothing = np.zeros((family.token_types, width), np.float32)
        embeddings = {**embeddings, "token_type_table": nothing}
        params = {**params, "encoder": {**params["encoder"], "embeddings": embeddings}}
    if classifies:
        wanted = [*every[ENCODER], *family.classifier.tensors]
    else:
        wanted = every[ENCODER] + every[MLM_HEAD]
        wanted += every[POOLER] if "pooler" in params else []
    placed = {"/".join(tensor.ours) for tensor in wanted}
    others = sorted(name for name in flatten_names(params) if name not in placed)
    if others:
        raise InputError(
            f"{origin}: {others[0]} has no place in a Hugging Face {family.name}, which would "
            "compute something else without it; what adapts a run has to be merged into it first"
        )
    return to_theirs(params, wanted)
