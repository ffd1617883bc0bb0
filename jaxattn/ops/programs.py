"""Ahead-of-time compiled programs, one for every batch shape."""

from collections.abc import Callable, Mapping
from typing import Any

import jax


class Programs:
    """A function compiled once for every shape of its last argument.

    Ahead-of-time compilation keeps the time of compiling out of the time of training, and makes
    the number of programs a number that can be asserted.
    """

    def __init__(self, function: Callable[..., Any], donate: bool) -> None:
        """`donate`: the first argument's buffers may be reused for the result."""
        self._jitted = jax.jit(function, donate_argnums=(0,) if donate else ())
        self._compiled: dict[Any, Any] = {}

    @property
    def count(self) -> int:
        """Programs compiled so far."""
        return len(self._compiled)

    def has(self, batch: Mapping[str, Any]) -> bool:
        """Whether the program for this batch's shapes is there."""
        return self._shapes(batch) in self._compiled

    def compile(self, first: Any, batch: Mapping[str, Any]) -> None:
        """Compiles for these shapes."""
        self._compiled[self._shapes(batch)] = self._jitted.lower(first, batch).compile()

    def __call__(self, first: Any, batch: Mapping[str, Any]) -> Any:
        """Runs the program for this batch's shapes, compiling it if need be."""
        if not self.has(batch):
            self.compile(first, batch)
        return self._compiled[self._shapes(batch)](first, batch)

    @staticmethod
    def _shapes(batch: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple((name, batch[name].shape, str(batch[name].dtype)) for name in sorted(batch))
