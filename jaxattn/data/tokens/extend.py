"""Subwords of a domain, appended to a WordPiece vocabulary; old tokens keep their ids."""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxattn.config import TokenizerConfig
from jaxattn.data.tokens.arrays import special_ids
from jaxattn.data.tokens.learn import WordPieces, learned_tokens
from jaxattn.data.tokens.wordpiece import tokenizer_from_json
from jaxattn.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MOST_CHARACTERS = 50_000_000
"""Of a larger corpus so many characters are read, in texts evenly spaced over it."""

_SAMPLE_CHARACTERS = 5_000_000


def refuse_extension(config: TokenizerConfig) -> None:
    """Raises InputError where a vocabulary is to be extended that is not inherited."""
    for name in ("extend", "extra_tokens"):
        if getattr(config, name):
            raise InputError(
                f"tokenizer.{name}: found {getattr(config, name)!r}, allowed only where a "
                "vocabulary is inherited: in TAPT, or in fine-tuning from a pretrained run"
            )


def extended(tokenizer: "Tokenizer", texts: Sequence[str], config: TokenizerConfig) -> "Tokenizer":
    """`tokenizer` with the tokens of `config.extra_tokens` and then `config.extend` learned ones.

    The same texts in any order give the same vocabulary (of more than 50 million characters, only
    in the same order). It is learned with fewer where no pair occurs `config.min_frequency` times.

    Raises:
        InputError: the vocabulary is no WordPiece, or the file of tokens is not as it must be.
    """
    whole = json.loads(tokenizer.to_str())
    pieces = _pieces(whole)
    vocab: dict[str, int] = whole["model"]["vocab"]
    known = set(tokenizer.get_vocab(with_added_tokens=True))
    added = read_extra_tokens(config.extra_tokens, tokenizer) if config.extra_tokens else []
    added = [token for token in dict.fromkeys(added) if token not in known]
    if config.extend:
        pieces = dataclasses.replace(pieces, vocab=known | set(added))
        counts = word_counts(tokenizer, texts)
        added += learned_tokens(pieces, counts, config.extend, config.min_frequency)
    first = tokenizer.get_vocab_size(with_added_tokens=True)
    vocab.update({token: first + number for number, token in enumerate(added)})
    return tokenizer_from_json(json.dumps(whole))


def _pieces(whole: dict[str, Any]) -> WordPieces:
    model = whole["model"]
    if model.get("type") != "WordPiece":
        raise InputError(
            f"tokenizer.extend: this vocabulary is of type {model.get('type')}; only a WordPiece "
            "vocabulary can be extended"
        )
    prefix, longest = model["continuing_subword_prefix"], model["max_input_chars_per_word"]
    return WordPieces(model["vocab"], prefix, longest)


def _words(tokenizer: "Tokenizer", text: str) -> list[str]:
    """The words of a text as the tokenizer normalises and separates them."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def read_extra_tokens(path: str, tokenizer: "Tokenizer") -> list[str]:
    """The tokens of a file: one word or ##subword a line, normalised as the tokenizer's texts are.

    Raises:
        InputError: no such file, or a line that no word of a text could ever match.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"tokenizer.extra_tokens: cannot read {path}: {error}") from None
    pieces = _pieces(json.loads(tokenizer.to_str()))
    tokens = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        bare, inside = pieces.bare(line.strip())
        words = _words(tokenizer, bare)
        if len(words) != 1:
            raise InputError(
                f"tokenizer.extra_tokens: {path} line {number}: {line.strip()!r} is {len(words)} "
                "words to this tokenizer, expected one"
            )
        tokens.append(pieces.prefix * inside + words[0])
    return tokens


def word_counts(tokenizer: "Tokenizer", texts: Sequence[str]) -> Counter[str]:
    """How often each word occurs in `texts`."""
    counts: Counter[str] = Counter()
    for text in _spread(texts, _MOST_CHARACTERS):
        counts.update(_words(tokenizer, text))
    return counts


def _spread(texts: Sequence[str], characters: int) -> list[str]:
    """The texts, or of more about so many characters, evenly spaced: files are often sorted."""
    share = min(1.0, characters / max(1, sum(len(text) for text in texts)))
    count = max(1, int(share * len(texts)))
    places = np.linspace(0, len(texts) - 1, count).round().astype(int)
    return [texts[place] for place in places]


def origins(before: "Tokenizer", after: "Tokenizer") -> list[list[int]]:
    """For each token that `after` has more, the ids into which `before` splits it ([UNK]: its id).

    In the order of their ids, which follow those of `before`.

    Raises:
        InputError: `after` does not begin with the tokens of `before`.
    """
    old, new = (t.get_vocab(with_added_tokens=True) for t in (before, after))
    if any(new.get(token) != number for token, number in old.items()):
        raise InputError("tokenizer: the vocabulary is not that of the pretrained run, extended")
    more = sorted(new.keys() - old.keys(), key=new.__getitem__)
    if not more:
        return []
    whole = json.loads(before.to_str())
    pieces = _pieces(whole)
    unknown = (whole["model"]["unk_token"],)
    found = []
    for token in more:
        bare, inside = pieces.bare(token)
        found.append([old[piece] for piece in pieces.split(bare, inside=inside) or unknown])
    return found


def usage(tokenizer: "Tokenizer", texts: Sequence[str]) -> dict[str, float]:
    """Tokens a text needs, without [CLS] and [SEP], and the share of [UNK].

    Of a large corpus 5 million characters are looked at, in texts evenly spaced over it.
    """
    unk = special_ids(tokenizer).unk
    sample = _spread(texts, _SAMPLE_CHARACTERS)
    encodings = tokenizer.encode_batch_fast(sample, add_special_tokens=False)
    ids = np.concatenate([np.asarray(encoding.ids, np.int64) for encoding in encodings])
    unknown = int(np.count_nonzero(ids == unk))
    return {
        "tokens_per_text": len(ids) / len(sample),
        "unknown_share": unknown / max(len(ids), 1),
    }
