"""The energy that the GPUs of this process have used, as NVIDIA's management library counts it."""

import os
from collections.abc import Callable
from typing import Any

import jax

JOULES = 1e-3
"""In a millijoule, which the library counts in."""


def energy_meter() -> Callable[[], float] | None:
    """A function that gives the joules used by the local GPUs since some moment; None without one.

    The count is of whole devices: of another process on the same GPU too. It needs `pynvml` (of
    the package nvidia-ml-py) and a GPU of the Volta generation or newer.
    """
    devices = [device for device in jax.local_devices() if device.platform == "gpu"]
    if not devices:
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handles = [_handle(pynvml, device.local_hardware_id) for device in devices]

        def joules() -> float:
            return sum(JOULES * pynvml.nvmlDeviceGetTotalEnergyConsumption(h) for h in handles)

        joules()
    except (pynvml.NVMLError, OSError, ValueError, IndexError):
        return None
    return joules


def _handle(pynvml: Any, number: int) -> Any:
    """The library's handle of JAX's device `number`: it does not know CUDA_VISIBLE_DEVICES.

    Raises:
      ValueError, IndexError: the variable does not name that device.
    """
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    name = visible[number] if visible != [""] else str(number)
    if name.startswith(("GPU-", "MIG-")):
        return pynvml.nvmlDeviceGetHandleByUUID(name)
    return pynvml.nvmlDeviceGetHandleByIndex(int(name))
