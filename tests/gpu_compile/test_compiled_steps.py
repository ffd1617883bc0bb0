"""BERT_SMALL's MLM step as compiled for an H100 that need not be there: what must not creep back.

On a GPU, float32 products miss the matrix units, sorts of floats and scatters whose updates collide
once took 30 of a step's 46 ms, and a loop over blocks is hundreds of small kernels. None of it
shows on a CPU, nor in a result. Times do not show here either; `jaxattn bench` measures them.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import pytest

from tests.gpu_compile.program_text import Counts, counts

ROOT = Path(__file__).parents[2]


def _ptxas() -> str | None:
    """The folder of NVIDIA's assembler: on the PATH, or of the package nvidia-cuda-nvcc."""
    if path := shutil.which("ptxas"):
        return str(Path(path).parent)
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / "cu13" / "bin" / "ptxas").is_file():
            return str(Path(folder) / "cu13" / "bin")
    return None


def _why_not() -> str | None:
    try:
        plugin = importlib.util.find_spec("jax_plugins.xla_cuda13")
    except ModuleNotFoundError:
        plugin = None
    if plugin is not None and _ptxas() is not None and jax.__version__.startswith("0.10."):
        return None
    return (
        "compiling for a GPU needs jax 0.10, its CUDA plug-in and NVIDIA's ptxas: "
        "pip install -c constraints.txt -e '.[gpu-compile]'"
    )


_REASON = _why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(_REASON is not None, reason=str(_REASON))]


class Step(NamedTuple):
    """What is compiled, and what it may take.

    kernels: as of 2026-11-27. wide: 10^9 FLOPs of products that are not of bfloat16. calls: the
    kernels of the attention, by their custom calls' target. temporaries: times those of cuDNN.
    """

    attention: str
    rows: int
    length: int
    options: tuple[str, ...]
    kernels: int
    wide: float
    calls: dict[str, int]
    temporaries: float


_CUDNN = {"__cudnn$fmhaSoftmax": 4, "__cudnn$fmhaSoftmaxBackward": 4}
_TRITON = "__gpu$xla.gpu.triton"
_XLA = ("attention.sdpa.implementation=xla",)
_FAVOR_XLA = ("attention.performer_favor.implementation=xla",)
# In four layers: FAVOR+ has four kernels a layer, six where keys are divided among programs; LSH
# three. LSH hashes in float32, into more buckets the longer the input.
STEPS = {
    "cudnn": Step("sdpa", 32, 512, (), 505, 2.0, _CUDNN, 1.0),
    "sdpa-xla": Step("sdpa", 32, 512, _XLA, 620, 2.0, {}, 1.6),
    "favor": Step("performer_favor", 32, 512, (), 495, 2.0, {_TRITON: 16}, 1.05),
    "favor-xla": Step("performer_favor", 32, 512, _FAVOR_XLA, 624, 2.0, {}, 1.2),
    "lsh": Step("reformer_lsh", 32, 512, (), 556, 2.0, {_TRITON: 12}, 1.1),
    "cudnn-8k": Step("sdpa", 2, 8192, (), 506, 2.0, _CUDNN, 1.01),
    "favor-8k": Step("performer_favor", 2, 8192, (), 512, 2.0, {_TRITON: 24}, 1.05),
    "lsh-8k": Step("reformer_lsh", 2, 8192, (), 562, 4.0, {_TRITON: 12}, 1.1),
    "local": Step("local", 32, 512, (), 557, 2.0, {}, 1.2),
    "local-16k": Step("local", 1, 16384, (), 559, 2.0, {}, 1.2),
}


def compile_step(step: Step, folder: Path) -> tuple[Counts, float]:
    """Counts of the compiled step, and its temporaries in MB."""
    path = folder / "step"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path])),
        "PATH": os.pathsep.join([str(_ptxas()), os.environ["PATH"]]),
    }
    script = Path(__file__).with_name("compile_step.py")
    sizes = [str(step.rows), str(step.length)]
    subprocess.run(
        [sys.executable, str(script), step.attention, *sizes, "h100", str(path), *step.options],
        check=True,
        env=environment,
        cwd=folder,
    )
    memory = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return counts(path.with_suffix(".txt").read_text("utf-8")), memory["temporaries"] / 1e6


@pytest.fixture(scope="module")
def cudnn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Counts, float]:
    """The step with cuDNN's attention at 32 x 512: as many tokens as 2 x 8,192."""
    return compile_step(STEPS["cudnn"], tmp_path_factory.mktemp("cudnn"))


@pytest.mark.parametrize("name", STEPS)
def test_a_step_compiled_for_an_h100(
    name: str, tmp_path: Path, cudnn: tuple[Counts, float]
) -> None:
    step = STEPS[name]
    found, temporaries = cudnn if name == "cudnn" else compile_step(step, tmp_path)
    own = {target: found.custom_calls.count(target) for target in (*_CUDNN, _TRITON)}
    assert {target: n for target, n in own.items() if n} == step.calls
    # All products are there: four layers on 16,384 tokens, and the head.
    assert 1.3e12 < found.half_flops < 1.8e12
    assert found.wide_flops <= step.wide * 1e9
    assert found.float_sorts == []
    assert found.colliding_scatters == []
    assert found.loops == []
    assert abs(found.kernels / step.kernels - 1) <= 0.1, found.kernels
    assert temporaries <= step.temporaries * cudnn[1], (temporaries, cudnn[1])
