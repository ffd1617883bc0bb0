"""The precision of a run, settled once: what is built and what is saved never says "auto"."""

import jax

from jaxattn.config import AUTO_PRECISION, Config, replace
from jaxattn.console import say
from jaxattn.train.precision import automatic_precision


def settled(config: Config, tell: bool = True) -> Config:
    """`config` with the precision this device is made for where it says "auto".

    A mode calls it before it builds anything from the options of a run that is to begin; a run that
    goes on has what it was begun with (`SavedOptions.continued`). Parents of other processes
    do not: it takes hold of the device.

    Args:
      config: of the run.
      tell: say what was chosen, and why.
    """
    if config.train.precision != AUTO_PRECISION:
        return config
    precision, reason = automatic_precision(jax.devices()[0])
    if tell:
        say(f"precision: {precision} ({reason})")
    return replace(config, {"train.precision": precision})
