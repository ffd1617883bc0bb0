"""The measurements for a GPU, as far as a CPU can tell: references, traces, the script itself."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks.gpu import references
from benchmarks.gpu.attention import BOTH, LENGTHS, jobs_at
from benchmarks.gpu.checks import Case, Checks
from benchmarks.gpu.correctness import TINY, cases
from benchmarks.gpu.device_time import Kernel, by_kernel_name, kernels_by_program
from benchmarks.gpu.record import Part
from benchmarks.gpu.step_jobs import Job, Size, config_of, groups, training_flops
from benchmarks.gpu.step_kernels import part_of_kernel
from jaxattn.attention import ATTENTIONS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checks(tmp_path: Path) -> Checks:
    return Checks(Part(tmp_path / "results.json", math.inf, tiny=True), TINY)


FLOAT32 = [case for case in cases(TINY, on_gpu=False) if case.dtype == "float32"]


@pytest.mark.parametrize("case", FLOAT32, ids=lambda case: case.name)
def test_the_package_agrees_with_the_references(case: Case, checks: Checks) -> None:
    assert {case.attention for case in FLOAT32} == {"sdpa", "performer_favor", "reformer_lsh"}
    for mask in ("prefix", "holes"):
        checks.compare(case, mask)
    checks.padding(case)
    assert checks.wrong == []
    results = checks.part.results
    assert len(results) == 3 and all(text.startswith("ok ") for text in results.values())


def test_a_wrong_gradient_is_told(checks: Checks, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("sdpa", "float32", (("implementation", "xla"),))
    right = references.softmax

    def doubled(*arguments: np.ndarray) -> references.Gradients:
        found = right(*arguments)
        return found._replace(v=2 * found.v)

    monkeypatch.setattr(references, "softmax", doubled)
    checks.compare(case, "prefix")
    assert checks.wrong == [f"{case.name}, prefix"]
    assert checks.part.results[checks.wrong[0]].startswith("WRONG")


def event(name: str, start_us: float, us: float, **stats: object) -> SimpleNamespace:
    return SimpleNamespace(
        name=name, start_ns=1e3 * start_us, duration_ns=1e3 * us, stats=list(stats.items())
    )


def test_kernels_belong_to_the_program_in_whose_time_they_began() -> None:
    streams = [
        event("gemm", 10_020, 5, hlo_op="dot.1"),
        event("gemm", 10_030, 7, hlo_op="dot.1"),
        event("loop_add_fusion_2", 20_010, 4),
        event("before anything", 10, 99),
    ]
    sums = [event("jit_f", 10_020, 20)]
    host = [
        event("measured:a", 10_000, 100),
        event("measured:b", 20_000, 100),
        event("call", 10_001, 3),
    ]
    planes = [
        SimpleNamespace(
            name="/device:GPU:0",
            lines=[
                SimpleNamespace(name="Stream #13(Compute)", events=streams),
                SimpleNamespace(name="XLA Modules", events=sums),
            ],
        ),
        SimpleNamespace(name="/host:CPU", lines=[SimpleNamespace(name="python", events=host)]),
    ]
    found = kernels_by_program(SimpleNamespace(planes=planes), calls=2)
    assert set(found) == {"a", "b"}
    (kernel,) = found["a"]
    assert (kernel.name, kernel.operation, kernel.count) == ("gemm", "dot.1", 1.0)
    assert kernel.seconds == pytest.approx(6e-6)
    assert found["b"] == [Kernel("loop_add_fusion_2", "", pytest.approx(2e-6), 0.5)]


def test_a_kernel_of_a_graph_is_known_by_its_name() -> None:
    scope = "jit(step)/jvp(MlmModel)/encoder/blocks_0/mlp/up/dot_general"
    known = {"loop_add_fusion.2": scope, "dot.1": "jit(step)/optimizer/add"}
    names = by_kernel_name(known)

    def part(name: str, operation: str = "") -> str:
        return part_of_kernel(Kernel(name, operation, 1.0, 1.0), known, names)

    assert part("loop_add_fusion_2") == "mlp/up"
    assert part("nvjet_tst_128x256", "dot.1") == "optimizer"
    assert part("nvjet_tst_128x256") == "(not known) product"
    assert part("cudnn_generated_fort_native_sdpa_sm90_flash_bprop") == (
        "(not known) fused attention"
    )
    assert part("something") == "(not known)"


def test_the_work_of_a_step_is_counted_by_hand() -> None:
    size = Size("bert_small", 30_522, 16_384)
    weights = 4 * (4 * 512 * 512 + 2 * 512 * 2048) * 16_384
    head = 512 * (512 + 30_522) * 32 * 77  # 15 % of 512 tokens
    scores = 4 * 32 * 2 * 512 * 512 * 512  # 4 blocks, q k^T and weights v over all heads
    found = training_flops(config_of(Job("sdpa", 512), size), size.vocabulary)
    assert found == 6 * (weights + head + scores)


def test_the_script_runs_its_parts_and_refuses_others(tmp_path: Path) -> None:
    if jax.default_backend() != "cpu":
        pytest.skip("a rehearsal on a CPU")
    environment = os.environ | {
        "OUT": str(tmp_path), "PARTS": "environment trifle", "TINY": "1", "PYTHON": sys.executable,
    }  # fmt: skip
    command = ["bash", str(ROOT / "benchmarks" / "gpu" / "measure.sh")]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr
    assert "found 'trifle', allowed: correctness" in told.stdout
    results = json.loads((tmp_path / "environment.json").read_text())
    assert results["us of a call of a jitted function"] > 0
    assert set(results["us on the device"]) >= {"product", "small product"}
    assert "environment: took" in told.stdout


def test_every_step_and_every_attention_that_is_measured_can_be_configured() -> None:
    size = Size("bert_small", 30_522, 16_384)
    steps = [job for jobs in groups(tiny=False) for job in jobs]
    assert len({job.name for job in steps}) == len(steps) == 18
    for job in steps:
        config = config_of(job, size)
        assert config.train.batch_size * config.data.max_length == size.tokens
        assert config.attention.type == job.attention
    for length in LENGTHS:
        first, others = jobs_at(length, on_gpu=True)
        assert {variant.attention for variant, _ in first} == {"", *ATTENTIONS}
        measured = {(variant.name, what) for variant, what in (*first, *others)}
        assert len(measured) == len(first) + len(others)
        assert ("sdpa xla", BOTH) not in measured or length <= 2048
