"""Python's garbage collector, out of the way while a program starts."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """No search for garbage meanwhile: modules that are being imported leave next to none.

    jax, flax and Orbax make over a hundred thousand objects that stay; to look through them again
    and again took an eighth of the processor's time of importing them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
