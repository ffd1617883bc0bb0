"""Which pieces of a vocabulary continue a word."""

import json
import string
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BYTE_LEVEL_SPACES = "\u0120\u010a\u0109\u010d"
"""Space, line feed, tab and carriage return in the alphabet of byte-level vocabularies."""

_UNIGRAM_SPACE = "\u2581"


def continuing(tokenizer: "Tokenizer") -> np.ndarray:
    """bool [V]: True for what continues the word of the token before it.

    A word piece says so with ##. Byte pairs and SentencePiece mark where a word begins: what is
    neither marked nor punctuation continues one.
    """
    vocab = tokenizer.get_vocab()
    model = json.loads(tokenizer.to_str())["model"]
    if model["type"] == "BPE" and model["merges"]:
        beginnings = _BYTE_LEVEL_SPACES
    elif model["type"] == "Unigram":
        beginnings = _UNIGRAM_SPACE
    else:
        beginnings = ""
    result = np.zeros(len(vocab), bool)
    for token, number in vocab.items():
        if beginnings:
            result[number] = token[:1] not in beginnings + string.punctuation
        else:
            result[number] = token.startswith("##")
    return result
