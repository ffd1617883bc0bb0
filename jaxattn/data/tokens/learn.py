"""New WordPiece tokens, learned where a vocabulary splits the words of a text.

Learning goes on where the vocabulary stopped: the words are split as it splits them, and the pair
of neighbouring pieces that occurs most often becomes a token, again and again (byte pair encoding,
Sennrich et al. 2016, on pieces instead of characters).
"""

import dataclasses
import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

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
