"""From texts to token ids with a tokenizer, in bounded memory, and what got lost on the way."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxattn.data.tokens import TokenArray, special_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNKNOWN_LIMIT = 0.05

_CHUNK = 256
# A piece shorter than this teaches an MLM little.
_SHORTEST_PIECE = 8


def chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts, some hundred at a time: what the tokenizer works on in parallel."""
    for start in range(0, len(texts), _CHUNK):
        yield list(texts[start : start + _CHUNK])


@dataclasses.dataclass(frozen=True)
class EncodeStats:
    """What encoding did to a corpus.

    Attributes:
        tokens: ids kept, [CLS] and [SEP] included.
        unknown_share: share of [UNK] among the kept ids of text.
        truncated_share: share of texts that lost their end.
    """

    tokens: int
    unknown_share: float
    truncated_share: float


def _stats(tokens: TokenArray, unk: int, truncated: int, texts: int) -> EncodeStats:
    words = len(tokens.ids) - 2 * len(tokens)
    unknown = int(np.count_nonzero(tokens.ids == unk))
    return EncodeStats(len(tokens.ids), unknown / max(words, 1), truncated / max(texts, 1))


def _plain_ids(tokenizer: "Tokenizer", texts: Sequence[str]) -> Iterator[np.ndarray]:
    """The ids of each text, int32 [length], without [CLS] and [SEP]."""
    for chunk in chunks(texts):
        for encoding in tokenizer.encode_batch_fast(chunk, add_special_tokens=False):
            yield np.asarray(encoding.ids, np.int32)


def encode(
    tokenizer: "Tokenizer", texts: Sequence[str], max_length: int
) -> tuple[TokenArray, EncodeStats]:
    """[CLS] text [SEP] for each text; the end of a text beyond `max_length` tokens is cut."""
    special, room = special_ids(tokenizer), max_length - 2
    rows, truncated = [], 0
    for ids in _plain_ids(tokenizer, texts):
        truncated += len(ids) > room
        rows.append(np.concatenate([[special.cls], ids[:room], [special.sep]], dtype=np.int32))
    tokens = TokenArray.from_rows(rows)
    return tokens, _stats(tokens, special.unk, truncated, len(texts))


def encode_pieces(
    tokenizer: "Tokenizer", texts: Sequence[str], max_length: int
) -> tuple[TokenArray, EncodeStats]:
    """For the MLM: each text as consecutive pieces of at most `max_length` tokens, nothing lost.

    Every piece is wrapped in [CLS] and [SEP]. Where the last one would have fewer than 8 tokens of
    text, the one before gives it some of its own.
    """
    special, room = special_ids(tokenizer), max_length - 2
    least = min(_SHORTEST_PIECE, room // 2)
    rows = []
    for ids in _plain_ids(tokenizer, texts):
        cuts = [*range(0, max(len(ids), 1), room), len(ids)]
        if len(cuts) > 2 and cuts[-1] - cuts[-2] < least:
            cuts[-2] = cuts[-1] - least
        rows += [
            np.concatenate([[special.cls], ids[start:stop], [special.sep]], dtype=np.int32)
            for start, stop in itertools.pairwise(cuts)
        ]
    tokens = TokenArray.from_rows(rows)
    return tokens, _stats(tokens, special.unk, 0, len(texts))


def unknown_warning(stats: EncodeStats) -> str | None:
    """A sentence for the user if more than 5 % of the text is [UNK], else None."""
    if stats.unknown_share <= UNKNOWN_LIMIT:
        return None
    return (
        f"{stats.unknown_share:.1%} of the tokens are [UNK] (more than {UNKNOWN_LIMIT:.0%}): the "
        "vocabulary does not fit this text; train one on it (tokenizer.path empty)"
    )
