"""What a trial of a kernel decides, for how long and for whom, with stand-ins for GPUs."""

import types
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxattn.attention import probes
from jaxattn.attention.favor import fused as favor_fused
from jaxattn.attention.lsh import fused as lsh_fused
from jaxattn.attention.probes import Probe
from jaxattn.attention.sdpa import cudnn as sdpa_cudnn
from jaxattn.attention.sdpa.attention import choose

FULL = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1234 bytes"


Pull = Callable[[jax.Array], tuple[jax.Array, ...]]


class Trials:
    """A trial whose results are given in advance: an exception is raised."""

    def __init__(self, *results: str | Exception | None) -> None:
        self.results, self.calls = list(results), []

    def __call__(self, *given: object) -> str | None:
        self.calls.append(given)
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def test_a_verdict_is_remembered_for_its_arguments() -> None:
    trials = Trials(None, "wrong numbers", ValueError("no\nkernel"))
    probe = Probe(trials)
    for _ in range(2):
        assert probe("bfloat16", 64) is None
        assert probe("bfloat16", 32) == "wrong numbers"
        assert probe("float16", 8) == "its probe failed (ValueError: no)"
    assert trials.calls == [("bfloat16", 64), ("bfloat16", 32), ("float16", 8)]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(FULL),
        RuntimeError("INTERNAL: CUDA_ERROR_OUT_OF_MEMORY"),
        ValueError("cuDNN: out of memory"),
        MemoryError(),
    ],
)
def test_a_full_device_is_no_verdict(error: Exception) -> None:
    trials = Trials(error, error, None)
    probe = Probe(trials)
    for _ in range(2):
        assert type(error).__name__ in probe(64)
    assert probe(64) is None and probe(64) is None
    assert len(trials.calls) == 3


def test_a_probe_runs_while_its_caller_is_traced() -> None:
    """Also under a gradient and inside compile-time evaluation of the caller."""

    def trial() -> str | None:
        x = jax.jit(jax.grad(lambda x: (x**2).sum()))(jnp.ones(3))
        return None if float(x.sum()) == 6.0 else "wrong"

    def caller(x: jax.Array) -> jax.Array:
        assert Probe(trial)() is None
        return (x * 2).sum()

    assert jax.jit(jax.grad(caller))(jnp.ones(4)).tolist() == [2.0] * 4
    with jax.ensure_compile_time_eval():
        assert Probe(trial)() is None


def stand_in(monkeypatch: pytest.MonkeyPatch, *capabilities: str, processes: int = 1) -> None:
    """GPUs of those compute capabilities."""
    gpus = [types.SimpleNamespace(compute_capability=each) for each in capabilities]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    monkeypatch.setattr(jax, "device_count", lambda: len(gpus))
    monkeypatch.setattr(jax, "devices", lambda *_: gpus)


@pytest.mark.parametrize(
    "module, call",
    [
        (sdpa_cudnn, lambda x: sdpa_cudnn.why_not_cudnn(x.dtype, (64, 64), True) is None),
        (favor_fused, lambda x: favor_fused.why_not_fused(
            "positive", x.dtype, (64, 64), 128, True) is None),
        (lsh_fused, lambda x: lsh_fused.usable(lsh_fused.Shape(64, 3, 1, 3, True), x, x)),
    ],
    ids=["cudnn", "favor", "lsh"],
)  # fmt: skip
def test_kernels_come_back_after_a_full_device_and_not_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, call: Callable[[jax.Array], bool]
) -> None:
    x = jnp.zeros((1, 64, 1, 64), jnp.bfloat16)
    stand_in(monkeypatch, "9.0")
    monkeypatch.setattr(probes, "triton", object)
    monkeypatch.setattr(module, "_probe", Probe(Trials(RuntimeError(FULL), None)))
    assert [call(x) for _ in range(3)] == [False, True, True]
    trials = Trials(RuntimeError("no such kernel"))
    monkeypatch.setattr(module, "_probe", Probe(trials))
    assert not call(x) and not call(x) and len(trials.calls) == 1


@pytest.mark.parametrize("wrong", range(4))
def test_one_gradient_of_nan_is_wrong_numbers(monkeypatch: pytest.MonkeyPatch, wrong: int) -> None:
    """Wherever it stands: the largest of some numbers need not be the NaN among them."""
    real = favor_fused.fused_attention

    def spoilt(q: jax.Array, k: jax.Array, v: jax.Array, *rest: Any, **how: Any) -> jax.Array:
        @jax.custom_vjp
        def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            return real(q, k, v, *rest, **how)

        def forward(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, Pull]:
            out, pull = jax.vjp(lambda *x: real(*x, *rest, **how), q, k, v)
            return (out * jnp.nan if wrong == 0 else out), pull

        def backward(pull: Pull, do: jax.Array) -> tuple[jax.Array, ...]:
            return tuple(x * jnp.nan if i == wrong - 1 else x for i, x in enumerate(pull(do)))

        attend.defvjp(forward, backward)
        return attend(q, k, v)

    assert favor_fused._trial(16, 16, 16, interpret=True) is None
    monkeypatch.setattr(favor_fused, "fused_attention", spoilt)
    assert "wrong numbers" in str(favor_fused._trial(16, 16, 16, interpret=True))


@pytest.mark.parametrize(
    "sizes", [(3, 1, 3, True), (3, 2, 2, True), (1, 0, 1, True), (3, 0, 3, False)]
)
def test_lsh_kernels_are_held_to_all_pairs_written_out(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int, int, bool]
) -> None:
    monkeypatch.setattr(lsh_fused, "_INTERPRET", True)
    given = lsh_fused.Shape(16, *sizes), "bfloat16", 16, 32
    assert lsh_fused._trial(*given) is None
    real = lsh_fused.backward
    for wrong in range(3):
        for factor in (1.2, jnp.nan):

            def spoilt(
                *args: Any, wrong: int = wrong, factor: float = factor
            ) -> tuple[jax.Array, ...]:
                return tuple(x * factor if i == wrong else x for i, x in enumerate(real(*args)))

            monkeypatch.setattr(lsh_fused, "backward", spoilt)
            assert "wrong numbers" in str(lsh_fused._trial(*given))


def test_several_processes_decide_the_same_without_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = Trials()
    for module in (sdpa_cudnn, favor_fused, lsh_fused):
        monkeypatch.setattr(module, "_probe", Probe(trials))
    monkeypatch.setattr(probes, "triton", object)
    x = jnp.zeros((1, 64, 1, 64), jnp.bfloat16)

    def chosen() -> tuple[str, str]:
        return choose("auto", dtype=x.dtype, widths=(64, 64), lengths=(512, 512), plain=True)

    stand_in(monkeypatch, "9.0", "8.0", processes=2)
    assert chosen() == ("cudnn", "all GPUs are of a kind that has it")
    # The fused kernels are for one device.
    assert not lsh_fused.usable(lsh_fused.Shape(64, 3, 1, 3, True), x, x)
    assert "several devices" in str(
        favor_fused.why_not_fused("positive", x.dtype, (64, 64), 128, True)
    )
    for other in ("7.5", "gfx942"):
        stand_in(monkeypatch, "9.0", other, processes=2)
        assert chosen()[0] != "cudnn" and "not all GPUs" in chosen()[1]
    assert not trials.calls
