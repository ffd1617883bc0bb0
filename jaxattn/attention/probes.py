"""Which kernels serve here: trying one once before it is used, and telling what was decided."""

import functools
import logging
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from jaxattn.memory import out_of_memory

Ref = Any
"""Memory that a Pallas kernel reads and writes; JAX has no public type for it."""

TRUSTED = False
"""Set where programs are compiled for a GPU that is not at hand: no trial can run, and every kernel
is taken to work."""


@functools.cache
def triton() -> Any:
    """Pallas' Triton dialect, which JAX has up to 0.11; None: there is none."""
    try:
        from jax.experimental.pallas import triton
    except ImportError:
        return None
    return triton


def how_compiled(interpret: bool, warps: int, stages: int) -> dict[str, Any]:
    """Arguments of `pallas_call`: kernels are emulated, or compiled with so many warps."""
    if interpret:
        return {"interpret": True}
    return {"compiler_params": triton().CompilerParams(num_warps=warps, num_stages=stages)}


def is_recent(device: jax.Device) -> bool:
    """Whether it is a CUDA GPU of compute capability 8.0 or more; other makers' is a word."""
    capability = str(getattr(device, "compute_capability", ""))
    return TRUSTED or (capability.replace(".", "", 1).isdigit() and float(capability) >= 8.0)


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
        if TRUSTED:
            return None
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
            if out_of_memory(error):
                return verdict
        self._verdicts[given] = verdict
        return verdict


def wrong_numbers(errors: list[float]) -> str | None:
    """What a trial says of the relative errors of its results; bfloat16 keeps them near 0.01."""
    # Each is compared: `max` passes over NaN.
    right = all(error < 0.05 for error in errors)
    return None if right else f"its probe gave wrong numbers (errors {errors})"


@functools.cache
def say_once(text: str, level: int = logging.INFO) -> None:
    """Logs what was decided, once for each text."""
    logging.getLogger("jaxattn.attention").log(level, text)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
