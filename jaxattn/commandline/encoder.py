"""The configuration that --data takes from nothing: its encoder is one that fits the device."""

from collections.abc import Mapping

from jaxattn.gpu import first_gpu
from jaxattn.request import Mode

ON_CPU, ON_GPU = "own", "own_gpu"
"""Files, not flags of the architecture: learning rate and steps are other ones for each stage, and
a flag of a study tells all its stages the same."""

_TRAINING = ("study", "recipe", "pretrain", "plan")
"""Modes that begin with an encoder from nothing; to the others it makes no difference."""

_ENOUGH_GB = 12.0
"""A step of 32 texts of 1,024 tokens: 4 GB at most with cuDNN on an H200, and older GPUs keep the
scores of exact attention."""


def fitting_file(mode: Mode, environment: Mapping[str, str]) -> tuple[str, str]:
    """The name of the configuration, and why it is that one; "" where the mode trains nothing."""
    if mode.name not in _TRAINING:
        return ON_CPU, ""
    gpu = first_gpu(environment)
    if gpu is None:
        return ON_CPU, "no GPU: an encoder of two blocks"
    seen = f"{gpu.name}, {gpu.memory_gb:.0f} GB"
    if gpu.memory_gb < _ENOUGH_GB:
        return (
            ON_CPU,
            f"{seen}, of {_ENOUGH_GB:.0f} needed for BERT_SMALL: an encoder of two blocks",
        )
    return ON_GPU, f"{seen}: BERT_SMALL, four blocks, and more steps; --config=own has two blocks"
