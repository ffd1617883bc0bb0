"""A run's encoder and heads as a folder that `transformers` loads."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxattn.config import Config
from jaxattn.data.tokens.arrays import SPECIAL_TOKENS, special_ids
from jaxattn.data.tokens.wordpiece import save_tokenizer
from jaxattn.errors import InputError
from jaxattn.files import whole, write_json
from jaxattn.interop.bert_config import ABSENT_TOKEN_TYPES, document_of, refuse_other_family
from jaxattn.interop.bert_folder import CONFIG, WEIGHTS
from jaxattn.interop.bert_names import (
    ENCODER,
    MLM_HEAD,
    POOLER,
    Params,
    Tensor,
    flatten_names,
    tensors,
    to_theirs,
)

CLASSIFIER = [
    Tensor(("classifier", "kernel"), "classifier.weight", "CD", transposed=True),
    Tensor(("classifier", "bias"), "classifier.bias", "C"),
]


def write_bert(
    folder: Path,
    config: Config,
    params: Params,
    tokenizer: Any,
    *,
    label_names: Sequence[str] = (),
    origin: str,
) -> list[str]:
    """Writes config.json, model.safetensors and the vocabulary, whole or not at all.

    Args:
      folder: must not exist yet.
      config: of the run.
      params: its parameters: the encoder, and whatever there is of MLM head, pooler, classifier.
      tokenizer: its vocabulary, of word pieces.
      label_names: classes, where there is a classifier.
      origin: the run, for messages and for the file's metadata.

    Returns:
      The classes of `transformers` that load it, the whole one first.

    Raises:
      InputError: the folder exists, or the run is nothing that a Hugging Face BERT could compute.
    """
    from safetensors.numpy import save

    refuse_other_family(config, origin)
    if label_names and (config.head.pooling, config.head.pooler) != ("cls", "bert"):
        raise InputError(
            f"{origin}: head.pooling: found {config.head.pooling!r} with head.pooler = "
            f"{config.head.pooler!r}; a Hugging Face BERT classifies by 'cls' with 'bert'"
        )
    if json.loads(tokenizer.to_str())["model"]["type"] != "WordPiece":
        raise InputError(f"{origin}: its tokens are no word pieces, which a BERT's are")
    if folder.exists():
        raise InputError(f"--output={folder} exists already; give a new folder")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"--output={folder}: its folder does not exist")
    arrays, vocab_size = _tensors(config, params, label_names, origin), tokenizer.get_vocab_size()
    document = document_of(config, vocab_size, special_ids(tokenizer).pad)
    loads = ["BertForMaskedLM", "BertModel"]
    if label_names:
        loads = ["BertForSequenceClassification", "BertModel"]
        document |= {
            "id2label": {str(number): name for number, name in enumerate(label_names)},
            "label2id": {name: number for number, name in enumerate(label_names)},
            "classifier_dropout": config.head.dropout,
        }
    document["architectures"] = loads[:1]
    # `save_file` makes a file that nobody else may read.
    weights = save(arrays, {"format": "pt", "origin": origin})
    with whole(folder) as temporary:
        temporary.mkdir()
        (temporary / WEIGHTS).write_bytes(weights)
        write_json(temporary / CONFIG, document)
        _write_vocabulary(temporary, tokenizer, config)
    return loads


def _tensors(
    config: Config, params: Params, label_names: Sequence[str], origin: str
) -> dict[str, np.ndarray]:
    model, every = config.model, tensors(config.model.num_layers)
    if not model.token_types:
        embeddings = params["encoder"]["embeddings"]
        # Zeros change nothing: there it cannot be left out.
        nothing = np.zeros((ABSENT_TOKEN_TYPES, model.hidden_dim), np.float32)
        embeddings = {**embeddings, "token_type_table": nothing}
        params = {**params, "encoder": {**params["encoder"], "embeddings": embeddings}}
    wanted = every[ENCODER] + (CLASSIFIER if label_names else every[MLM_HEAD])
    wanted += every[POOLER] if "pooler" in params else []
    placed = {"/".join(tensor.ours) for tensor in wanted}
    others = sorted(name for name in flatten_names(params) if name not in placed)
    if others:
        raise InputError(
            f"{origin}: {others[0]} has no place in a Hugging Face BERT, which would compute "
            "something else without it; what adapts a run has to be merged into it first"
        )
    return to_theirs(params, wanted)


def _write_vocabulary(folder: Path, tokenizer: Any, config: Config) -> None:
    words = tokenizer.get_vocab(with_added_tokens=True)
    listed = sorted(words, key=words.__getitem__)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in listed), encoding="utf-8")
    save_tokenizer(tokenizer, folder / "tokenizer.json")
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": config.tokenizer.lowercase,
            "model_max_length": config.model.max_seq_len,
            **dict(zip(names, SPECIAL_TOKENS, strict=True)),
        },
    )
