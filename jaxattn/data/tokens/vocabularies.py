"""New tokenizers of every kind: word pieces (`wordpiece`), bytes, and words between blanks.

All are `tokenizers.Tokenizer`s with the same five special tokens, so that encoding, saving and
loading know no kinds.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxattn.config import TokenizerConfig
from jaxattn.data.tokens.arrays import SPECIAL_TOKENS
from jaxattn.data.tokens.tokenise import chunks
from jaxattn.data.tokens.wordpiece import finished, train_wordpiece
from jaxattn.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def new_tokenizer(texts: Sequence[str], config: TokenizerConfig) -> "Tokenizer":
    """A tokenizer of `tokenizer.kind`, made from these texts; bytes need none.

    Raises:
        InputError: the texts hold nothing to make a vocabulary of.
    """
    if config.kind == "bytes":
        return byte_tokenizer()
    if config.kind == "words":
        return word_tokenizer(texts, config)
    return train_wordpiece(texts, config)


def byte_tokenizer() -> "Tokenizer":
    """Every byte of a text's UTF-8 is one token: byte b has id 5 + b, and nothing is unknown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
    vocab |= {_character(byte): len(SPECIAL_TOKENS) + byte for byte in range(256)}
    # Without merges, byte-pair encoding leaves the bytes as they are.
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return finished(tokenizer, vocab)


def _character(byte: int) -> str:
    """The visible character that stands for a byte in the library's byte-level alphabet.

    Bytes that are visible in Latin-1 stand for themselves, the others get code points from 256 on
    in their order.
    """
    hidden = [b for b in range(256) if not (33 <= b <= 126 or 161 <= b <= 172 or b >= 174)]
    return chr(256 + hidden.index(byte)) if byte in hidden else chr(byte)


def word_tokenizer(texts: Sequence[str], config: TokenizerConfig) -> "Tokenizer":
    """Whatever stands between blanks is one token; the most frequent words, equal ones by name.

    Raises:
        InputError: no word occurs `tokenizer.min_frequency` times.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    counts: Counter[str] = Counter()
    for chunk in chunks(texts):
        for text in chunk:
            counts.update((text.lower() if config.lowercase else text).split())
    for token in SPECIAL_TOKENS:
        counts.pop(token, None)
    known = [word for word in counts if counts[word] >= config.min_frequency]
    if not known:
        raise InputError(
            "tokenizer: no word of the training texts occurs tokenizer.min_frequency = "
            f"{config.min_frequency} times"
        )
    known.sort(key=lambda word: (-counts[word], word))
    kept = known[: config.vocab_size - len(SPECIAL_TOKENS)]
    vocab = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *kept])}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocab, unk_token="[UNK]"))
    # "[MASK]" written in a text is a word that nobody knows, not the special token.
    names = "|".join(token.strip("[]") for token in SPECIAL_TOKENS)
    written = normalizers.Replace(Regex(rf"(?<!\S)\[({names})\](?!\S)"), "[UNK]")
    lower = [normalizers.Lowercase()] if config.lowercase else []
    tokenizer.normalizer = normalizers.Sequence([*lower, written])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return finished(tokenizer, vocab)
