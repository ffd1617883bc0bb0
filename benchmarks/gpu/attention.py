"""Every attention alone, against PyTorch's fused attention and cuDNN: device and wall time.

    python -m benchmarks.gpu.attention --out attention.json [--tiny]

bfloat16, 8 heads of 64, 16,384 tokens in all, no padding. "forward+backward" gives the output and
the gradients of q, k and v. What an attention draws at random is drawn beforehand where it allows
that. Device time is the sum of the kernels of a call (PyTorch: of a CUDA graph of calls, with the
gaps between its kernels); wall time is that of calls made one after the other from Python.
"""

import dataclasses
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.correctness import implementations
from benchmarks.gpu.device_time import Run, compile_for_device, device_kernels, wall_seconds
from benchmarks.gpu.record import Part, main
from benchmarks.gpu.torch_attention import TorchMaker, torch_calls, torch_device_seconds
from jaxattn.attention import ATTENTIONS
from jaxattn.config import FavorOptions

LENGTHS = (512, 2048, 8192, 16384, 4096)
CALLS = 10
FORWARD, BOTH = "forward", "forward+backward"
KEY = jax.random.key(0)
TO_MEASURE = 2.5
"""Seconds that are kept for measuring what has been compiled."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """An attention with options; `attention` "" is JAX's own call of cuDNN."""

    name: str
    attention: str
    options: dict[str, Any]
    longest: int = 10**9
    forward: bool = False
    needs_gpu: bool = False


def variants() -> list[Variant]:
    """The most important first."""
    features = {"nb_features": 128}
    lsh_64, lsh_32 = ({"chunk_size": c, "num_hashes": r} for c, r in ((64, 4), (32, 2)))
    cudnn = {"implementation": "cudnn"}
    found = [
        Variant("jax cuDNN", "", {}, forward=True, needs_gpu=True),
        Variant("sdpa cudnn", "sdpa", cudnn, forward=True, needs_gpu=True),
        Variant("FAVOR+ m=128", "performer_favor", features, forward=True),
        Variant("LSH 64x4", "reformer_lsh", lsh_64, forward=True),
        Variant("LSH 32x2", "reformer_lsh", lsh_32),
        Variant("local 128", "local", {"window": 128}, forward=True),
    ]
    found += [
        Variant(f"FAVOR+ m=128 {way}", "performer_favor", features | {"implementation": way})
        for way in implementations(FavorOptions)
    ]
    blockwise = {"implementation": "blockwise"}
    return [
        *found,
        Variant("sdpa xla", "sdpa", {"implementation": "xla"}, longest=2048),
        Variant("sdpa blockwise", "sdpa", blockwise, longest=8192),
    ]


def drawn_before(attention: str, options: dict[str, Any], q: jax.Array) -> dict[str, Any]:
    """The keywords that hold what an attention draws, or the key that it draws from."""
    op = ATTENTIONS[attention]
    if not op.needs_key:
        return {}
    if op.draws is None:
        return {"key": KEY}
    return {"drawn": op.draw(KEY, q.shape[-1], **options)}


def jax_program(
    variant: Variant, what: str, arrays: list[np.ndarray]
) -> tuple[Run, dict[str, float]]:
    """The compiled call, and the seconds of compiling and the temporary MB of its program."""
    q, k, v, cotangent = (jnp.asarray(x, jnp.bfloat16) for x in arrays)
    mask = jnp.ones(q.shape[:2], bool)
    drawn = drawn_before(variant.attention, variant.options, q) if variant.attention else {}

    def call(q: Any, k: Any, v: Any, mask: Any, drawn: dict[str, Any]) -> jax.Array:
        if not variant.attention:
            return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
        op = ATTENTIONS[variant.attention]
        k = None if op.shares_qk else k
        return op.apply(q, k, v, key_mask=mask, **drawn, **variant.options)

    def both(q: Any, k: Any, v: Any, mask: Any, drawn: Any, cotangent: Any) -> Any:
        out, pull = jax.vjp(lambda q, k, v: call(q, k, v, mask, drawn), q, k, v)
        return out, pull(cotangent)

    inputs = (q, k, v, mask, drawn, *((cotangent,) if what == BOTH else ()))
    program, seconds = compile_for_device(jax.jit(both if what == BOTH else call).lower(*inputs))
    jax.block_until_ready(program(*inputs))
    analysis = program.memory_analysis()
    sizes = {"compile s": round(seconds, 2)}
    if analysis is not None:
        sizes["temporary MB"] = round(analysis.temp_size_in_bytes / 1e6, 1)
    return lambda: program(*inputs), sizes


class Length:
    """The programs of one length, and what is measured of them."""

    def __init__(self, part: Part, length: int, tokens: int, heads: int, width: int) -> None:
        """Makes the inputs."""
        self.part, self.length = part, length
        rng = np.random.default_rng(length)
        shape = (tokens // length, length, heads, width)
        self.arrays = [rng.normal(size=shape).astype(np.float32) for _ in range(4)]
        self.rows: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, Run] = {}
        self.on_torch: set[str] = set()

    def compile(self, jobs: list[tuple[Variant, str]], until: float) -> None:
        """Compiles as many programs as there is time for, one after the other."""
        slowest = 0.0
        for variant, what in jobs:
            name = f"{what} {self.length} {variant.name}"
            if time.time() + slowest > until:
                self.part.note(f"{name}: left out", "no time left to compile it", show=False)
                continue
            began = time.time()
            found = self.part.attempt(name, partial(jax_program, variant, what, self.arrays))
            slowest = max(slowest, time.time() - began)
            if found is not None:
                self.runs[name], self.rows[name] = found

    def add_torch(self, makers: dict[str, TorchMaker]) -> None:
        """PyTorch's calls take their turns among the others."""
        for library, make in makers.items():
            for what in (BOTH, FORWARD):
                name = f"{what} {self.length} {library}"

                def started(make: TorchMaker = make, backward: bool = what == BOTH) -> Run:
                    run = make(self.arrays, backward)
                    run().block_until_ready()
                    return run

                run = self.part.attempt(name, started)
                if run is not None:
                    self.runs[name], self.rows[name] = run, {}
                    self.on_torch.add(name)

    def measure(self, seconds: float) -> None:
        """Wall times, then times on the device."""
        for name, wall in wall_seconds(self.runs, seconds).items():
            self.rows[name]["wall us"] = round(1e6 * wall, 1)
        self.keep()
        ours = {name: run for name, run in self.runs.items() if name not in self.on_torch}
        traced = self.part.attempt("trace", lambda: device_kernels(ours, CALLS)) or {}
        if ours and not traced:
            self.part.note("device time", "the trace has nothing of the device")
        for name, kernels in traced.items():
            total = sum(kernel.seconds for kernel in kernels)
            self.rows[name]["device us"] = round(1e6 * total, 1)
            self.rows[name]["kernels"] = round(sum(kernel.count for kernel in kernels), 1)
        for name in self.on_torch if jax.default_backend() == "gpu" else ():
            run = self.runs[name]
            own = self.part.attempt(name, partial(torch_device_seconds, run, CALLS))
            if own is not None:
                self.rows[name]["device us"] = round(1e6 * own, 1)
        self.keep()

    def keep(self) -> None:
        """Writes what is known so far."""
        self.part.note("us", self.part.results.get("us", {}) | self.rows, show=False)

    def show(self) -> None:
        """Prints a table."""
        columns = ("device us", "wall us", "kernels", "compile s", "temporary MB")
        print(f"  {'':44}" + "".join(f"{column:>14}" for column in columns))
        for name, row in sorted(self.rows.items()):
            cells = (str(row[column]) if column in row else "-" for column in columns)
            print(f"  {name:44}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


def jobs_at(length: int, on_gpu: bool) -> tuple[list[tuple[Variant, str]], ...]:
    """What is compiled first, and what is compiled when every length has had its first."""
    possible = [v for v in variants() if length <= v.longest and (on_gpu or not v.needs_gpu)]
    first = [(v, BOTH) for v in possible if v.forward]
    others = [(v, BOTH) for v in possible if not v.forward]
    exact = [job for job in others if job[0].attention == "sdpa"]
    linear = [job for job in others if job not in exact]
    return first, [*linear, *((v, FORWARD) for v, _ in first), *exact]


def body(part: Part) -> None:
    """The most important variants at every length, then the others."""
    on_gpu = jax.default_backend() == "gpu"
    tokens, heads, width = (256, 2, 16) if part.tiny else (16_384, 8, 64)
    lengths = (64,) if part.tiny else LENGTHS
    makers = part.attempt("PyTorch", torch_calls) or {}
    for turn in range(2):
        for length in lengths:
            if part.left() < TO_MEASURE:
                part.note("no time left for", f"length {length}, turn {turn + 1} of 2")
                continue
            group = Length(part, length, tokens, heads, width)
            if turn == 0:
                part.attempt("PyTorch", partial(group.add_torch, makers))
            group.compile(jobs_at(length, on_gpu)[turn], time.time() + part.left() - TO_MEASURE)
            part.attempt(f"length {length}", partial(group.measure, 0.4 * TO_MEASURE))
            group.show()


if __name__ == "__main__":
    main(body)
