"""The built-in corpus of nested list operations: ListOps of Long Range Arena, made here.

Nangia and Bowman (2018) ask for the value of `[MAX 4 3 [MIN 2 3 ] 1 0 ]`; Tay et al. (2020) made
it long: up to 10 arguments, trees of up to 10 levels, 500 to 2000 tokens, ten classes, 96,000 /
2,000 / 2,000 expressions. Their files have parentheses that their reader takes out; here there are
none from the start, which leaves the same 15 tokens: ten digits, four operators that carry their
opening bracket, and the closing one. The expressions are drawn anew: as theirs in kind, not the
same ones.

Expression i of a split is the same on every machine and whatever the size asked for. Trees are
drawn, measured and evaluated level by level in arrays: a million tokens take a tenth of a second.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxattn.config import DataConfig
from jaxattn.data.read.rows import Rows, read_rows
from jaxattn.data.read.tables import table_of_texts
from jaxattn.files import whole

SIZES = {"train": 96_000, "validation": 2_000, "test": 2_000}

WORDS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "[MAX", "[MIN", "[MED", "[SM", "]")

MIN_TOKENS, MAX_TOKENS = 500, 2000

MAX_DEPTH, MAX_ARGUMENTS = 10, 10
"""The root is on level 1; on level 10 there are only digits."""

# An argument is an operation once in four times, as in the authors' program: two bits are zero.
_OPERATION_BITS = np.uint64(62)

_DIGITS, _CLOSE = 10, 14

_CANDIDATES = 2048

# Part of the name of cached files; to be raised when other expressions come out.
_VERSION = 1

_KEY = 0x6C6973746F7073


class _Level(NamedTuple):
    """The nodes of one level of many trees; the arguments of an operation follow each other."""

    arguments: np.ndarray  # int64 [n], 0 for a digit
    choice: np.ndarray  # int64 [n], the digit or the number of the operator


class Expressions(NamedTuple):
    """Expressions one after the other: tokens int8 [total], offsets int64 [n + 1], values [n]."""

    tokens: np.ndarray
    offsets: np.ndarray
    values: np.ndarray

    def text(self, index: int) -> str:
        """Expression `index` with blanks between its tokens."""
        tokens = self.tokens[self.offsets[index] : self.offsets[index + 1]]
        return " ".join(map(WORDS.__getitem__, tokens.tolist()))


def expressions(split: str) -> Iterator[Expressions]:
    """The expressions of a split in portions, without end."""
    number, portion = list(SIZES).index(split), 0
    while True:
        # The counter leaves 2**128 numbers to each portion. Only raw bits are promised to be the
        # same under every NumPy.
        stream = np.random.Philox(
            key=np.array([_KEY, _VERSION], np.uint64),
            counter=np.array([0, 0, portion, number], np.uint64),
        )
        levels, lengths = _drawn(stream)
        yield _written(levels, lengths)
        portion += 1


def _drawn(stream: np.random.Philox) -> tuple[list[_Level], np.ndarray]:
    """Trees of a length that is allowed, level by level, and their lengths in tokens."""
    levels: list[tuple[_Level, np.ndarray]] = []
    owner = np.arange(_CANDIDATES)
    lengths = np.zeros(_CANDIDATES, np.int64)
    for depth in range(1, MAX_DEPTH + 1):
        bits = stream.random_raw(len(owner))
        operation = (bits >> _OPERATION_BITS) == 0
        if depth in (1, MAX_DEPTH):
            operation[:] = depth == 1
        spread = ((bits >> np.uint64(32)) & np.uint64(2**30 - 1)) * np.uint64(MAX_ARGUMENTS - 1)
        arguments = np.where(operation, 2 + (spread >> np.uint64(30)).astype(np.int64), 0)
        kinds = np.where(operation, np.uint64(4), np.uint64(_DIGITS))
        choice = ((bits & np.uint64(2**32 - 1)) * kinds >> np.uint64(32)).astype(np.int64)
        levels.append((_Level(arguments, choice), owner))
        lengths += np.bincount(owner, 1 + operation, _CANDIDATES).astype(np.int64)
        owner = np.repeat(owner, arguments)
    kept = (lengths >= MIN_TOKENS) & (lengths <= MAX_TOKENS)
    return [
        _Level(level.arguments[kept[owner]], level.choice[kept[owner]]) for level, owner in levels
    ], lengths[kept]


def _written(levels: list[_Level], lengths: np.ndarray) -> Expressions:
    """The trees evaluated from their leaves up, and written from their roots down."""
    values, sizes = _evaluated(levels)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.zeros(offsets[-1], np.int8)
    places = offsets[:-1]
    for depth, level in enumerate(levels):
        inner = level.arguments > 0
        tokens[places[~inner]] = level.choice[~inner]
        tokens[places[inner]] = _DIGITS + level.choice[inner]
        tokens[places[inner] + sizes[depth][inner] - 1] = _CLOSE
        if depth + 1 < len(levels):
            counts = level.arguments[inner]
            before = np.cumsum(sizes[depth + 1]) - sizes[depth + 1]
            first = np.cumsum(counts) - counts
            places = before + np.repeat(places[inner] + 1 - before[first], counts)
    return Expressions(tokens, offsets, values)


def _evaluated(levels: list[_Level]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The values of the roots, and the number of tokens below each node of each level."""
    values = sizes = np.zeros(0, np.int64)
    all_sizes = []
    for level in reversed(levels):
        counts = level.arguments[level.arguments > 0]
        value, size = level.choice.copy(), np.ones_like(level.choice)
        if len(counts):
            inner = np.flatnonzero(level.arguments)
            first = np.cumsum(counts) - counts
            size[inner] = 2 + np.add.reduceat(sizes, first)
            value[inner] = _applied(level.choice[inner], values, counts, first)
        values, sizes = value, size
        all_sizes.append(size)
    return values, all_sizes[::-1]


def _applied(
    operators: np.ndarray, values: np.ndarray, counts: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """Each operator on its `counts` values from `first` on.

    Of an even number of values the median is the mean of the middle two, rounded down.
    """
    ordered = values[np.lexsort((values, np.repeat(np.arange(len(counts)), counts)))]
    median = (ordered[first + (counts - 1) // 2] + ordered[first + counts // 2]) // 2
    largest, smallest = ordered[first + counts - 1], ordered[first]
    return np.choose(
        operators, [largest, smallest, median, np.add.reduceat(values, first) % _DIGITS]
    )


def listops_file(split: str, count: int, cache: Path) -> Path:
    """A Parquet file (text, label) of the first `count` expressions, made where it is missing.

    Raises:
        OSError: the folder cannot be written to.
    """
    import pyarrow
    import pyarrow.parquet

    file = cache / f"listops-v{_VERSION}-{split}-{count}.parquet"
    if file.is_file():
        return file
    cache.mkdir(parents=True, exist_ok=True)
    schema = pyarrow.schema([("text", pyarrow.string()), ("label", pyarrow.int8())])
    with (
        whole(file) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for texts, values in _portions(split, count):
            writer.write_table(pyarrow.table([texts, values], schema=schema))
    return file


def size_of(split: str, max_examples: int) -> int:
    """Expressions of a split when `data.max_examples` are asked for (0: all)."""
    return min(SIZES[split], max_examples) if max_examples else SIZES[split]


def in_memory(split: str, count: int) -> Rows:
    """The rows of a split where no file can be kept."""
    drawn = (row for portion in _portions(split, count) for row in zip(*portion, strict=True))
    texts = (
        (f"listops {split} row", number, text, value)
        for number, (text, value) in enumerate(drawn, 1)
    )
    return read_rows(table_of_texts("listops", texts), DataConfig())


def _portions(split: str, count: int) -> Iterator[tuple[list[str], list[int]]]:
    """Texts and values of the first `count` expressions of a split, some hundred at a time."""
    for portion in expressions(split):
        values = portion.values[:count].tolist()
        yield [portion.text(index) for index in range(len(values))], values
        count -= len(values)
        if not count:
            return
