"""Trying a kernel once before it is used."""

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "OUT_OF_MEMORY")


class Probe:
    """A trial of a kernel, run once for each of its arguments: None, or what is wrong.

    An exception is what is wrong, too. It holds from then on unless the device had no memory left:
    that says nothing about the kernel, and the next call tries again.
    """

    def __init__(self, trial: Callable[..., str | None]) -> None:
        """`trial` returns None or what is wrong, or raises."""
        self._trial = trial
        self._verdicts: dict[tuple[Hashable, ...], str | None] = {}

    def __call__(self, *given: Hashable) -> str | None:
        """The verdict, remembered or new."""
        if given in self._verdicts:
            return self._verdicts[given]
        try:
            # The trial must run even while a caller is being traced: a thread of its own is not.
            # (Under `jax.ensure_compile_time_eval` a kernel's constants become arrays, which
            # Pallas refuses.)
            with ThreadPoolExecutor(1) as thread:
                verdict = thread.submit(self._trial, *given).result()
        except Exception as error:  # any failure of driver, library or compiler means: not here
            verdict = f"its probe failed ({type(error).__name__}: {_first_line(error)})"
            if _is_memory(error):
                return verdict
        self._verdicts[given] = verdict
        return verdict

    def cache_clear(self) -> None:
        """Forgets all verdicts."""
        self._verdicts.clear()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(word in str(error) for word in _MEMORY)
