"""What read-only sequences that hold no Python list have in common."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar, overload

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
