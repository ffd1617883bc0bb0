"""What a run ran on: versions, device, memory, git state."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxattn.attention.favor import attention as favor
from jaxattn.attention.favor.sums import FeatureMap
from jaxattn.attention.sdpa import attention as sdpa
from jaxattn.config import Config, FavorOptions, SdpaOptions
from jaxattn.gpu import ask_driver, nvml_handle
from jaxattn.memory import free_memory
from jaxattn.model.heads import COMPUTE_DTYPES

PACKAGES = (
    "jaxattn",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "tokenizers",
    "datasets",
    "grain",
    "numpy",
    "scipy",
    "scikit-learn",
)


VERSIONS = ("jaxattn", "jax", "jaxlib", "flax", "optax", "numpy")
"""Packages whose versions may change a bit of the result."""

DEVICE = ("device", "device_kind", "device_count")
"""Entries of what `describe` gives that may; the device's name says how many cores a CPU has."""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """A git answer about the source tree that this package was loaded from, or None."""
    try:
        result = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def device_name() -> str:
    """The device the program runs on, with the number of CPU cores where that decides the speed."""
    device = jax.devices()[0]
    return cpu_name() if device.platform == "cpu" else device.device_kind


def cpu_name() -> str:
    """The CPU cores this process may use."""
    cores = cpu_cores()
    return f"cpu ({cores} core{'' if cores == 1 else 's'}, {platform.machine()})"


def cpu_cores() -> int:
    """How many CPU cores this process may use."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return found or 1


def resident_memory() -> float:
    """Peak resident memory of this process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def peak_memory() -> tuple[float, str]:
    """Peak memory in MiB since the process began, and its kind.

    "device": allocated on the accelerator. "resident": of the whole process, where the CPU is the
    device and JAX keeps no count of its own.
    """
    statistics = jax.devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return statistics["peak_bytes_in_use"] / 2**20, "device"
    return resident_memory(), "resident"


def available_memory() -> int:
    """Bytes that this process can still allocate on the device (on a CPU: in main memory)."""
    statistics = jax.devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        result: int = statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
        return result
    return free_memory()


def inexact(config: Config) -> str | None:
    """Why steps that are repeated may give other bits on this device; None: they do not."""
    if jax.default_backend() == "cpu" or config.train.deterministic:
        return None
    return (
        "with train.deterministic = False the fastest kernels of this device are taken, and a run "
        "that is repeated may differ in its last bits"
    )


def attention_implementations(config: Config) -> dict[str, str]:
    """How exact attention or FAVOR+ is computed at each length that batches are padded to, and why.

    "auto" is settled here by the very rule that the model follows; empty for an attention that has
    no such option. Of several in turn "sdpa:xla,performer_favor:fused (...)".
    """
    model, used, prompt = config.model, config.attention.used, config.peft.prompt_tokens
    # What fused kernels cannot do is computed in another way, packed texts among it.
    plain = model.positions != "relative" and not config.data.packing
    dtype = COMPUTE_DTYPES[config.train.precision]
    widths = (model.head_width, model.head_width)

    def chosen(options: SdpaOptions | FavorOptions, length: int) -> tuple[str, str]:
        if isinstance(options, FavorOptions):
            features = FeatureMap(options.features, options.count(model.head_width))
            return favor.choose(
                options.implementation, features, dtype=dtype, widths=widths, plain=plain
            )
        return sdpa.choose(
            options.implementation,
            dtype=dtype,
            widths=widths,
            lengths=(length + prompt, length + prompt),
            plain=plain and not model.attention_dropout,
        )

    def told(length: int) -> str:
        found = {name: chosen(options, length) for name, options in several.items()}
        if len(used) == 1:
            return "{} ({})".format(*found.popitem()[1])
        ways = ",".join(f"{name}:{way}" for name, (way, _) in found.items())
        return f"{ways} ({'; '.join(reason for _, reason in found.values())})"

    several = {n: own for n, own in used.items() if isinstance(own, SdpaOptions | FavorOptions)}
    return {str(length): told(length) for length in config.data.buckets} if several else {}


def describe(config: Config) -> dict[str, Any]:
    """The contents of environment.json."""
    status = _git("status", "--porcelain")
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: _version(name) for name in PACKAGES},
        "device": device_name(),
        "device_kind": jax.devices()[0].platform,
        "device_count": jax.device_count(),
        "precision": config.train.precision,
        "attention_implementations": attention_implementations(config),
        "seed": config.train.seed,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
    }


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

    def meter(pynvml: Any) -> Callable[[], float]:
        handles = [nvml_handle(pynvml, device.local_hardware_id, os.environ) for device in devices]

        def joules() -> float:
            counts = (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles)
            return JOULES * float(sum(counts))

        # Older GPUs count nothing, which the first question shows.
        joules()
        return joules

    return ask_driver(meter)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What may make the bits differ, of what `describe` gave: versions, cores, device, as lines."""
    pairs = [(name, before.get(name), now.get(name)) for name in DEVICE]
    versions = before.get("versions")
    old = versions if isinstance(versions, Mapping) else {}
    pairs += [(name, old.get(name), now["versions"].get(name)) for name in VERSIONS]
    return [f"{name} was {was}, is {is_now}" for name, was, is_now in pairs if was != is_now]
