"""Where the time of training steps goes: by part of the model, and the dearest kernels."""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from benchmarks.gpu.device_time import Kernel, Run, by_kernel_name, device_kernels
from benchmarks.gpu.record import Part
from jaxattn.profile.trace import part as part_of
from jaxattn.profile.trace import scopes

DEAREST = 12
KEPT = 60
UNKNOWN = "(not known)"
_PRODUCT = re.compile(r"gemm|nvjet|cutlass|cublas", re.IGNORECASE)
_FUSED_ATTENTION = re.compile(r"flash|fmha|sdpa", re.IGNORECASE)


def part_of_kernel(kernel: Kernel, known: Mapping[str, str], names: Mapping[str, str]) -> str:
    """The part of the model a kernel belongs to.

    In a CUDA graph a kernel has the graph's name in place of an instruction's. XLA's own kernels
    are named after their instruction; of a library's kernel the kind is told.

    Args:
      kernel: of the trace.
      known: instruction -> scope.
      names: name of a kernel -> instruction.
    """
    operation = kernel.operation if kernel.operation in known else names.get(kernel.name, "")
    if operation:
        return part_of(known[operation])
    if _FUSED_ATTENTION.search(kernel.name):
        return f"{UNKNOWN} fused attention"
    return f"{UNKNOWN} product" if _PRODUCT.search(kernel.name) else UNKNOWN


def show_kernels(part: Part, runs: Mapping[str, Run], texts: Mapping[str, str], steps: int) -> None:
    """Traces some steps of each program and notes milliseconds by part and by kernel.

    Args:
      part: takes the results.
      runs: name -> one step.
      texts: name -> the compiled program's text.
      steps: of each, in the trace.
    """
    for name, kernels in device_kernels(runs, steps).items():
        known = scopes(texts[name])
        names = by_kernel_name(known)
        parts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        rows: list[tuple[float, float, str, str]] = []
        for kernel in kernels:
            scope = part_of_kernel(kernel, known, names)
            parts[scope][0] += 1e3 * kernel.seconds
            parts[scope][1] += kernel.count
            rows.append((1e3 * kernel.seconds, kernel.count, kernel.name[:80], scope))
        rows.sort(reverse=True)
        ranked = dict(sorted(parts.items(), key=lambda item: -item[1][0]))
        total = sum(row[0] for row in rows)
        print(f"  {name}: {total:.3f} ms in {sum(row[1] for row in rows):.0f} kernels a step")
        for scope, (ms, count) in list(ranked.items())[:DEAREST]:
            print(f"    {ms:8.3f} ms {count:7.1f} x  {scope}", flush=True)
        print("    the dearest kernels:")
        for ms, count, kernel_name, scope in rows[:DEAREST]:
            print(f"    {ms:8.3f} ms {count:7.1f} x  {kernel_name}  [{scope}]", flush=True)
        found: dict[str, Any] = {"ms": total, "parts": ranked, "kernels": rows[:KEPT]}
        part.note(f"kernels of {name}", found, show=False)
