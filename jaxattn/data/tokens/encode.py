"""Texts to the rows a model reads, and what got lost on the way."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxattn.config import DataConfig, PredictConfig, TokenizerConfig
from jaxattn.data.tokens.arrays import CutRows, SpecialIds, TokenArray, special_ids
from jaxattn.data.tokens.fast import TextEncoder
from jaxattn.data.tokens.tokenise import tokenised
from jaxattn.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNKNOWN_LIMIT = 0.05

# A piece shorter than this teaches an MLM little.
_SHORTEST_PIECE = 8

# Sun et al. 2019 ("How to Fine-Tune BERT", 5.3.1) keep 128 tokens of the head and 382 of the tail.
_HEAD_SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class EncodeStats:
    """What encoding did to a corpus.

    Attributes:
        tokens: ids in all rows, [CLS] and [SEP] included.
        unknown_share: share of [UNK] among the ids of the whole texts.
        truncated_share: share of texts that lost a part.
    """

    tokens: int
    unknown_share: float
    truncated_share: float


def encode(
    tokenizer: "Tokenizer",
    texts: Sequence[str],
    max_length: int,
    *,
    truncate: str = "head",
    cache: Path | None = None,
) -> tuple[CutRows, EncodeStats]:
    """[CLS] text [SEP] for each text; of a text beyond `max_length` tokens a part is kept.

    Args:
        tokenizer: of the model.
        texts: n texts.
        max_length: tokens of a row at most.
        truncate: the part: "head", "tail", or "head_tail", a quarter from the head, the rest
            from the tail.
        cache: where ids are kept, see `tokenised`.
    """
    flat = tokenised(tokenizer, texts, cache)
    rows, too_long_n = cut_rows(flat, special_ids(tokenizer), max_length, truncate)
    return rows, _stats(tokenizer, flat, rows, int(too_long_n.sum()))


def cut_rows(
    flat: TokenArray, special: SpecialIds, max_length: int, truncate: str
) -> tuple[CutRows, np.ndarray]:
    """One row for each tokenised text, and bool [n], which were too long; see `encode`."""
    room, sizes_n = max_length - 2, flat.lengths
    head = {"head": room, "tail": 0, "head_tail": int(_HEAD_SHARE * room)}[truncate]
    too_long_n = sizes_n > room
    # Where all fits, the first part is the whole text and the second is empty.
    first_n = np.where(too_long_n, head, sizes_n)
    second_n = np.where(too_long_n, room - head, 0)
    starts_n2 = np.stack([flat.offsets[:-1], flat.offsets[1:] - second_n], axis=1)
    sizes_n2 = np.stack([first_n, second_n], axis=1)
    return CutRows(flat.ids, starts_n2, sizes_n2, special.cls, special.sep), too_long_n


def window_rows(
    flat: TokenArray, special: SpecialIds, max_length: int, overlap: int
) -> tuple[CutRows, np.ndarray, np.ndarray]:
    """All of every tokenised text: rows of at most `max_length` tokens, neighbours overlapping.

    A text that is too long for one row is read in windows of full length; the last one ends where
    the text does.

    Args:
        flat: n texts.
        special: ids of [CLS] and [SEP].
        max_length: tokens of a row at most, those two included.
        overlap: tokens that a window shares with the one before, at least; fewer than fit a row.

    Returns:
        r rows; int64 [r], the text of each, rising; bool [n], which texts have more than one.
    """
    room, sizes_n = max_length - 2, flat.lengths
    step = room - overlap
    count_n = 1 + np.maximum(-(-(sizes_n - room) // step), 0)
    text_r = np.repeat(np.arange(len(flat)), count_n)
    place_r = np.arange(len(text_r)) - np.repeat(np.cumsum(count_n) - count_n, count_n)
    size_r = np.minimum(sizes_n[text_r], room)
    start_r = flat.offsets[:-1][text_r] + np.minimum(place_r * step, sizes_n[text_r] - size_r)
    starts_r2 = np.stack([start_r, np.zeros_like(start_r)], axis=1)
    sizes_r2 = np.stack([size_r, np.zeros_like(size_r)], axis=1)
    return (
        CutRows(flat.ids, starts_r2, sizes_r2, special.cls, special.sep), text_r, sizes_n > room,
    )  # fmt: skip


def encode_pieces(
    tokenizer: "Tokenizer", texts: Sequence[str], max_length: int, *, cache: Path | None = None
) -> tuple[CutRows, EncodeStats]:
    """For the MLM: each text as consecutive pieces of at most `max_length` tokens, nothing lost.

    Every piece is wrapped in [CLS] and [SEP]. Where the last one would have fewer than 8 tokens of
    text, the one before gives it some of its own.
    """
    flat = tokenised(tokenizer, texts, cache)
    room = max_length - 2
    least = min(_SHORTEST_PIECE, room // 2)
    sizes_n = flat.lengths
    pieces_n = np.maximum(-(-sizes_n // room), 1)
    last_p = np.cumsum(pieces_n) - 1
    text_p = np.repeat(np.arange(len(flat)), pieces_n)
    place_p = np.arange(len(text_p)) - np.repeat(last_p - pieces_n + 1, pieces_n)
    start_p = place_p * room
    short_n = (pieces_n > 1) & (sizes_n - (pieces_n - 1) * room < least)
    start_p[last_p[short_n]] = sizes_n[short_n] - least
    stop_p = np.append(start_p[1:], 0)
    stop_p[last_p] = sizes_n
    size_p = stop_p - start_p
    starts_p2 = np.stack([flat.offsets[:-1][text_p] + start_p, np.zeros_like(start_p)], axis=1)
    rows = _rows(tokenizer, flat, starts_p2, np.stack([size_p, np.zeros_like(size_p)], axis=1))
    return rows, _stats(tokenizer, flat, rows, 0)


def _rows(
    tokenizer: "Tokenizer", flat: TokenArray, starts_n2: np.ndarray, sizes_n2: np.ndarray
) -> CutRows:
    special = special_ids(tokenizer)
    return CutRows(flat.ids, starts_n2, sizes_n2, special.cls, special.sep)


def _stats(tokenizer: "Tokenizer", flat: TokenArray, rows: CutRows, truncated: int) -> EncodeStats:
    unknown = int(np.count_nonzero(flat.ids == special_ids(tokenizer).unk))
    return EncodeStats(
        int(rows.lengths.sum()),
        unknown / max(len(flat.ids), 1),
        truncated / max(len(flat), 1),
    )


def unknown_warning(stats: EncodeStats, advice: str) -> str | None:
    """A sentence for the user if more than 5 % of the text is [UNK], else None.

    `advice`: what can be done, as `unknown_advice` has it.
    """
    if stats.unknown_share <= UNKNOWN_LIMIT:
        return None
    return (
        f"{stats.unknown_share:.1%} of the tokens are [UNK] (more than {UNKNOWN_LIMIT:.0%}): "
        f"{advice}"
    )


def unknown_advice(options: TokenizerConfig, size: int, *, inherited: bool) -> str:
    """Why a vocabulary does not know a text, and what can still be done.

    Args:
        options: those of the vocabulary.
        size: of it.
        inherited: whether it is that of an earlier stage.
    """
    if inherited:
        return (
            "the vocabulary of the pretrained run does not fit this text; add to it what is "
            "missing (tokenizer.extend=2000), or start from an encoder of this language"
        )
    if options.path:
        return (
            f"the vocabulary of tokenizer.path = {options.path} does not fit this text; leave "
            "tokenizer.path empty, and one is trained on it"
        )
    # What is left out where there was room for more is too rare.
    if size < options.vocab_size and options.min_frequency > 1:
        more = f"tokenizer.min_frequency=1 keeps what occurs once (it is {options.min_frequency})"
    elif size >= options.vocab_size:
        more = f"a larger tokenizer.vocab_size (it is {options.vocab_size}) has room for more"
    else:
        more = "more training texts have more of them"
    what = "words" if options.kind == "words" else "characters"
    return (
        f"the vocabulary lacks {what} of this text; {more}, and with tokenizer.kind=bytes nothing "
        "is unknown"
    )


class Reading(NamedTuple):
    """What a classifier reads of n texts.

    rows: r rows, r >= n. text: int64 [r], the text of each row, rising. long: bool [n], texts that
    do not fit into one row.
    """

    rows: CutRows
    text: np.ndarray
    long: np.ndarray


class TextReader:
    """Reads texts as training did, or in windows."""

    def __init__(self, tokenizer: "Tokenizer", data: DataConfig, predict: PredictConfig) -> None:
        """Raises InputError where windows would not get on."""
        if predict.long == "window" and predict.overlap >= data.max_length - 2:
            raise InputError(
                f"predict.overlap: found {predict.overlap}, allowed: less than the "
                f"{data.max_length - 2} tokens of text that a window holds"
            )
        self._data, self._predict = data, predict
        self.special = special_ids(tokenizer)
        self._encoder = TextEncoder(tokenizer.to_str(), np.dtype(np.int32).name)

    def read(self, texts: Sequence[str]) -> Reading:
        """The rows of these texts, without mark-up already; they are held in memory."""
        found = self._encoder.encode(list(texts))
        flat = TokenArray.from_rows([np.frombuffer(raw, np.int32) for raw in found])
        length = self._data.max_length
        if self._predict.long == "window":
            return Reading(*window_rows(flat, self.special, length, self._predict.overlap))
        rows, long = cut_rows(flat, self.special, length, self._data.truncate)
        return Reading(rows, np.arange(len(rows)), long)
