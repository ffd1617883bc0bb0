"""A step that does not fit the memory: the same batch in more micro-batches, where that is asked.

The gradient is that of the whole batch as before, up to rounding and to what is drawn for each
micro-batch: dropout, projections, hashes.
"""

import gc
from collections.abc import Callable
from typing import TypeVar

from jaxattn.config import TrainConfig
from jaxattn.console import say
from jaxattn.memory import out_of_memory
from jaxattn.stages.room import DoesNotFit

T = TypeVar("T")


def in_parts_that_fit(
    attempt: Callable[[int | None], T],
    train: TrainConfig,
    devices: int,
    stage: str,
    parts: int | None,
) -> T:
    """What `attempt` returns, in as many micro-batches as it takes to fit.

    Args:
      attempt: trains from the latest checkpoint on, in so many micro-batches a step; None: in those
        of the options.
      train: of the run: whether to try, and from how many on.
      devices: over which each micro-batch is spread evenly.
      stage: what is trained, for the line that says so.
      parts: micro-batches of the latest checkpoint, where those of the options did not fit before.

    Raises:
      Exception: what `attempt` raised, where more do not help, or it was no lack of memory.
    """
    while True:
        try:
            return attempt(parts)
        except Exception as error:
            more = _more(train, devices, parts) if _lacks_memory(error, train) else None
            if more is None:
                raise
            parts = more
            say(f"{stage}: out of memory; going on with train.accumulation={parts}")
        # The arrays of the failed attempt are held by its error until here.
        gc.collect()


def _lacks_memory(error: Exception, train: TrainConfig) -> bool:
    is_it = isinstance(error, DoesNotFit) or out_of_memory(error)
    return is_it and train.on_oom == "halve"


def _more(train: TrainConfig, devices: int, parts: int | None) -> int | None:
    """At least twice as many micro-batches as `parts`; None where the batch has not so many."""
    fewest = 2 * (parts or train.accumulation)
    fitting = (
        number
        for number in range(fewest, train.batch_size + 1)
        if train.batch_size % (number * devices) == 0
    )
    return next(fitting, None)
