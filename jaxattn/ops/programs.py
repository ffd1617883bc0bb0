"""Ahead-of-time compiled programs, one for every batch shape."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import PyTree

CPU_OPTIONS: dict[str, str | bool] = {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_disable_hlo_passes": "cse_barrier_expander",
}
"""Has the CPU compiler order operations to save memory, as the one for GPUs does.

Ordered for concurrency, its default, training steps with FAVOR+ and a large vocabulary stopped for
ever within ten steps on two cores (jax 0.10.2; products that share the thread pool wait for each
other); ordered like this they ran. It takes 10 to 20 % less memory and as much time (+-5 %).

Barriers stay in the program until it is ordered. The pass that is left out takes them away before,
and with them what `train.remat` saves: six blocks of width 256 with 2,048 tokens took 316 MiB, with
remat of blocks 427, and take 298 and 202 with barriers.
"""

GPU_OPTIONS: dict[str, str | bool] = {"xla_gpu_enable_triton_gemm": False}
"""Has cuBLASLt compute all products.

Otherwise XLA writes kernels of its own and times dozens of tilings for every product, which takes
most of the time of compiling; with `train.deterministic` it times none and takes the first tiling,
a small one.
"""

_OPTIONS = {"cpu": CPU_OPTIONS, "gpu": GPU_OPTIONS}


def compiled(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """The program that is run, and whose memory is told, everywhere in this package."""
    return lowered.compile(compiler_options=_OPTIONS.get(jax.default_backend()))


class Programs:
    """A function compiled once for every shape of its last argument.

    Ahead-of-time compilation keeps the time of compiling out of the time of training, and makes
    the number of programs a number that can be asserted.
    """

    def __init__(
        self,
        function: Callable[..., PyTree],
        donate: bool,
        place: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
    ) -> None:
        """Compiles nothing yet.

        Args:
          function: (first, batch) -> anything.
          donate: the first argument's buffers may be reused for the result.
          place: puts a batch where the program expects it; None: on the first device.
        """
        self.place = place or (lambda batch: batch)
        self._jitted = jax.jit(function, donate_argnums=(0,) if donate else ())
        self._compiled: dict[Any, Any] = {}

    @property
    def count(self) -> int:
        """Programs compiled so far."""
        return len(self._compiled)

    def has(self, batch: Mapping[str, Any]) -> bool:
        """Whether the program for this batch's shapes is there."""
        return self._shapes(batch) in self._compiled

    def lower(self, first: PyTree, batch: Mapping[str, Any]) -> jax.stages.Lowered:
        """The program for these shapes before it is compiled; arguments may be abstract."""
        return self._jitted.lower(first, batch)

    def compile(self, first: PyTree, batch: Mapping[str, Any]) -> jax.stages.Compiled:
        """Compiles for these shapes; the program, which is kept."""
        program = compiled(self.lower(first, self.place(batch)))
        self._compiled[self._shapes(batch)] = program
        return program

    def prepare(self, first: PyTree, batch: Mapping[str, Any]) -> None:
        """Compiles for these shapes unless that is done."""
        if not self.has(batch):
            self.compile(first, batch)

    def __call__(self, first: PyTree, batch: Mapping[str, Any]) -> PyTree:
        """Runs the program for this batch's shapes, compiling it if need be."""
        self.prepare(first, batch)
        return self._compiled[self._shapes(batch)](first, self.place(batch))

    @staticmethod
    def _shapes(batch: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple((name, batch[name].shape, str(batch[name].dtype)) for name in sorted(batch))
