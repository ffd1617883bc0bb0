"""Which GPU JAX would use, as the driver tells it, and the encoder that --data takes on it."""

import importlib.util
import sys
import types
from typing import Any

import pytest

from jaxattn.commandline.encoder import fitting_file
from jaxattn.commands import MODES
from jaxattn.gpu import Gpu, first_gpu


class NVMLError(Exception):
    pass


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for pynvml with two GPUs, beside JAX's plugin for CUDA."""
    gpus = [("NVIDIA H200", 150e9), ("NVIDIA T400", 4e9)]

    def by_index(index: int) -> int:
        if index not in (0, 1):
            raise NVMLError("invalid argument")
        return index

    found = types.SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=by_index,
        nvmlDeviceGetHandleByUUID=lambda name: 1,
        nvmlDeviceGetName=lambda handle: gpus[handle][0],
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(total=gpus[handle][1]),
    )
    monkeypatch.setitem(sys.modules, "pynvml", found)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "jax_cuda13_plugin")
    return found


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "NVIDIA H200"),
        ({"JAX_PLATFORMS": "cuda,cpu"}, "NVIDIA H200"),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, "NVIDIA T400"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-7"}, "NVIDIA T400"),
        ({"CUDA_VISIBLE_DEVICES": ""}, None),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, None),
        ({"CUDA_VISIBLE_DEVICES": "none"}, None),
        ({"JAX_PLATFORMS": "cpu"}, None),
        ({"JAX_PLATFORMS": "tpu"}, None),
    ],
)
def test_the_gpu_is_the_one_a_process_would_see(
    library: Any, environment: dict[str, str], name: str | None
) -> None:
    gpu = first_gpu(environment)
    assert (gpu.name if gpu else None) == name


def test_no_gpu_without_plugin_library_or_driver(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first_gpu({}) == Gpu("NVIDIA H200", 150.0)

    def no_driver() -> None:
        raise NVMLError("driver not loaded")

    library.nvmlInit = no_driver
    assert first_gpu({}) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert first_gpu({}) is None
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert first_gpu({}) is None


def test_the_encoder_fits_the_device(library: Any) -> None:
    file, why = fitting_file(MODES["study"], {})
    assert file == "own_gpu" and why.startswith("NVIDIA H200, 150 GB: BERT_SMALL")
    file, why = fitting_file(MODES["study"], {"CUDA_VISIBLE_DEVICES": "1"})
    assert file == "own" and why.startswith("NVIDIA T400, 4 GB, of 12 needed for BERT_SMALL")
    cpu = {"JAX_PLATFORMS": "cpu"}
    assert fitting_file(MODES["study"], cpu) == ("own", "no GPU: an encoder of two blocks")
    # A baseline has no encoder, and nothing is asked of the driver.
    assert fitting_file(MODES["baseline"], {}) == ("own", "")
