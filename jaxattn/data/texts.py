"""Many texts in bounded memory: UTF-8 in one buffer, large ones in a temporary file."""

import io
import mmap
import tempfile
from abc import abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from typing import IO, Generic, TypeVar, overload

import numpy as np

_IN_MEMORY = 2**26
"""Bytes of text that are kept in memory; what is more goes to a temporary file."""

T_co = TypeVar("T_co", covariant=True)


class Indexed(Sequence[T_co], Generic[T_co]):
    """A sequence by its length and its items at integers; a slice of it is a list."""

    @abstractmethod
    def at(self, index: int) -> T_co:
        """The item at an index."""

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> list[T_co]: ...

    def __getitem__(self, index: int | slice) -> T_co | list[T_co]:
        """One item, or a list of those of a slice."""
        if isinstance(index, slice):
            return [self.at(i) for i in range(*index.indices(len(self)))]
        return self.at(index)

    def __eq__(self, other: object) -> bool:
        """Whether `other` is a sequence of the same items."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # compared by content


class Texts(Indexed[str]):
    """Read-only texts; taking some of them, or joining several, copies none."""

    def __init__(
        self,
        buffers: Sequence[memoryview],
        which: np.ndarray,
        starts: np.ndarray,
        stops: np.ndarray,
    ) -> None:
        """Text i is `buffers[which[i]][starts[i]:stops[i]]`, UTF-8; int64 [n] each."""
        self._buffers, self._which = tuple(buffers), which
        self._starts, self._stops = starts, stops

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Texts":
        """These texts; ones that are in this form already are taken as they are."""
        if isinstance(texts, Texts):
            return texts
        writer = TextsWriter()
        for text in texts:
            writer.append(text)
        return writer.finish()

    @classmethod
    def joined(cls, parts: Sequence["Texts"]) -> "Texts":
        """The texts of all parts, one part after the other."""
        buffers = [buffer for part in parts for buffer in part._buffers]
        first = np.cumsum([0, *(len(part._buffers) for part in parts)])
        which = [part._which + start for part, start in zip(parts, first, strict=False)]
        empty = np.zeros(0, np.int64)
        return cls(
            buffers,
            np.concatenate([empty, *which]),
            np.concatenate([empty, *(part._starts for part in parts)]),
            np.concatenate([empty, *(part._stops for part in parts)]),
        )

    def take(self, indices: np.ndarray) -> "Texts":
        """The texts at int [m] indices, in that order."""
        return Texts(
            self._buffers, self._which[indices], self._starts[indices], self._stops[indices]
        )

    def encoded(self, index: int) -> memoryview:
        """Text `index` in UTF-8, not copied."""
        buffer: memoryview = self._buffers[self._which[index]]
        return buffer[self._starts[index] : self._stops[index]]

    @property
    def byte_lengths(self) -> np.ndarray:
        """Bytes of each text, int64 [n]."""
        result: np.ndarray = np.subtract(self._stops, self._starts)
        return result

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._starts)

    def at(self, index: int) -> str:
        """Text `index`."""
        return str(self.encoded(index), "utf-8")

    def __iter__(self) -> Iterator[str]:
        """The texts, decoded one at a time."""
        return (self.at(i) for i in range(len(self)))

    def __repr__(self) -> str:
        """How many there are, and the first."""
        first = f", the first {self[0][:40]!r}" if len(self) else ""
        return f"<{len(self)} texts{first}>"


class TextsWriter:
    """Collects texts one by one."""

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        """`in_memory`: bytes that are kept in memory; with more, all are in a temporary file."""
        self._file: IO[bytes] = io.BytesIO()
        self._in_memory, self._spilled = in_memory, False
        self._ends = array("q", [0])

    def append(self, text: str) -> None:
        """Adds a text; UnicodeEncodeError where it holds half of a surrogate pair."""
        raw = text.encode()
        self._file.write(raw)
        self._ends.append(self._ends[-1] + len(raw))
        if not self._spilled and self._ends[-1] > self._in_memory:
            held = self._file
            assert isinstance(held, io.BytesIO)
            # It has no name, so that nothing of it stays behind however the process ends.
            self._file, self._spilled = tempfile.TemporaryFile(), True  # noqa: SIM115
            self._file.write(held.getbuffer())

    def finish(self) -> Texts:
        """The texts collected; nothing can be added afterwards."""
        ends = np.array(self._ends, np.int64)
        if self._spilled:
            self._file.flush()
            with self._file as file:
                view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        else:
            assert isinstance(self._file, io.BytesIO)
            view = self._file.getbuffer()
        return Texts([view], np.zeros(len(ends) - 1, np.int64), ends[:-1], ends[1:])
