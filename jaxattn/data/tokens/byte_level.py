"""Byte-level byte-pair encodings as GPT-2 and RoBERTa publish them: vocab.json with merges.txt."""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxattn.data.tokens.arrays import OTHER_NAMES
from jaxattn.errors import InputError
from jaxattn.files import read_object

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCAB, MERGES = "vocab.json", "merges.txt"


def read_byte_level(vocab: Path) -> "Tokenizer":
    """RoBERTa's pipeline around a vocab.json and the merges.txt beside it.

    A tokenizer_config.json beside them says whether a text begins as if a space stood before it
    (`add_prefix_space`); it does not where nothing is said. Special tokens are those of RoBERTa
    that the vocabulary has.

    Raises:
        InputError: a file is missing, or is none of its kind.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    merges, options = vocab.with_name(MERGES), vocab.with_name("tokenizer_config.json")
    if not merges.is_file():
        raise InputError(f"tokenizer.path: {vocab} needs {MERGES} beside it, which is not there")
    try:
        model = models.BPE.from_file(str(vocab), str(merges))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"tokenizer.path: {vocab} with {merges}: {error}") from None
    told = read_object(options) if options.is_file() else {}
    prefix_space = bool(told.get("add_prefix_space", False))
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    known = tokenizer.get_vocab()
    _, _, cls, sep, mask = OTHER_NAMES
    tokenizer.add_special_tokens(
        # Of a mask the space before it is part, in a text that has one.
        [AddedToken(name, lstrip=name == mask) for name in OTHER_NAMES if name in known]
    )
    if cls in known and sep in known:
        tokenizer.post_processor = processors.RobertaProcessing(
            (sep, known[sep]), (cls, known[cls]), trim_offsets=True, add_prefix_space=prefix_space
        )
    return tokenizer
