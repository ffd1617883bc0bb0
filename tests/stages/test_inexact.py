"""What is said of bits where kernels of a GPU are not deterministic."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxattn.attention.sdpa import cudnn
from jaxattn.config import Config, replace
from jaxattn.runs.folder import RunFolder
from jaxattn.stages import machine

OFF, ON = (replace(Config(), {"train.deterministic": value}) for value in (False, True))


def test_a_cpu_promises_its_bits() -> None:
    assert machine.inexact(OFF) is None
    assert machine.inexact(ON) is None


def test_a_gpu_promises_them_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "train.deterministic" in (machine.inexact(OFF) or "")
    assert machine.inexact(ON) is None


def test_cudnn_is_left_out_where_kernels_must_be_deterministic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(cudnn, "_probe", lambda *_: None)
    monkeypatch.setenv("XLA_FLAGS", "--a=1 --xla_gpu_deterministic_ops=false")
    assert cudnn.why_not_cudnn(jnp.bfloat16, (64, 64), plain=True) is None
    for flag in (
        "--xla_gpu_deterministic_ops=true",
        "--xla_gpu_deterministic_ops",
        "--xla_gpu_exclude_nondeterministic_ops=1",
    ):
        for flags in (f"--a=1 {flag}", f"{flag} --b=false"):
            monkeypatch.setenv("XLA_FLAGS", flags)
            reason = cudnn.why_not_cudnn(jnp.bfloat16, (64, 64), plain=True)
            assert reason is not None and flag in reason


def test_a_run_may_be_continued_with_the_other_choice(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "pretrain", "a")
    folder.saved.must_agree({"train.deterministic": True}, {"train.deterministic": False})
