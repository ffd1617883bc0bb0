"""Subwords of a domain, appended to a WordPiece vocabulary.

Learning goes on where the vocabulary stopped: the words of the texts are split as it splits them,
and the pair of neighbouring pieces that occurs most often becomes a token, again and again (byte
pair encoding, Sennrich et al. 2016, on pieces instead of characters). Old tokens keep their ids.
"""

import dataclasses
import heapq
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxattn.config import TokenizerConfig
from jaxattn.data.wordpiece import tokenizer_from_json
from jaxattn.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MOST_CHARACTERS = 50_000_000
"""Of a larger corpus so many characters are read, in texts evenly spaced over it."""
_SAMPLE_CHARACTERS = 5_000_000
_RAREST_CHARACTER = 1e-5
"""Share of words that a missing character has to occur in: rarer ones are not worth a token."""


@dataclasses.dataclass(frozen=True)
class WordPieces:
    """How WordPiece splits a word: from the left, always the longest token that fits.

    Attributes:
        vocab: the tokens.
        prefix: what a token begins with that continues a word.
        longest: characters of the longest word that is split at all.
    """

    vocab: Collection[str]
    prefix: str
    longest: int

    def split(self, word: str, *, inside: bool = False) -> tuple[str, ...] | None:
        """The pieces; None for [UNK]. `inside`: `word` is itself the continuation of a word."""
        if len(word) > self.longest:
            return None
        pieces: list[str] = []
        start = 0
        while start < len(word):
            prefix = self.prefix if start or inside else ""
            for end in range(len(word), start, -1):
                piece = prefix + word[start:end]
                if piece in self.vocab:
                    break
            else:
                return None
            pieces.append(piece)
            start = end
        return tuple(pieces)

    def bare(self, token: str) -> tuple[str, bool]:
        """The characters that a token stands for, and whether they continue a word."""
        inside = token.startswith(self.prefix)
        return token.removeprefix(self.prefix) if inside else token, inside


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


def _pieces(whole: Mapping) -> WordPieces:
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


def learned_tokens(
    pieces: WordPieces, counts: Mapping[str, int], count: int, min_frequency: int
) -> list[str]:
    """Up to `count` new tokens for words of these counts, in the order in which they were made.

    First the characters for want of which words are [UNK] (at most a quarter of the tokens, each in
    one of 100,000 words), then merged pairs. A token that later ones leave without use (fewer than
    `min_frequency`) is dropped. Ties go by the text of the tokens.
    """
    characters = _missing_characters(pieces, counts, count // 4, min_frequency)
    known = {*pieces.vocab, *characters}
    state = _Splits(dataclasses.replace(pieces, vocab=known), counts)
    made, used = list(characters), list(characters)
    while len(used) < count:
        pair = state.most_frequent_pair(min_frequency)
        if pair is None:
            break
        token = pair[0] + pair[1].removeprefix(pieces.prefix)
        known.add(token)
        made.append(token)
        state.split_again(token)
        used = [token for token in made if state.uses[token] >= min_frequency]
    return used[:count]


def _missing_characters(
    pieces: WordPieces, counts: Mapping[str, int], most: int, min_frequency: int
) -> list[str]:
    """Forms c and ##c that are no tokens, the most frequent in [UNK] words first."""
    least = max(min_frequency, _RAREST_CHARACTER * sum(counts.values()))
    missing: Counter[str] = Counter()
    for word, frequency in counts.items():
        if len(word) <= pieces.longest and pieces.split(word) is None:
            forms = {pieces.prefix * (place > 0) + char for place, char in enumerate(word)}
            missing.update({form: frequency for form in forms if form not in pieces.vocab})
    ranked = sorted(missing, key=lambda form: (-missing[form], form))
    return [form for form in ranked if missing[form] >= least][:most]


class _Splits:
    """The words as they are split now, and how often pieces and pairs of pieces occur."""

    def __init__(self, pieces: WordPieces, counts: Mapping[str, int]) -> None:
        """Splits every word; what is [UNK] is left out."""
        self.pieces = pieces
        self.words = sorted(counts)
        self.counts = [counts[word] for word in self.words]
        self.splits: list[tuple[str, ...]] = [()] * len(self.words)
        self.uses: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.holders: dict[str, set[int]] = defaultdict(set)
        self.heap: list[tuple[int, tuple[str, str]]] = []
        changed = set()
        for index in range(len(self.words)):
            changed |= self._resplit(index)
        self._rank(changed)

    def most_frequent_pair(self, least: int) -> tuple[str, str] | None:
        """The pair that occurs most often; None where none occurs `least` times."""
        while self.heap:
            negative, pair = heapq.heappop(self.heap)
            # Counts change after they were ranked; what is true now has been ranked too.
            if self.pairs[pair] == -negative:
                return pair if -negative >= least else None
        return None

    def split_again(self, token: str) -> None:
        """Splits the words anew that a new token may change."""
        bare, inside = self.pieces.bare(token)
        prefix = self.pieces.prefix * inside
        # Where the token fits now, one of its beginnings stood before.
        starts = (prefix + bare[:end] for end in range(1, len(bare)))
        candidates = set().union(*(self.holders[start] for start in starts))
        changed = set()
        for index in sorted(candidates):
            if bare in self.words[index]:
                changed |= self._resplit(index)
        self._rank(changed)

    def _resplit(self, index: int) -> set[tuple[str, str]]:
        """Splits one word anew; returns the pairs whose counts changed."""
        old, new = self.splits[index], self.pieces.split(self.words[index]) or ()
        if old == new:
            return set()
        self.splits[index] = new
        for split, weight in ((old, -self.counts[index]), (new, self.counts[index])):
            for piece in split:
                self.uses[piece] += weight
            for pair in itertools.pairwise(split):
                self.pairs[pair] += weight
        for piece in old:
            self.holders[piece].discard(index)
        for piece in new:
            self.holders[piece].add(index)
        return {pair for split in (old, new) for pair in itertools.pairwise(split)}

    def _rank(self, pairs: set[tuple[str, str]]) -> None:
        for pair in pairs:
            if self.pairs[pair] > 0:
                heapq.heappush(self.heap, (-self.pairs[pair], pair))


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
    unk = tokenizer.token_to_id("[UNK]")
    sample = _spread(texts, _SAMPLE_CHARACTERS)
    encodings = tokenizer.encode_batch_fast(sample, add_special_tokens=False)
    ids = np.concatenate([np.asarray(encoding.ids, np.int64) for encoding in encodings])
    unknown = int(np.count_nonzero(ids == unk))
    return {
        "tokens_per_text": len(ids) / len(sample),
        "unknown_share": unknown / max(len(ids), 1),
    }
