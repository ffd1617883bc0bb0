"""The fused kernels of FAVOR+, emulated on a CPU, against its XLA form; and who gets which."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import ArrayLike, DTypeLike

from jaxattn.attention import ATTENTIONS, probes
from jaxattn.attention.favor import attention as favor
from jaxattn.attention.favor import fused
from jaxattn.attention.favor.features import draw_projections
from jaxattn.attention.favor.fused import fused_attention, why_not_fused
from jaxattn.attention.favor.sums import FeatureMap
from jaxattn.errors import InputError

BATCH, HEADS, WIDTH, VALUES, COUNT = 2, 2, 16, 32, 64
DRAWN = draw_projections(jax.random.key(1), COUNT, WIDTH, True)


Attend = Callable[..., jax.Array]


def arrays(
    queries: int, keys: int, std: float = 1.0, dtype: DTypeLike = np.float32, seed: int = 0
) -> list[jax.Array]:
    """q, k, v and a cotangent."""
    rng = np.random.default_rng(seed)
    shapes = [(queries, WIDTH), (keys, WIDTH), (keys, VALUES), (queries, VALUES)]
    found = [rng.normal(size=(BATCH, length, HEADS, width)) for length, width in shapes]
    return [jnp.asarray(x * s, dtype) for x, s in zip(found, (std, std, 1, 1), strict=True)]


def results(
    attend: Attend,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    cotangent: jax.Array,
    bias: ArrayLike | None = None,
) -> list[jax.Array]:
    """Output and gradients of q, k, v and the bias."""

    @jax.jit
    def both(
        q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None, cotangent: jax.Array
    ) -> tuple[jax.Array | None, ...]:
        out, pull = jax.vjp(attend, q, k, v, bias)
        return out, *pull(cotangent)

    return [x for x in both(q, k, v, bias, cotangent) if x is not None]


@functools.cache
def forms() -> tuple[Attend, Attend]:
    """The fused form, emulated, and the XLA form, of `performer_favor`."""

    def attend(
        fused: bool, q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None, **given: Any
    ) -> jax.Array:
        with pytest.MonkeyPatch.context() as patch:
            if fused:
                run = functools.partial(fused_attention, interpret=True)
                patch.setattr(favor, "fused_attention", run)
                patch.setattr(favor, "why_not_fused", lambda *_: None)
            return ATTENTIONS["performer_favor"].apply(
                q, k, v, bias=bias, drawn=DRAWN, nb_features=COUNT,
                implementation="fused" if fused else "xla", **given,
            )  # fmt: skip

    return functools.partial(attend, True), functools.partial(attend, False)


def compare(
    inputs: Sequence[jax.Array], limit: float, bias: ArrayLike | None = None, **given: Any
) -> list[jax.Array]:
    fused, xla = (results(functools.partial(form, **given), *inputs, bias=bias) for form in forms())
    assert len(fused) == len(xla)
    # With one key the gradients of q and k are nothing but rounding.
    least = 1.0 if inputs[1].shape[1] == 1 else 0.0
    for one, other in zip(fused, xla, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        one, other = np.float64(one), np.float64(other)
        assert np.isfinite(one).all()
        assert np.linalg.norm(one - other) <= limit * max(least, np.linalg.norm(other))
    return fused


@pytest.mark.parametrize(
    "queries, keys", [(1, 1), (64, 64), (128, 128), (63, 65), (40, 300), (330, 20)]
)
@pytest.mark.parametrize("masked", [False, True])
def test_any_length_is_as_in_xla(queries: int, keys: int, masked: bool) -> None:
    """Values and gradients; lengths of no, one and several tiles, some programs with none."""
    given = {}
    if masked:
        given["key_mask"] = np.random.default_rng(1).random((BATCH, keys)) < 0.7
        given["key_mask"][0, 0] = True
    compare(arrays(queries, keys), 3e-6, **given)


@pytest.mark.parametrize("std", [0.01, 1.0, 5.0, 20.0])
def test_any_size_is_as_in_xla(std: float) -> None:
    compare(arrays(100, 100, std), 1e-5 * max(1.0, std))


@pytest.mark.parametrize("shape", [(1, 1, 1), (BATCH, 1, 1), (1, HEADS, 1), (BATCH, HEADS, 1)])
def test_biases_of_keys_and_their_gradients_are_as_in_xla(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    bias = np.float32(rng.normal(size=(*shape, 130)))
    bias[..., 5] = -np.inf
    mask = rng.random((1, HEADS, 1, 130)) < 0.8
    key_mask = rng.random((BATCH, 130)) < 0.8
    found = compare(
        arrays(130, 130), 5e-6, bias=jnp.asarray(bias), attn_mask=mask, key_mask=key_mask
    )
    assert found[-1].shape == bias.shape and not found[-1][..., 5].any()


def test_bfloat16_is_as_close_as_in_xla() -> None:
    inputs = arrays(200, 200, 0.7, jnp.bfloat16)
    mask = np.random.default_rng(1).random((BATCH, 200)) < 0.7
    exact = results(
        functools.partial(forms()[1], key_mask=mask), *(x.astype(jnp.float32) for x in inputs)
    )
    found = compare(inputs, 0.02, key_mask=mask)
    for one, other in zip(found, exact, strict=True):
        assert np.linalg.norm(np.float32(one) - other) < 0.015 * np.linalg.norm(other)


def test_rows_without_keys_and_what_stands_in_padding() -> None:
    """Zeros and no gradients; NaN in hidden keys and unused queries reaches nothing else."""
    q, k, v, cotangent = arrays(150, 150)
    mask = np.random.default_rng(1).random((BATCH, 150)) < 0.7
    mask[1] = False
    clean = compare((q, k, v, cotangent), 3e-6, key_mask=mask)
    for x in clean:
        assert not x[1].any()
    hidden = jnp.asarray(~mask)[..., None, None]
    live = jnp.where(hidden, 0, cotangent)
    clean = compare((q, k, v, live), 3e-6, key_mask=mask)
    spoilt = [jnp.where(hidden, jnp.nan, x) for x in (q, k, v)]
    dirty = results(functools.partial(forms()[0], key_mask=mask), *spoilt, live)
    np.testing.assert_array_equal(dirty[0][mask], clean[0][mask])
    for one, other in zip(dirty[1:], clean[1:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_program_or_many_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = arrays(640, 640)
    results_of = {}
    for programs in (1, 12, 10**6):
        monkeypatch.setattr(fused, "_PROGRAMS", programs)
        results_of[programs] = compare(inputs, 3e-6)
    for one, many in zip(results_of[1], results_of[10**6], strict=True):
        np.testing.assert_allclose(one, many, rtol=0, atol=3e-6 * float(jnp.abs(one).max()))


def test_what_the_kernels_cannot_do_is_left_to_xla_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    q, k, v, _ = arrays(8, 8, dtype=jnp.bfloat16)
    call = functools.partial(ATTENTIONS["performer_favor"].apply, q, k, v, key=jax.random.key(0))
    with pytest.raises(InputError, match="found 'fused', but the device is no CUDA GPU"):
        call(implementation="fused")
    with pytest.raises(InputError, match="implementation: found 'cuda', allowed: auto, xla, fused"):
        call(implementation="cuda")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(fused, "_probe", lambda *_: None)
    given = {"dtype": jnp.bfloat16, "widths": (64, 64), "count": 128, "plain": True}
    assert why_not_fused("positive", **given) is None
    found = favor.choose("auto", FeatureMap("positive", 128), dtype=jnp.bfloat16, widths=(64, 64))
    assert found == ("fused", "its probe succeeded")
    for change, reason in [
        ({"plain": False}, "segments .* left to xla"),
        ({"dtype": jnp.float32}, "bfloat16, not float32"),
        ({"widths": (48, 48)}, "head widths of .*, not"),
        ({"count": 100}, "not 100 of width 64"),
        ({"widths": (128, 128), "count": 256}, "not 256 of width 128"),
    ]:
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(why_not_fused("positive", **{**given, **change}))
    assert "hyperbolic" in why_not_fused("hyperbolic", **given)
    monkeypatch.setattr(probes, "triton", lambda: None)
    assert "no Pallas for Triton" in why_not_fused("positive", **given)


def test_a_probe_that_fails_leaves_the_work_to_xla(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU the kernels cannot be compiled: the reason is the compiler's."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(fused, "_probe", probes.Probe(fused._trial))
    found = favor.choose("auto", FeatureMap("positive", 128), dtype=jnp.bfloat16, widths=(64, 64))
    assert found[0] == "xla" and "its probe failed" in found[1]
