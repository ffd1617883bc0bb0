"""What is measured with: versions, the device, its rates, what a call from Python costs.

    python -m benchmarks.gpu.environment --out environment.json [--tiny]

Products of float32 are not measured: choosing a kernel for large ones takes XLA half a minute.
"""

import platform
import subprocess
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.device_time import compile_for_device, device_kernels, wall_seconds
from benchmarks.gpu.record import Part, main

PACKAGES = (
    "jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "flax", "optax", "numpy", "torch",
    "transformers", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13", "nvidia-cublas", "triton",
)  # fmt: skip
QUERY = "name,driver_version,clocks.sm,clocks.mem,power.limit,temperature.gpu,memory.used"
LOOPS = 200


def version(package: str) -> str | None:
    """The installed version; None if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def nvidia_smi() -> str:
    """What the driver tells of the GPUs; "" where there is no driver."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def body(part: Part) -> None:
    """All of it takes seconds."""
    part.note("nvidia-smi", nvidia_smi() or "no driver answers")
    part.note("versions", {"python": platform.python_version()} | {p: version(p) for p in PACKAGES})
    device = jax.devices()[0]
    part.note("device", f"{device.platform} {device.device_kind}")
    part.note("memory", device.memory_stats(), show=False)
    elements, size = (2**12, 256) if part.tiny else (2**29, 8192)
    rng = np.random.default_rng(0)
    small = jnp.zeros(8)
    large = jnp.zeros(elements, jnp.float32)
    square = jnp.asarray(rng.normal(size=(size, size)), jnp.bfloat16)
    # The shapes of one feed-forward product of BERT_SMALL.
    rows = 64 if part.tiny else 16_384
    tokens, weights = (
        jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for shape in ((rows, 512), (512, 2048))
    )
    jobs: dict[str, tuple[Callable[..., Any], tuple[jax.Array, ...]]] = {
        "call": (lambda x: x + 1, (small,)),
        "loop": (lambda x: jax.lax.fori_loop(0, LOOPS, lambda i, x: jnp.sin(x) + i, x), (small,)),
        "copy": (lambda x: x + 1, (large,)),
        "product": (lambda x: x @ x, (square,)),
        "small product": (lambda x, y: x @ y, (tokens, weights)),
    }
    runs = {}
    for name, (function, arguments) in jobs.items():
        program, _ = compile_for_device(jax.jit(function).lower(*arguments))
        runs[name] = partial(program, *arguments)
    wall = wall_seconds(runs, seconds=2.0, repeats=5)
    part.note("us of a call of a jitted function", round(1e6 * wall["call"], 2))
    part.note(f"us of a kernel in a loop of {LOOPS}", round(1e6 * wall["loop"] / LOOPS, 2))
    part.note("TB/s of a copy, read and written", round(2 * large.nbytes / wall["copy"] / 1e12, 3))
    part.note(f"TFLOP/s of {size}^2 bfloat16", round(2 * size**3 / wall["product"] / 1e12, 1))
    kernels = part.attempt("trace", lambda: device_kernels(runs, calls=5)) or {}
    device_us = {
        name: round(1e6 * sum(kernel.seconds for kernel in found), 2)
        for name, found in kernels.items()
    }
    part.note("us on the device", device_us)
    if us := device_us.get("small product"):
        rate = 2 * rows * 512 * 2048 / us / 1e6
        part.note(f"TFLOP/s of {rows} x 512 x 2048 bfloat16, on the device", round(rate, 1))


if __name__ == "__main__":
    main(body)
