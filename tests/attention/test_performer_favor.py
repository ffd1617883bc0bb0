"""FAVOR+ against the quadratic formula of its own features."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import ArrayLike

from jaxattn.attention import ATTENTIONS, blocks
from jaxattn.attention.favor import attention as favor_module
from jaxattn.attention.favor import local
from jaxattn.attention.favor.features import draw_projections, log_features
from jaxattn.errors import InputError
from tests.attention.conftest import Reference
from tests.attention.inputs import arrays

sdpa, performer_favor = (ATTENTIONS[name].apply for name in ("sdpa", "performer_favor"))
KEY = jax.random.key(3)
MAPS = ["positive", "hyperbolic", "optimal"]
draw = jax.jit(draw_projections, static_argnums=(1, 2, 3))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few positions, the last one ragged."""
    monkeypatch.setattr(blocks, "_CPU_NUMBERS", 512)
    monkeypatch.setattr(local, "_SHORTEST_CHUNK", 8)


def attend(*args: np.ndarray, **given: Any) -> jax.Array:
    arrays = {name: x for name, x in given.items() if isinstance(x, np.ndarray)}
    options = {name: x for name, x in given.items() if name not in arrays}
    return jax.jit(functools.partial(performer_favor, key=KEY, **options))(*args, **arrays)


def phi(x: ArrayLike, projections: ArrayLike, features: str, tilt: float = 0.0) -> np.ndarray:
    """The feature map in float64, factor by factor as the papers write it; no stabiliser."""
    x, w = np.asarray(x, np.float64), np.asarray(projections, np.float64)
    scale = np.exp(-np.square(x).sum(-1, keepdims=True) / 2)
    if features == "hyperbolic":
        both = np.concatenate([np.exp(x @ w.T), np.exp(-x @ w.T)], axis=-1)
        return scale * both / np.sqrt(2 * len(w))
    scale = scale * (1 - 4 * tilt) ** (x.shape[-1] / 4)
    raised = np.exp(tilt * np.square(w).sum(-1) + np.sqrt(1 - 4 * tilt) * (x @ w.T))
    return scale * raised / np.sqrt(len(w))


def best_tilt(q: np.ndarray, k: np.ndarray, real: np.ndarray) -> float:
    """FAVOR++'s A of one head of one document, from the mean of |q_i + k_j|^2 pair by pair."""
    width = q.shape[-1]
    q, k = (np.asarray(x, np.float64) * width**-0.25 for x in (q, k))
    if len(q) == len(k):
        q = q[real]
    pairs = np.square(q[:, None] + k[real][None]).sum(-1)
    f = pairs.mean() if pairs.size else 0.0
    return (width - 2 * f - np.sqrt((2 * f + width) ** 2 + 8 * width * f)) / (16 * width)


def quadratic(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    features: str,
    count: int,
    orthogonal: bool,
    weight_BHNM: np.ndarray,
    key_mask: np.ndarray | None = None,
    ids: np.ndarray | None = None,
) -> np.ndarray:
    """sum_j w_ij phi(q_i) . phi(k_j) v_j over the same sum without v, N x M weights written out.

    `weight` does not know the documents `ids`: they are taken one by one here.
    """
    batch, length, heads, width = q.shape
    w = draw(KEY, count, width, orthogonal)
    key_mask = np.ones(k.shape[:2], bool) if key_mask is None else key_mask
    pairs = np.zeros((batch, heads, length, k.shape[1]))
    for b, h in np.ndindex(batch, heads):
        cuts = [] if ids is None else np.flatnonzero(np.diff(ids[b])) + 1
        queries, keys = (np.split(np.arange(n), cuts) for n in (length, k.shape[1]))
        for own_q, own_k in zip(queries, keys, strict=True):
            q_own, k_own = q[b, own_q, h], k[b, own_k, h]
            tilt = best_tilt(q_own, k_own, key_mask[b, own_k]) if features == "optimal" else 0.0
            phi_q, phi_k = (phi(x * width**-0.25, w, features, tilt) for x in (q_own, k_own))
            pairs[b, h][np.ix_(own_q, own_k)] = phi_q @ phi_k.T
    weights = weight_BHNM * pairs * key_mask[:, None, None]
    total = weights.sum(-1, keepdims=True)
    weights = weights / np.where(total > 0, total, 1.0)
    return np.einsum("bhnm,bmhv->bnhv", weights, v)


@pytest.mark.parametrize("features", MAPS)
def test_feature_maps_are_the_papers(features: str) -> None:
    x = np.random.default_rng(0).normal(size=(3, 6))
    w = draw(KEY, 9, 6, True)
    tilt = jnp.float32(-0.1) if features == "optimal" else None
    found = np.exp(log_features(jnp.float32(x), w, features, tilt))
    expected = phi(x, w, features, -0.1 if features == "optimal" else 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("features", MAPS)
@pytest.mark.parametrize("orthogonal", [True, False])
def test_matches_the_quadratic_formula(features: str, orthogonal: bool, small_blocks: None) -> None:
    """Several chunks of queries and of keys, both ragged."""
    rng = np.random.default_rng(5)
    q, k, v = arrays(3, 11, 29, 2, 5, 3)
    key_mask = rng.random((3, 29)) < 0.6
    key_mask[1] = False
    attn_mask = rng.random((2, 1, 29)) < 0.7
    bias = rng.normal(size=(1, 2, 1, 29)).astype(np.float32)
    out = attend(
        q, k, v, key_mask=key_mask, attn_mask=attn_mask, bias=bias,
        nb_features=12, features=features, orthogonal=orthogonal,
    )  # fmt: skip
    weight = np.exp(bias) * attn_mask
    expected = quadratic(q, k, v, features, 12, orthogonal, weight, key_mask)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)
    assert not out[1].any()


@pytest.mark.parametrize("features", MAPS)
def test_dense_masks_match_the_quadratic_formula(features: str) -> None:
    """Masks and biases that depend on the query, at quadratic cost."""
    rng = np.random.default_rng(5)
    q, k, v = arrays(2, 15, 15, 2, 5, 3)
    key_mask = rng.random((2, 15)) < 0.8
    attn_mask = rng.random((2, 1, 15, 15)) < 0.7
    attn_mask[0, 0, 4] = False
    bias = rng.normal(size=(2, 15, 15)).astype(np.float32)
    table = rng.normal(size=(2, 7)).astype(np.float32)
    ids = np.repeat([[1, 2, 1]], [6, 4, 5], axis=1).repeat(2, 0).astype(np.int32)
    out = attend(
        q, k, v, key_mask=key_mask, attn_mask=attn_mask, bias=bias, relative_bias=table,
        segment_ids=ids, nb_features=12, features=features, dense_masks=True,
    )  # fmt: skip
    distance = np.clip(np.arange(15) - np.arange(15)[:, None], -3, 3) + 3
    weight = np.exp(bias + table[:, distance]) * attn_mask
    expected = quadratic(q, k, v, features, 12, True, weight, key_mask, ids)
    real = key_mask
    np.testing.assert_allclose(out[real], expected[real], rtol=0, atol=1e-5)
    assert not out[0, 4].any()


@pytest.mark.parametrize(
    "length, far, features, packed",
    [
        (30, 200, "positive", False),
        (65, 0, "hyperbolic", False),
        (200, 7, "positive", True),
        (300, 70, "optimal", True),
    ],
)
def test_relative_bias_matches_the_quadratic_formula(
    reference: type[Reference], length: int, far: int, features: str, packed: bool
) -> None:
    """Lengths of one to five chunks; the far keys are those of the running sums."""
    rng = np.random.default_rng(length)
    q, k, v = arrays(2, length, length, 2, 4, 3)
    key_mask = rng.random((2, length)) < 0.8
    table = rng.normal(size=(2, 2 * far + 1)).astype(np.float32)
    given, ids = {}, None
    if packed:
        cuts = np.array([[10, 20, length - 30], [length // 2, length // 2 + 1, length - 1]])
        ids = (np.arange(length) >= cuts[..., None]).sum(1).astype(np.int32) % 2
        given["segment_ids"] = ids
    out = attend(
        q, k, v, key_mask=key_mask, relative_bias=table, nb_features=8, features=features, **given
    )
    weight = np.exp(reference.relative_matrix(table, length))
    if packed:
        number = np.cumsum(np.diff(ids, axis=1, prepend=ids[:, :1]) != 0, axis=1)
        weight = weight * (number[:, None, :, None] == number[:, None, None])
    expected = quadratic(q, k, v, features, 8, True, weight, key_mask, ids)
    np.testing.assert_allclose(out[key_mask], expected[key_mask], rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "features, far, packed",
    [
        ("positive", None, False),
        ("hyperbolic", None, False),
        ("optimal", None, False),
        ("positive", 5, True),
        pytest.param("hyperbolic", 0, False, marks=pytest.mark.slow),
        pytest.param("optimal", None, True, marks=pytest.mark.slow),
    ],
)
def test_gradients_match_the_quadratic_formula(
    features: str,
    far: int | None,
    packed: bool,
    small_blocks: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of q, k, v, a bias of the keys and relative_bias; several chunks, ragged ones among them."""
    tilt = jnp.float32(-0.07)
    # Its value has no gradient, nor has the reference's.
    monkeypatch.setattr(favor_module, "_tilt", lambda q, *_: jnp.full((q.shape[0], 1, 2, 1), tilt))
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        alike = far is not None or packed
        length = 53
        q, k, v = (
            x.astype(np.float64) for x in arrays(2, length if alike else 30, length, 2, 4, 3)
        )
        key_mask = rng.random((2, length)) < 0.8
        biases = {"bias": rng.normal(size=(2, 1, length))}
        given = {"key_mask": key_mask}
        mask = key_mask[:, None, None, :]
        if far is not None:
            biases["relative_bias"] = rng.normal(size=(2, 2 * far + 1))
        if packed:
            given["segment_ids"] = np.repeat([[1, 0, 1]], [20, 4, 29], axis=1).repeat(2, 0)
            number = np.repeat(np.arange(3), [20, 4, 29])
            mask = mask & (number[:, None] == number)
        cotangent = rng.normal(size=(*q.shape[:3], 3))
        if alike:
            cotangent *= key_mask[..., None, None]
        w = draw(KEY, 8, 4, True)

        def linear(
            q: jax.Array, k: jax.Array, v: jax.Array, biases: dict[str, jax.Array]
        ) -> jax.Array:
            return performer_favor(
                q, k, v, key=KEY, nb_features=8, features=features, **biases, **given
            )

        def dense(
            q: jax.Array, k: jax.Array, v: jax.Array, biases: dict[str, jax.Array]
        ) -> jax.Array:
            own = tilt if features == "optimal" else None
            phi_q, phi_k = (jnp.exp(log_features(x * 4**-0.25, w, features, own)) for x in (q, k))
            pair = jnp.einsum("bnhf,bmhf->bhnm", phi_q, phi_k) * jnp.exp(biases["bias"])
            if far is not None:
                distance = np.arange(length) - np.arange(length)[:, None]
                pair *= jnp.exp(biases["relative_bias"])[:, np.clip(distance, -far, far) + far]
            pair = jnp.where(mask, pair, 0)
            pair /= pair.sum(-1, keepdims=True)
            return jnp.einsum("bhnm,bmhv->bnhv", pair, v)

        def run(
            function: Callable[..., jax.Array],
            q: jax.Array,
            k: jax.Array,
            v: jax.Array,
            biases: dict[str, jax.Array],
        ) -> tuple[Any, ...]:
            _, pull = jax.vjp(function, q, k, v, biases)
            return pull(cotangent)

        found, wanted = (
            jax.jit(functools.partial(run, each))(q, k, v, biases) for each in (linear, dense)
        )
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-9), found, wanted
        )


@pytest.mark.parametrize("features", MAPS)
def test_error_against_exact_attention_falls_as_features_grow(features: str) -> None:
    q, k, v = arrays(2, 32, 32, 2, 5, 4, std=0.5)
    exact = sdpa(q, k, v)
    spread = float(jnp.square(exact - v.mean(1, keepdims=True)).mean())

    def error(count: int) -> float:
        run = functools.partial(performer_favor, q, k, v, nb_features=count, features=features)
        out = jax.jit(jax.vmap(lambda key: run(key=key)))(jax.random.split(KEY, 16))
        return float(jnp.square(out - exact).mean())

    errors = [error(count) for count in (20, 160, 1280)]
    # In the limit eight times the features make an eighth of the mean square error.
    assert errors[1] < 0.5 * errors[0] and errors[2] < 0.25 * errors[1], errors
    assert errors[2] < 0.1 * spread, (errors, spread)


def test_large_norms_give_finite_outputs_and_gradients() -> None:
    """Logits of several hundred: the features of queries and keys hardly overlap."""
    q, k, v = arrays(2, 9, 9, 2, 8, 4, std=12.0)

    def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return jnp.square(performer_favor(q, k, v, key=KEY, nb_features=16)).sum()

    value_and_grad = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    value, grads = value_and_grad(q, k, v)
    assert value > 0 and all(jnp.isfinite(grad).all() for grad in grads)
    # Weights are positive and sum to 1, so ones stay ones, and their sum is the count.
    value, _ = value_and_grad(q, k, np.ones_like(v))
    np.testing.assert_allclose(value, v.size, rtol=1e-5)


@pytest.mark.parametrize(
    "features, far",
    [
        ("positive", None),
        ("hyperbolic", None),
        ("optimal", None),
        ("positive", 16),
        pytest.param("positive", None, marks=pytest.mark.slow),
        pytest.param("optimal", 16, marks=pytest.mark.slow),
    ],
)
def test_memory_grows_linearly(features: str, far: int | None) -> None:
    """Temporaries of forward and backward pass, with relative positions and documents too."""

    def temporaries(length: int) -> int:
        shape = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
        table = jax.ShapeDtypeStruct((2, 2 * (far or 0) + 1), jnp.float32)
        ids = jax.ShapeDtypeStruct((1, length), jnp.int32)

        def loss(
            q: jax.Array, k: jax.Array, v: jax.Array, table: jax.Array, ids: jax.Array
        ) -> jax.Array:
            given = {} if far is None else {"relative_bias": table, "segment_ids": ids}
            return performer_favor(q, k, v, key=KEY, features=features, **given).sum()

        run = jax.jit(jax.grad(loss, (0, 1, 2, 3)))
        compiled = run.lower(shape, shape, shape, table, ids).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    found = [temporaries(length) for length in (4096, 8192)]
    assert found[1] <= 2.1 * found[0], found


def test_errors_say_what_is_wrong() -> None:
    q, k, v = arrays(1, 6, 6, 1, 4, 4)
    dense = np.ones((1, 1, 6, 6), bool)
    with pytest.raises(InputError, match=r"pass key=jax.random.key"):
        performer_favor(q, k, v)
    with pytest.raises(InputError, match=r"attn_mask .* depends on the query, which linear"):
        performer_favor(q, k, v, key=KEY, attn_mask=dense)
    with pytest.raises(InputError, match=r"bias .* depends on the query, which linear"):
        performer_favor(q, k, v, key=KEY, bias=dense.astype(np.float32))
    with pytest.raises(InputError, match="nb_features: found 0"):
        performer_favor(q, k, v, key=KEY, nb_features=0)
    with pytest.raises(InputError, match="features: found 'cosine', allowed: positive, hyperbolic"):
        performer_favor(q, k, v, key=KEY, features="cosine")
    with pytest.raises(InputError, match="one sequence, found 3 queries and 6 keys"):
        performer_favor(q[:, :3], k, v, key=KEY, relative_bias=np.ones((1, 3), np.float32))


@pytest.mark.parametrize("orthogonal", [True, False])
@pytest.mark.parametrize("count", [None, 7])
def test_projections_drawn_before_give_the_same_bits(orthogonal: bool, count: int | None) -> None:
    q, k, v = arrays(2, 9, 9, 2, 8, 4)
    options = {"nb_features": count, "orthogonal": orthogonal, "features": "hyperbolic"}
    draw = ATTENTIONS["performer_favor"].draw
    drawn = jax.jit(functools.partial(draw, head_width=8, **options))(KEY)
    assert drawn.shape == (count or 16, 8) and drawn.dtype == jnp.float32
    before = jax.jit(functools.partial(performer_favor, **options))(q, k, v, drawn=drawn)
    np.testing.assert_array_equal(before, attend(q, k, v, **options))


def test_projections_of_another_shape_are_refused() -> None:
    q, k, v = arrays(1, 6, 6, 1, 4, 4)
    with pytest.raises(InputError, match=r"drawn: found shape \(9, 4\) .* expected \(8, 4\)"):
        performer_favor(q, k, v, drawn=jnp.ones((9, 4)))
    with pytest.raises(InputError, match=r"drawn: found .* bfloat16, expected .* float32"):
        performer_favor(q, k, v, drawn=jnp.ones((8, 4), jnp.bfloat16))
