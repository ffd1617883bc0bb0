"""Times and memory of every attention against PyTorch's fused exact attention, in one run.

    pip install -e '.[benchmark]'
    python benchmarks/attention_against_torch.py --lengths 512 2048 4096 8192 16384 > table.md

Batch 1, 8 heads of 64, float32 by default. Every repeat runs all variants one after the other,
so that a slow moment of the machine meets all of them; medians are compared. Besides wall time it
gives the CPU time of the process over all its threads, which other load disturbs less. What is
timed returns the output, and for "forward+backward" the gradients of q, k and v.
"""

import argparse
import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from jaxattn.attention import ATTENTIONS
from jaxattn.startup import use_huge_pages

HEADS, WIDTH = 8, 64
KEY = jax.random.key(0)
# name -> attention, options, longest length (plain XLA holds all scores)
VARIANTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "sdpa, plain XLA": ("sdpa", {"implementation": "xla"}, 4096),
    "sdpa, blockwise": ("sdpa", {"implementation": "blockwise"}, 10**9),
    "FAVOR+ m=128": ("performer_favor", {"nb_features": 128, "key": KEY}, 10**9),
    "local 128": ("local", {"window": 128}, 10**9),
    "LSH 64 x 4": ("reformer_lsh", {"chunk_size": 64, "num_hashes": 4, "key": KEY}, 10**9),
    "LSH 64 x 4, own + previous chunk": (
        "reformer_lsh",
        {"chunk_size": 64, "num_hashes": 4, "chunks_after": 0, "key": KEY},
        10**9,
    ),
}
TORCH = "torch SDPA"


@dataclasses.dataclass
class Timed:
    """One variant at one length: a call, its temporary MB (None: unknown), times in ms."""

    call: Callable[[], Any]
    temporaries: float | None
    wall: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)

    def measure(self) -> None:
        """Runs once and keeps both times."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.call()
        self.wall.append(1e3 * (time.perf_counter() - wall))
        self.cpu.append(1e3 * (time.process_time() - cpu))


def jax_variant(name: str, arrays: list[np.ndarray], backward: bool) -> Timed:
    """The compiled program of a variant on q, k, v and the cotangent, [1, N, H, K] each."""
    attention, options, _ = VARIANTS[name]
    op = ATTENTIONS[attention]
    q, k, v, cotangent = (jnp.asarray(x) for x in arrays)

    def forward(q: jax.Array, k: jax.Array | None, v: jax.Array) -> jax.Array:
        return op.apply(q, k, v, **options)

    def both(q: jax.Array, k: jax.Array | None, v: jax.Array, cotangent: jax.Array) -> Any:
        out, pull = jax.vjp(forward, q, k, v)
        return out, pull(cotangent)

    inputs = (q, None if op.shares_qk else k, v, *((cotangent,) if backward else ()))
    compiled = jax.jit(both if backward else forward).lower(*inputs).compile()
    temporaries = compiled.memory_analysis().temp_size_in_bytes / 1e6
    return Timed(lambda: jax.block_until_ready(compiled(*inputs)), temporaries)


def torch_variant(arrays: list[np.ndarray], backward: bool) -> Timed:
    """PyTorch's scaled_dot_product_attention on the same numbers, [1, H, N, K]."""
    q, k, v, cotangent = (torch.from_numpy(x.swapaxes(1, 2).copy()) for x in arrays)
    for x in (q, k, v):
        x.requires_grad_(backward)

    def call() -> None:
        for x in (q, k, v):
            x.grad = None
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        if backward:
            out.backward(cotangent)

    return Timed(call, None)


def main() -> None:
    """Measures and prints Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 4096])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--forward", action="store_true", help="the forward pass alone")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    print(f"jax {jax.__version__}, torch {torch.__version__}, {cores} CPU cores; ", end="")
    what = "forward" if args.forward else "forward+backward"
    print(f"{what} in ms: wall / CPU (times faster than torch: wall, CPU)")
    results: dict[int, dict[str, Timed]] = {}
    for length in args.lengths:
        rng = np.random.default_rng(length)
        arrays = [rng.normal(size=(1, length, HEADS, WIDTH)).astype(np.float32) for _ in range(4)]
        timed = {TORCH: torch_variant(arrays, not args.forward)}
        for name, (_, _, longest) in VARIANTS.items():
            if length <= longest:
                timed[name] = jax_variant(name, arrays, not args.forward)
        for one in timed.values():
            one.call()
        for _ in range(args.repeats):
            for one in timed.values():
                one.measure()
        results[length] = timed
    print_tables(results)


def print_tables(results: dict[int, dict[str, Timed]]) -> None:
    """Times, temporaries, and the growth of both per doubling of the length."""
    lengths = list(results)
    names = [TORCH, *VARIANTS]
    header = "| | " + " | ".join(map(str, lengths)) + " |\n|---|" + "---|" * len(lengths)

    def table(title: str, cell: Callable[[str, int], str]) -> None:
        print(f"\n{title}\n\n{header}")
        for name in names:
            cells = [cell(name, n) if name in results[n] else "-" for n in lengths]
            print(f"| {name} | " + " | ".join(cells) + " |")

    def times(name: str, length: int) -> str:
        wall, cpu = (np.median(getattr(results[length][name], kind)) for kind in ("wall", "cpu"))
        peer = results[length][TORCH]
        text = f"{wall:.0f} / {cpu:.0f}"
        if name == TORCH:
            return text
        return f"{text} ({np.median(peer.wall) / wall:.2f}, {np.median(peer.cpu) / cpu:.2f})"

    def temporaries(name: str, length: int) -> str:
        found = results[length][name].temporaries
        return "-" if found is None else f"{found:.1f}"

    def growth(name: str, length: int) -> str:
        half = results.get(length // 2, {}).get(name)
        if half is None:
            return "-"
        own = results[length][name]
        memory = "-" if not half.temporaries else f"{own.temporaries / half.temporaries:.2f}"
        return f"{np.median(own.cpu) / np.median(half.cpu):.2f} / {memory}"

    table("Time", times)
    table("Compiled temporaries, MB", temporaries)
    table("Growth from half the length: CPU time / temporaries", growth)


if __name__ == "__main__":
    use_huge_pages()  # as every jaxattn command does; PyTorch gets them too
    main()
