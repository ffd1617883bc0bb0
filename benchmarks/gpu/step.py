"""The MLM training step of BERT_SMALL: time, memory, what it costs to be deterministic, kernels.

    python -m benchmarks.gpu.step --out step.json [--tiny]

As `--mode=pretrain` trains, in bfloat16: 30,522 word pieces, 16,384 tokens a step, the MLM's slots
for 15 % of them. Every program is compiled once, then timed in turn with the others of its length,
then two steps of it are traced. Products are compiled for cuBLASLt alone, which takes a fraction of
the seconds; the last program of all has XLA's default options, for comparison.
"""

import gc
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.device_time import compile_for_device, wall_seconds
from benchmarks.gpu.record import Part, main
from benchmarks.gpu.step_jobs import Job, Size, config_of, groups, training_flops
from benchmarks.gpu.step_kernels import show_kernels
from jaxattn.profile.synthetic_step import SyntheticStep, synthetic_step

SEED = 0
MIB = 2**20
SECONDS_EACH = 0.4
"""Of timing, for every program of a group."""
TRACED_STEPS = 2


@jax.jit
def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


class Prepared:
    """A compiled step with its state and batch."""

    def __init__(self, job: Job, size: Size, states: dict[Any, Any]) -> None:
        """Compiles it; `states` keeps the first states of all shapes there have been."""
        began = time.perf_counter()
        self.config = config_of(job, size)
        step: SyntheticStep = synthetic_step(
            self.config,
            task="mlm",
            batch_size=self.config.train.batch_size,
            length=job.length,
            vocab_size=size.vocabulary,
        )
        self.compiled, self.compile_seconds = compile_for_device(step.lower(), job.options)
        self.seconds = time.perf_counter() - began
        shapes = jax.tree.structure(step.state), tuple(x.shape for x in jax.tree.leaves(step.state))
        if shapes not in states:
            states[shapes] = step.make_state(SEED)
        self._first = states[shapes]
        self._batch = jax.device_put(step.make_batch(SEED))
        self._state = self.copy()

    def copy(self) -> Any:
        """A first state that a step may overwrite."""
        return _copied(self._first)

    def run(self) -> Any:
        """One more step; returns its sums."""
        self._state, sums = self.compiled(self._state, self._batch)
        return sums

    def two_steps(self) -> list[np.ndarray]:
        """The arrays of the state after two steps from the first."""
        state = self.copy()
        for _ in range(2):
            state, _ = self.compiled(state, self._batch)
        leaves = jax.tree.leaves(state)
        keys = jax.dtypes.prng_key
        return jax.device_get([x for x in leaves if not jnp.issubdtype(x.dtype, keys)])

    def memory(self) -> dict[str, Any]:
        """MiB: as the compiler counts them, and the process's peak if a first step raises it."""
        found: dict[str, Any] = {}
        analysis, arguments = self.compiled.memory_analysis(), 0
        if analysis is not None:
            arguments = analysis.argument_size_in_bytes
            total = arguments + analysis.temp_size_in_bytes + analysis.output_size_in_bytes
            found["MiB compiled"] = round((total - analysis.alias_size_in_bytes) / MIB)
        device = jax.devices()[0]
        before = device.memory_stats()
        jax.block_until_ready(self.run())
        after = device.memory_stats()
        if before and after:
            found["MiB process peak"] = round(after["peak_bytes_in_use"] / MIB)
            if after["peak_bytes_in_use"] > before["peak_bytes_in_use"]:
                own = after["peak_bytes_in_use"] - before["bytes_in_use"] + arguments
                found["MiB peak of the step"] = round(own / MIB)
        return found


def same_bits(prepared: Prepared) -> bool:
    """Whether two runs of two steps end in the same state, bit for bit."""
    once, again = prepared.two_steps(), prepared.two_steps()
    return all(a.tobytes() == b.tobytes() for a, b in zip(once, again, strict=True))


def run_group(part: Part, jobs: list[Job], size: Size, states: dict[Any, Any]) -> float:
    """Compiles, times and traces some programs; returns the seconds of the slowest to compile."""
    rows: dict[str, Any] = dict(part.results.get("steps", {}))
    programs: dict[str, Prepared] = {}
    traced: list[str] = []
    slowest = 0.0

    def timed(names: list[str], seconds: float) -> None:
        for name, found in wall_seconds({n: programs[n].run for n in names}, seconds).items():
            flops = training_flops(programs[name].config, size.vocabulary)
            rows[name] |= {
                "ms": round(1e3 * found, 3),
                "tokens/s": round(size.tokens / found),
                "TFLOP/s": round(flops / found / 1e12, 1),
            }
        part.note("steps", rows, show=False)

    for job in jobs:
        if part.left() < slowest + 1:
            part.note(f"{job.name}: left out", "no time left to compile it")
            continue
        prepared = part.attempt(job.name, partial(Prepared, job, size, states))
        if prepared is None:
            continue
        slowest = max(slowest, prepared.seconds)
        memory = part.attempt(f"{job.name} memory", prepared.memory)
        if memory is None:
            continue
        programs[job.name] = prepared
        rows[job.name] = {"compile s": round(prepared.compile_seconds, 1), **memory}
        # Once at once, should there be no time for more.
        timed([job.name], 0.1)
        traced += [job.name] if job.trace else []
    if len(programs) > 1:
        timed(list(programs), SECONDS_EACH * len(programs))
    for job in jobs:
        if job.repeat and job.name in programs and part.left() > 1:
            found = part.attempt("same bits", partial(same_bits, programs[job.name]))
            rows[job.name]["same bits again"] = found
    part.note("steps", rows, show=False)
    for name in programs:
        print(f"  {name}: {rows[name]}", flush=True)
    if traced and part.left() > 1:
        chosen = {name: programs[name] for name in traced}
        texts = {name: one.compiled.as_text() or "" for name, one in chosen.items()}
        runs = {name: one.run for name, one in chosen.items()}
        part.attempt("trace", lambda: show_kernels(part, runs, texts, TRACED_STEPS))
    return slowest


def body(part: Part) -> None:
    """One group after the other while there is time to compile at least one program."""
    size = Size("quick", 500, 128) if part.tiny else Size("bert_small", 30_522, 16_384)
    states: dict[Any, Any] = {}
    slowest = 0.0
    for jobs in groups(part.tiny):
        if part.left() < slowest + 1:
            part.note("no time left for", [job.name for job in jobs])
            continue
        found = part.attempt(jobs[0].name, partial(run_group, part, jobs, size, states))
        slowest = max(slowest, found or 0.0)
        gc.collect()
    steps = part.results.get("steps", {})
    for name, row in steps.items():
        plain = steps.get(name.removesuffix(" deterministic"), {})
        if "ms" in row and "ms" in plain and row is not plain:
            part.note(f"{name}: times the plain step", round(row["ms"] / plain["ms"], 3))


if __name__ == "__main__":
    main(body)
