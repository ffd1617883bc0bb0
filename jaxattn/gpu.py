"""Which GPU JAX would use, asked of NVIDIA's driver: a client of JAX would take hold of it."""

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

_Answer = TypeVar("_Answer")

_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")
"""Without one of them JAX uses the CPU, whatever GPU there is."""


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A GPU by its name as the driver has it, and its memory in GB."""

    name: str
    memory_gb: float


def first_gpu(environment: Mapping[str, str]) -> Gpu | None:
    """The NVIDIA GPU that a process with this environment would train on; None: another device.

    It is asked of the package nvidia-ml-py, which the CUDA extras bring; without it None, too.
    """
    platform = environment.get("JAX_PLATFORMS", "").split(",")[0]
    # Set and empty, the second hides all GPUs.
    is_hidden = environment.get("CUDA_VISIBLE_DEVICES") == ""
    if platform not in ("", "cuda", "gpu") or is_hidden:
        return None
    if not any(map(importlib.util.find_spec, _PLUGINS)):
        return None

    def found(pynvml: Any) -> Gpu:
        handle = nvml_handle(pynvml, 0, environment)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total / 1e9
        return Gpu(pynvml.nvmlDeviceGetName(handle), memory)

    return ask_driver(found)


def ask_driver(question: Callable[[Any], _Answer]) -> _Answer | None:
    """What the driver's library `pynvml` answers; None without it, a driver or an answer."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return question(pynvml)
    except (pynvml.NVMLError, OSError, ValueError, IndexError):
        return None


def nvml_handle(pynvml: Any, number: int, environment: Mapping[str, str]) -> Any:
    """The library's handle of JAX's device `number`: it does not know CUDA_VISIBLE_DEVICES.

    Raises:
      ValueError, IndexError: the variable does not name that device.
    """
    visible = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    name = visible[number] if visible != [""] else str(number)
    if name.startswith(("GPU-", "MIG-")):
        return pynvml.nvmlDeviceGetHandleByUUID(name)
    return pynvml.nvmlDeviceGetHandleByIndex(int(name))
