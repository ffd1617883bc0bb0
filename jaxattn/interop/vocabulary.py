"""The vocabulary of a Hugging Face folder, read and written."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from jaxattn.config import Config
from jaxattn.data.tokens.arrays import SPECIAL_TOKENS
from jaxattn.data.tokens.wordpiece import load_tokenizer, save_tokenizer
from jaxattn.errors import InputError
from jaxattn.files import write_json
from jaxattn.interop.folder import read_document

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def read_vocabulary(folder: Path) -> tuple["Tokenizer", bool]:
    """The vocabulary, and whether it lower-cases; vocab.txt needs tokenizer_config.json for that.

    BERT's own default is to lower-case.
    """
    lowercase = True
    path = folder / "tokenizer_config.json"
    if path.is_file():
        document = read_document(path)
        lowercase = bool(document.get("do_lower_case", True))
        other = [
            name
            for name, usual in (("strip_accents", None), ("tokenize_chinese_chars", True))
            if document.get(name, usual) != usual
        ]
        if other and not (folder / "tokenizer.json").is_file():
            raise InputError(
                f"{path}: {other[0]}: found {document[other[0]]!r}, which a vocab.txt alone cannot "
                "have here; save the tokenizer with its tokenizer.json"
            )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        raise InputError(f"--input={folder}: neither tokenizer.json nor vocab.txt in it")
    tokenizer = load_tokenizer(folder, lowercase)
    normalizer = json.loads(tokenizer.to_str())["normalizer"] or {}
    return tokenizer, bool(normalizer.get("lowercase", lowercase))


def write_vocabulary(folder: Path, tokenizer: "Tokenizer", config: Config) -> None:
    """Writes what `transformers` reads it from."""
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
