"""What is measured, what is left out, and what the table says of it."""

import csv
import io
import threading
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxattn.config import AttentionConfig, LshOptions, SdpaOptions
from jaxattn.profile.bench import Bench, Task
from jaxattn.profile.rows import as_csv, crossovers, rows
from jaxattn.profile.timing import Program
from jaxattn.profile.variants import (
    EXACT,
    FORWARD,
    FORWARD_BACKWARD,
    STEP,
    Shape,
    Variant,
    attention_program,
    random_inputs,
    variants,
)

SDPA = Variant("sdpa", SdpaOptions(implementation="xla"))
LSH = Variant("reformer_lsh", LshOptions())
COLUMNS = [
    "attention", "implementation", "what", "rows", "length", "dtype", "repeats", "seconds",
    "seconds_q1", "seconds_q3", "cpu_seconds", "tokens_per_second", "compile_seconds",
    "temporary_bytes", "argument_bytes", "output_bytes", "peak_device_bytes", "attention_flops",
    "attention_bytes", "attention_share", "note",
]  # fmt: skip


def compiled(temporary: int) -> SimpleNamespace:
    sizes = SimpleNamespace(
        temp_size_in_bytes=temporary,
        argument_size_in_bytes=10,
        output_size_in_bytes=4,
        alias_size_in_bytes=4,
    )
    return SimpleNamespace(memory_analysis=lambda: sizes)


def task(variant: Variant = SDPA, *, length: int = 512, work: float = 1.0, **more: Any) -> Task:
    program = more.get("program", Program(compiled(100), lambda: jnp.zeros(()), 0.01))

    def prepare() -> Program:
        more.get("log", []).append(length)
        return program

    return Task(variant, more.get("what", FORWARD), 2, length, work, prepare)


def shape(length: int) -> Shape:
    return Shape(rows=2, length=length, heads=4, head_width=32, dtype="bfloat16")


def bench(free: int = 10**9) -> Bench:
    return Bench(repeats=3, workers=1, free_memory=lambda: free)


def test_what_is_measured_is_told() -> None:
    measuring = bench()
    measuring.run([task(), task(LSH)], seconds=60.0)
    assert [found.task.variant for found in measuring.measured] == [SDPA, LSH]
    for found in measuring.measured:
        assert found.time is not None and found.time.repeats == 3 and found.note == ""
        assert found.memory is not None and found.memory.total == 110
    assert set(measuring.programs) == {("sdpa xla", FORWARD, 512), ("reformer_lsh", FORWARD, 512)}


@pytest.mark.parametrize(("backend", "most"), [("cpu", 3), ("gpu", 1)])
def test_programs_are_compiled_one_after_the_other_on_a_gpu(
    backend: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    together, lock = [0, 0], threading.Lock()
    all_in = threading.Barrier(most)

    def prepare() -> Program:
        with lock:
            together[0] += 1
            together[1] = max(together)
        all_in.wait(timeout=60)
        with lock:
            together[0] -= 1
        return Program(compiled(100), lambda: jnp.zeros(()), 0.01)

    tasks = [Task(SDPA, FORWARD, 2, length, 1.0, prepare) for length in (512, 1024, 2048)]
    Bench(repeats=1, workers=3, free_memory=lambda: 10**9).run(tasks, seconds=60.0)
    assert together == [0, most]


def test_predictions_grow_with_the_work() -> None:
    measuring = bench()
    assert measuring.predicted(task()) is None
    measuring.run([task(work=1.0)], seconds=60.0)
    found = measuring.measured[0]
    assert found.time is not None
    assert measuring.predicted(task(length=1024, work=4.0)) == (0.01, 4.0 * found.time.seconds)
    assert measuring.predicted(task(length=1024, what=FORWARD_BACKWARD)) is None


def test_what_would_take_too_long_is_never_compiled_and_has_no_numbers() -> None:
    measuring, log = bench(), list[int]()
    measuring.run([task(), task(LSH)], seconds=60.0)
    longer = [task(length=1024, work=1e12, log=log), task(LSH, length=2048, work=1.0, log=log)]
    measuring.run(longer, seconds=1.0)
    assert log == [2048]
    refused = measuring.measured[2]
    assert refused.time is None and refused.memory is None and refused.compile_seconds is None
    assert refused.note.startswith("not measured (over budget: about ")
    shapes = {n: shape(n) for n in (512, 1024, 2048)}
    table = rows(measuring.measured, shapes, layers=2, remat=False, cpu=False)
    (cell,) = [row for row in csv.DictReader(io.StringIO(as_csv(table))) if row["length"] == "1024"]
    known = {"attention", "implementation", "what", "rows", "length", "dtype", "note"}
    assert {name for name, value in cell.items() if value} == known | {
        "repeats",
        "attention_flops",
        "attention_bytes",
    }
    assert cell["repeats"] == "0"


def test_when_time_is_up_nothing_more_is_begun() -> None:
    measuring, log = bench(), list[int]()
    measuring.run([task(log=log)], seconds=-1.0)
    assert log == [] and "time is up" in measuring.measured[0].note


def test_what_does_not_fit_into_memory_is_not_run() -> None:
    def run() -> object:
        raise AssertionError("run")

    measuring = bench(free=2**30)
    large = Program(compiled(10 * 2**30), run, 0.0)
    measuring.run([task(program=large)], seconds=60.0)
    assert measuring.measured[0].note == "not measured (needs 10.0 GiB, 1.0 free)"
    assert measuring.measured[0].time is None


def test_a_program_that_fails_leaves_the_others() -> None:
    def run() -> object:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of\nmemory")

    measuring = bench()
    measuring.run([task(program=Program(compiled(1), run, 0.0)), task(LSH)], seconds=60.0)
    failed, fine = measuring.measured
    assert failed.note == "not measured (RESOURCE_EXHAUSTED: out of memory)"
    assert failed.time is None and fine.time is not None


def test_rows_are_tidy_and_add_up() -> None:
    measuring = bench()
    whats = (FORWARD, FORWARD_BACKWARD, STEP)
    measuring.run([task(what=what) for what in whats], seconds=60.0)
    table = rows(measuring.measured, {512: shape(512)}, layers=3, remat=False, cpu=False)
    assert as_csv(table).splitlines()[0] == ",".join(COLUMNS)
    flops, transferred = SDPA.cost(shape(512))
    assert flops == 2 * 4 * 4 * 512 * 512 * 32
    assert [row.attention_flops for row in table] == [flops, flops, 3 * flops]
    assert table[2].attention_bytes == 3 * transferred
    _, alone, step = table
    assert step.attention_share == pytest.approx(3 * alone.seconds / step.seconds)
    assert alone.attention_share is None
    assert step.tokens_per_second == pytest.approx(2 * 512 / step.seconds)
    assert (step.temporary_bytes, step.argument_bytes, step.output_bytes) == (100, 10, 4)
    assert step.peak_device_bytes is None  # a CPU keeps no count
    on_cpu = rows(measuring.measured, {512: shape(512)}, layers=3, remat=False, cpu=True)
    share = 3 * alone.cpu_seconds / step.cpu_seconds
    assert on_cpu[2].attention_share == pytest.approx(share)
    again = rows(measuring.measured, {512: shape(512)}, layers=3, remat=True, cpu=False)[2]
    assert again.attention_share > step.attention_share


def test_every_attention_meets_every_baseline() -> None:
    measuring = bench()
    blockwise = Variant("sdpa", SdpaOptions(implementation="blockwise"))
    measuring.run([task(SDPA), task(blockwise), task(LSH)], seconds=60.0)
    table = rows(measuring.measured, {512: shape(512)}, layers=1, remat=False, cpu=False)
    found = crossovers(table, EXACT)
    assert [(row.attention, row.baseline, row.what) for row in found] == [
        ("reformer_lsh", "sdpa xla", FORWARD),
        ("reformer_lsh", "sdpa blockwise", FORWARD),
    ]


def test_exact_attention_is_measured_in_every_way_it_can_be_computed() -> None:
    found = variants(("reformer_lsh", "sdpa"), AttentionConfig())
    names = [variant.name for variant in found]
    assert names == ["reformer_lsh", "sdpa xla", "sdpa blockwise", "sdpa cudnn"]
    assert [variant.exact for variant in found] == [False, True, True, True]


def test_the_measured_gradients_are_those_of_the_weighted_sum() -> None:
    inputs = random_inputs(Shape(2, 24, 2, 8, "float32", relative_distance=8), seed=0)
    assert inputs.relative_bias is not None and inputs.q.std() == pytest.approx(1.0, abs=0.1)
    program = attention_program(SDPA, FORWARD_BACKWARD, inputs)
    out, (dq, _, dv, dbias) = program.run()
    assert out.shape == inputs.v.shape

    def weighted(q: jax.Array, v: jax.Array, bias: jax.Array) -> jax.Array:
        scores = jnp.einsum("bnhk,bmhk->bhnm", q, inputs.k) / jnp.sqrt(8.0)
        place = jnp.arange(24)
        scores += bias[:, jnp.clip(place[None] - place[:, None], -8, 8) + 8]
        result = jnp.einsum("bhnm,bmhk->bnhk", jax.nn.softmax(scores), v)
        return jnp.sum(result * inputs.cotangent)

    expected = jax.grad(weighted, (0, 1, 2))(inputs.q, inputs.v, inputs.relative_bias)
    for found, gradient in zip((dq, dv, dbias), expected, strict=True):
        assert jnp.allclose(found, gradient, atol=1e-4)
