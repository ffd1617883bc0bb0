"""The vocabulary of a Hugging Face folder, read and written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxattn.config import Config
from jaxattn.data.tokens.arrays import special_ids, special_names
from jaxattn.data.tokens.byte_level import VOCAB
from jaxattn.data.tokens.wordpiece import load_tokenizer, save_tokenizer
from jaxattn.errors import InputError
from jaxattn.files import write_json
from jaxattn.interop.folder import read_document

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_ENTRIES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
"""What `transformers` calls the five special tokens, in the order of `SpecialIds`."""


def read_vocabulary(folder: Path) -> tuple["Tokenizer", bool]:
    """The vocabulary, and whether it lower-cases; vocab.txt needs tokenizer_config.json for that.

    BERT's own default is to lower-case.
    """
    lowercase, strip = True, "auto"
    path = folder / "tokenizer_config.json"
    if path.is_file():
        document = read_document(path)
        lowercase = bool(document.get("do_lower_case", True))
        if (given := document.get("strip_accents")) is not None:
            strip = "true" if given else "false"
        apart = document.get("tokenize_chinese_chars", True)
        if not apart and not (folder / "tokenizer.json").is_file():
            raise InputError(
                f"{path}: tokenize_chinese_chars: found {apart!r}, which a vocab.txt alone cannot "
                "have here; save the tokenizer with its tokenizer.json"
            )
    known = ("tokenizer.json", "vocab.txt", VOCAB)
    if not any((folder / name).is_file() for name in known):
        problem = f"{folder}: neither tokenizer.json nor vocab.txt in it"
        if models := sorted(folder.glob("*.model")):
            problem += (
                f", only {models[0].name}, which is not read here; write a tokenizer.json: python "
                f"-c \"from transformers import AutoTokenizer as A; A.from_pretrained('{folder}')"
                ".save_pretrained('<new folder>')\", and copy it beside the others"
            )
        raise InputError(problem)
    tokenizer = load_tokenizer(folder, lowercase, strip)
    _refuse_other_frame(tokenizer, folder)
    parts = json.loads(tokenizer.to_str())
    if parts["model"]["type"] != "WordPiece":
        return tokenizer, _lowercases(parts["normalizer"] or {})
    return tokenizer, bool((parts["normalizer"] or {}).get("lowercase", lowercase))


def _lowercases(normalizer: Mapping[str, Any]) -> bool:
    """Whether a normalizer of a tokenizer.json does, alone or among others."""
    several = normalizer.get("normalizers", ())
    return (
        normalizer.get("type") == "Lowercase"
        or bool(normalizer.get("lowercase"))
        or any(map(_lowercases, several))
    )


def _refuse_other_frame(tokenizer: "Tokenizer", folder: Path) -> None:
    """Raises InputError where special tokens are not those that we take for them."""
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    names = dict(zip(_ENTRIES, special_names(vocab), strict=True))
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        document = read_document(folder / file) if (folder / file).is_file() else {}
        for entry, name in names.items():
            told = document.get(entry) or name
            told = told.get("content") if isinstance(told, Mapping) else told
            if name and told != name:
                raise InputError(
                    f"{folder / file}: {entry}: found {told!r}, but the vocabulary has {name!r}, "
                    "which is taken for it here"
                )
    if tokenizer.post_processor is None:
        return
    bare, framed = (
        tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True)
    )
    special = special_ids(tokenizer)
    if framed != [special.cls, *bare, special.sep]:
        raise InputError(
            f"{folder}: its tokenizer makes of a text {framed}, expected {names['cls_token']}, "
            f"text, {names['sep_token']}: {[special.cls, *bare, special.sep]}"
        )


def write_vocabulary(folder: Path, tokenizer: "Tokenizer", config: Config, *, typed: bool) -> None:
    """Writes what `transformers` reads it from; `typed`: the model has types of tokens."""
    words = tokenizer.get_vocab(with_added_tokens=True)
    options: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    parts = json.loads(tokenizer.to_str())
    if parts["model"]["type"] == "WordPiece":
        options = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": config.tokenizer.lowercase,
        }
        # transformers goes by this file, not by its tokenizer.json.
        if (strip := (parts["normalizer"] or {}).get("strip_accents")) is not None:
            options["strip_accents"] = strip
        listed = "".join(f"{word}\n" for word in sorted(words, key=words.__getitem__))
        (folder / "vocab.txt").write_text(listed, encoding="utf-8")
    if not typed:
        options["model_input_names"] = ["input_ids", "attention_mask"]
    save_tokenizer(tokenizer, folder / "tokenizer.json")
    names = zip(_ENTRIES, special_names(words), strict=True)
    options |= {entry: name for entry, name in names if name}
    options["model_max_length"] = config.model.max_seq_len
    write_json(folder / "tokenizer_config.json", options)
