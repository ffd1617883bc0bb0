"""The MLM training step of BERT_SMALL: time, memory, what it costs to be deterministic, kernels.

    python -m benchmarks.gpu.step --out step.json [--tiny]

As `--mode=pretrain` trains, in bfloat16: 30,522 word pieces, 16,384 tokens a step, the MLM's slots
for 15 % of them. Every program is compiled once, then timed in turn with the others of its length,
then two steps of it are traced. Products are compiled for cuBLASLt alone, which takes a fraction of
the seconds; the last program of all has XLA's default options, for comparison.
"""

import dataclasses
import gc
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.device_time import CUBLAS_ONLY, compile_for_device, wall_seconds
from benchmarks.gpu.record import Part, main
from benchmarks.gpu.step_kernels import show_kernels
from jaxattn.attention import ATTENTIONS
from jaxattn.config import Config, replace
from jaxattn.data.masking import num_slots
from jaxattn.modes.synthetic_step import SyntheticStep, synthetic_step
from jaxattn.presets import architecture_options
from jaxattn.startup import DETERMINISTIC

SEED = 0
MIB = 2**20
SECONDS_EACH = 0.4
"""Of timing, for every program of a group."""
TRACED_STEPS = 2


@dataclasses.dataclass(frozen=True)
class Job:
    """One program.

    Attributes:
      attention, length, implementation: of the configuration.
      deterministic: compiled as `train.deterministic` has it.
      default_options: XLA may use Triton for products.
      trace: its kernels are shown.
      repeat: two runs of it are compared bit by bit.
    """

    attention: str
    length: int
    implementation: str = "auto"
    deterministic: bool = False
    default_options: bool = False
    trace: bool = False
    repeat: bool = False

    @property
    def name(self) -> str:
        """Told in the results."""
        words = [str(self.length), self.attention]
        words += [self.implementation] if self.implementation != "auto" else []
        words += ["deterministic"] if self.deterministic else []
        return " ".join(words + (["default options"] if self.default_options else []))

    @property
    def options(self) -> dict[str, str | bool]:
        """Of the compiler."""
        chosen = {} if self.default_options else dict(CUBLAS_ONLY)
        return chosen | ({DETERMINISTIC: True} if self.deterministic else {})


@dataclasses.dataclass(frozen=True)
class Size:
    """Of all steps."""

    architecture: str
    vocabulary: int
    tokens: int


def groups(tiny: bool) -> list[list[Job]]:
    """Programs that are timed in turn; the most important first."""
    names = ("sdpa", "performer_favor", "reformer_lsh")
    if tiny:
        return [[Job(name, 64, trace=True, repeat=True) for name in names[:1]]]
    return [
        [Job(name, 512, trace=True, repeat=True) for name in names],
        [Job(name, 8192, trace=True) for name in names],
        [Job(name, 512, deterministic=True, repeat=True) for name in names],
        [Job("sdpa", 512, "xla")],
        [Job(name, 16384) for name in names],
        [Job(name, 4096) for name in names],
        [Job("performer_favor", 512, default_options=True)],
    ]


def config_of(job: Job, size: Size) -> Config:
    """The configuration that trains so."""
    rows = size.tokens // job.length
    options: dict[str, Any] = architecture_options(size.architecture) | {
        "attention.type": job.attention,
        "train.precision": "bfloat16",
        "train.batch_size": rows,
        "model.max_seq_len": job.length,
        "data.max_length": job.length,
    }
    if job.attention == "sdpa":
        options["attention.sdpa.implementation"] = job.implementation
    return replace(Config(), options)


def training_flops(config: Config, vocabulary: int) -> float:
    """Of one step, a multiply-add counting as two: three times those of the forward pass.

    What a backward pass computes again is not counted, so that programs are comparable.
    """
    model, rows, length = config.model, config.train.batch_size, config.data.max_length
    op, options = ATTENTIONS[config.attention.type], config.attention.options
    projections = 3 if op.shares_qk else 4
    weights = projections * model.hidden_dim * model.qkv_dim + 2 * model.hidden_dim * model.mlp_dim
    attention = op.cost(length, model.head_width, **options.keywords(model.head_width)).flops
    slots = num_slots(length, config.data.mask_rate)
    head = model.hidden_dim * (model.hidden_dim + vocabulary)
    layer = 2 * weights * length + model.num_heads * attention
    return 3.0 * rows * (model.num_layers * layer + 2 * head * slots)


@jax.jit
def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


class Prepared:
    """A compiled step with its state and batch."""

    def __init__(self, job: Job, size: Size, states: dict[Any, Any]) -> None:
        """Compiles it; `states` keeps the first states of all shapes there have been."""
        self.config = config_of(job, size)
        step: SyntheticStep = synthetic_step(
            self.config,
            task="mlm",
            batch_size=self.config.train.batch_size,
            length=job.length,
            vocab_size=size.vocabulary,
        )
        self.compiled, self.compile_seconds = compile_for_device(step.lower(), job.options)
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
    """Compiles, times and traces some programs; returns the seconds the slowest compiling took."""
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
        slowest = max(slowest, prepared.compile_seconds)
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
