"""FAVOR+ at every size of its inputs: outputs and gradients against a float64 reference.

The reference writes out all pairs in the logarithmic domain, log sum_f exp(log phi_f(q_i) +
log phi_f(k_j)), so that it neither under- nor overflows.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import DTypeLike

from jaxattn.attention import ATTENTIONS, blocks
from jaxattn.attention.favor import local

KEY = jax.random.key(3)
BATCH, LENGTH, HEADS, WIDTH, VALUES, COUNT = 2, 48, 2, 16, 8, 32
MAPS = ["positive", "hyperbolic", "optimal"]
FORMS = ["plain", "key_mask", "relative", "packed", "dense"]
FAR = 5
FAVOR = ATTENTIONS["performer_favor"]
DRAWN = jax.jit(functools.partial(FAVOR.draw, head_width=WIDTH, nb_features=COUNT))(KEY)


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_CPU_NUMBERS", 2048)
        patch.setattr(local, "_SHORTEST_CHUNK", 8)
        yield


# q, k, v and a cotangent.
Inputs = tuple[np.ndarray, ...]


def arrays(std: float, seed: int = 0, mean_q: float = 0.0, mean_k: float = 0.0) -> Inputs:
    """q, k, v and a cotangent."""
    rng = np.random.default_rng(seed)
    q, k = (std * rng.normal(size=(BATCH, LENGTH, HEADS, WIDTH)) for _ in range(2))
    v, cotangent = (rng.normal(size=(BATCH, LENGTH, HEADS, VALUES)) for _ in range(2))
    return tuple(np.float32(x) for x in (q + mean_q, k + mean_k, v, cotangent))


def given_of(form: str, seed: int = 1) -> dict[str, Any]:
    """Arguments of that form of attention."""
    rng = np.random.default_rng(seed)
    given: dict[str, Any] = {}
    if form != "plain":
        given["key_mask"] = rng.random((BATCH, LENGTH)) < 0.8
    if form == "relative":
        given["relative_bias"] = np.float32(rng.normal(size=(HEADS, 2 * FAR + 1)))
    if form == "packed":
        ids = np.repeat([[1, 2, 1, 4]], [3, 20, 1, 24], axis=1)
        given["segment_ids"] = ids.repeat(BATCH, 0).astype(np.int32)
        # A document without visible keys.
        given["key_mask"][0, :3] = False
    if form == "dense":
        given["attn_mask"] = rng.random((1, 1, LENGTH, LENGTH)) < 0.7
    return given


def log_phi(x: jax.Array, features: str, tilt: jax.Array) -> jax.Array:
    """Logarithm of the papers' feature maps of x [N, K]."""
    w = jnp.asarray(DRAWN, jnp.float64)
    square = jnp.square(x).sum(-1, keepdims=True) / 2
    if features == "hyperbolic":
        return jnp.concatenate([x @ w.T, -x @ w.T], -1) - square
    return tilt * jnp.square(w).sum(-1) + (1 - 4 * tilt) ** 0.5 * (x @ w.T) - square


def tilt_of(q: np.ndarray, k: np.ndarray, real: np.ndarray) -> float:
    """FAVOR++'s A of one document of one head, from the mean of |q_i + k_j|^2 pair by pair."""
    pairs = np.square(np.float64(q)[real][:, None] + np.float64(k)[real][None]).sum(-1)
    f = pairs.mean() / WIDTH**0.5 if pairs.size else 0.0
    return (WIDTH - 2 * f - np.sqrt((2 * f + WIDTH) ** 2 + 8 * WIDTH * f)) / (16 * WIDTH)


@functools.partial(jax.jit, static_argnames="features")
def quadratic(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    visible: jax.Array,
    added: jax.Array,
    tilt: jax.Array,
    features: str,
) -> jax.Array:
    """One document of one head: q, k [N, K], v [N, V], visible and added [N, N]."""
    log_q, log_k = (log_phi(x * WIDTH**-0.25, features, tilt) for x in (q, k))
    pairs = jax.nn.logsumexp(log_q[:, None] + log_k[None], axis=-1) + added
    some = visible.any(-1, keepdims=True)
    pairs = jnp.where(visible, pairs, jnp.where(some, -jnp.inf, 0.0))
    return jnp.where(some, jax.nn.softmax(pairs, axis=-1), 0.0) @ v


def expected(inputs: Inputs, features: str, given: dict[str, Any]) -> list[np.ndarray]:
    """Output and gradients of q, k and v, in float64."""
    with jax.enable_x64(True):
        q, k, v, cotangent = (np.float64(x) for x in inputs)
        real = given.get("key_mask", np.ones((BATCH, LENGTH), bool))
        ids = given.get("segment_ids", np.zeros((BATCH, LENGTH), np.int32))
        seen = np.broadcast_to(real[:, None], (BATCH, LENGTH, LENGTH))
        if "attn_mask" in given:
            seen = seen & given["attn_mask"][:, 0]
        distance = np.clip(np.arange(LENGTH) - np.arange(LENGTH)[:, None], -FAR, FAR) + FAR
        table = np.float64(given.get("relative_bias", np.zeros((HEADS, 2 * FAR + 1))))
        results = [np.zeros_like(x) for x in (v, q, k, v)]
        for b, h in np.ndindex(BATCH, HEADS):
            for own in np.split(np.arange(LENGTH), np.flatnonzero(np.diff(ids[b])) + 1):
                at, square = (b, own, h), np.ix_(own, own)
                tilt = tilt_of(q[at], k[at], real[b, own]) if features == "optimal" else 0.0
                out, pull = jax.vjp(
                    functools.partial(
                        quadratic,
                        visible=seen[b][square],
                        added=table[h][distance[square]],
                        tilt=tilt,
                        features=features,
                    ),
                    q[at], k[at], v[at],
                )  # fmt: skip
                for result, x in zip(results, (out, *pull(cotangent[at])), strict=True):
                    result[at] = x
        return results


@functools.cache
def compiled(features: str, dense: bool) -> Callable[..., tuple[jax.Array, ...]]:
    def run(
        q: jax.Array, k: jax.Array, v: jax.Array, cotangent: jax.Array, given: dict[str, jax.Array]
    ) -> tuple[jax.Array, ...]:
        def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            return FAVOR.apply(
                q, k, v, drawn=DRAWN, nb_features=COUNT, features=features, dense_masks=dense,
                **given,
            )  # fmt: skip

        out, pull = jax.vjp(attend, q, k, v)
        return out, *pull(cotangent)

    return jax.jit(run)


def found(
    inputs: Inputs, features: str, given: dict[str, Any], dtype: DTypeLike = jnp.float32
) -> tuple[jax.Array, ...]:
    """Output and gradients of q, k and v, of `performer_favor`."""
    run = compiled(features, "attn_mask" in given)
    return run(*(jnp.asarray(x, dtype) for x in inputs), given)


def seen_queries(inputs: Inputs, given: dict[str, Any]) -> Inputs:
    """The inputs with no gradient from queries in padding, whose outputs mean nothing."""
    q, k, v, cotangent = inputs
    real = given.get("key_mask", np.ones((BATCH, LENGTH), bool))[..., None, None]
    return q, k, v, np.where(real, cotangent, 0).astype(np.float32)


def errors(inputs: Inputs, features: str, given: dict[str, Any]) -> list[float]:
    """Of the output and the gradients: |difference| / |expected|, of real tokens."""
    inputs = seen_queries(inputs, given)
    results, wanted = found(inputs, features, given), expected(inputs, features, given)
    results = [np.float64(x) for x in results]
    real = given.get("key_mask", np.ones((BATCH, LENGTH), bool))
    results[0], wanted[0] = results[0][real], wanted[0][real]
    assert all(np.isfinite(x).all() for x in results)
    return [np.linalg.norm(x - y) / np.linalg.norm(y) for x, y in zip(results, wanted, strict=True)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("features", MAPS)
def test_right_from_tiny_to_huge_inputs(features: str, form: str) -> None:
    """Logarithms of features reach thousands at std 20: float32 keeps four digits of the rest."""
    given = given_of(form)
    for std in (0.01, 0.3, 1.0, 3.0, 8.0, 20.0):
        limit = 3e-5 * max(1.0, std)
        errs = errors(arrays(std), features, given)
        assert max(errs) < limit, (std, errs)


CASES = [("positive", form) for form in FORMS] + [(each, "packed") for each in MAPS[1:]]


@pytest.mark.parametrize("features, form", CASES)
def test_right_with_one_huge_token(features: str, form: str) -> None:
    """Its key alone would set a stabiliser that all features of a head share."""
    q, k, v, cotangent = arrays(1.0)
    k[:, 17] *= 40
    q[:, 30] *= 40
    given = given_of(form)
    if "key_mask" in given:
        given["key_mask"][:, [17, 30]] = True
    assert max(errors((q, k, v, cotangent), features, given)) < 1e-3


@pytest.mark.parametrize("features, form", CASES)
def test_right_where_queries_and_keys_have_different_means(features: str, form: str) -> None:
    q, k, v, cotangent = arrays(1.0, mean_q=6.0, mean_k=-4.0)
    assert max(errors((q, k, v, cotangent), features, given_of(form))) < 1e-3


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("form", ["plain", "key_mask", "packed", "dense"])
def test_equal_tokens_give_the_average_of_the_values(form: str, size: float) -> None:
    q, k, v, cotangent = arrays(1.0)
    q, k = (np.broadcast_to(size * x[:1, :1], x.shape) for x in (q, k))
    given = given_of(form)
    inputs = seen_queries((q, k, v, cotangent), given)
    results, wanted = found(inputs, "positive", given), expected(inputs, "positive", given)
    for result, expect in zip(results, wanted, strict=True):
        np.testing.assert_allclose(result, expect, atol=1e-4 * max(1.0, size), rtol=0)


@pytest.mark.parametrize("features, form", CASES)
def test_what_stands_in_padding_changes_nothing(features: str, form: str) -> None:
    """NaN, infinities and huge numbers in hidden keys and in the queries beside them."""
    given = given_of(form)
    if form == "plain":
        given["key_mask"] = given_of("key_mask")["key_mask"]
    inputs = seen_queries(arrays(8.0), given)
    hidden = np.flatnonzero(~given["key_mask"])
    spoilt = [x.copy() for x in inputs[:3]]
    for x in spoilt:
        flat = x.reshape(-1, *x.shape[2:])
        flat[hidden[::3]], flat[hidden[1::3]], flat[hidden[2::3]] = np.nan, np.inf, -1e30
    clean = found(inputs, features, given)
    dirty = found((*spoilt, inputs[3]), features, given)
    real = given["key_mask"]
    np.testing.assert_array_equal(clean[0][real], dirty[0][real])
    for one, other in zip(clean[1:], dirty[1:], strict=True):
        np.testing.assert_array_equal(one[real], other[real])
        assert np.isfinite(other).all() and not other[~real].any()


@pytest.mark.parametrize("std", [1.0, 20.0])
@pytest.mark.parametrize("features, form", CASES)
def test_rows_without_keys_give_zeros_and_no_gradients(
    features: str, form: str, std: float
) -> None:
    given = given_of("key_mask" if form == "plain" else form)
    given["key_mask"][1] = False
    results = found(arrays(std), features, given)
    assert results[0][0].any()
    for x in results:
        assert np.isfinite(x).all() and not x[1].any()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("features, form", CASES)
def test_outputs_and_gradients_have_the_inputs_type(
    features: str, form: str, dtype: DTypeLike
) -> None:
    """And are close to those in float32, where the inputs are of the usual size."""
    given = given_of(form)
    inputs = seen_queries(arrays(0.5), given)
    results, wanted = found(inputs, features, given, dtype), found(inputs, features, given)
    for result, expect in zip(results, wanted, strict=True):
        assert result.dtype == dtype
        error = np.linalg.norm(np.float32(result) - expect) / np.linalg.norm(expect)
        assert error < 0.04, error
