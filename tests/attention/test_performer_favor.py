"""FAVOR+ against the quadratic formula of its own features, and the estimator's statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.attention.favor_features import draw_projections, log_features
from jaxattn.attention.performer_favor import performer_favor
from jaxattn.errors import InputError

KEY = jax.random.key(3)
attend = jax.jit(performer_favor, static_argnames=("nb_features", "features", "orthogonal"))
draw = jax.jit(draw_projections, static_argnums=(1, 2, 3))


def arrays(batch, queries, keys, heads, width, value_width, seed=0, std=1.0):
    rng = np.random.default_rng(seed)
    q = std * rng.normal(size=(batch, queries, heads, width))
    k = std * rng.normal(size=(batch, keys, heads, width))
    v = rng.normal(size=(batch, keys, heads, value_width))
    return q.astype(np.float32), k.astype(np.float32), v.astype(np.float32)


def phi(x, projections, features):
    """The feature map in float64, factor by factor as the paper writes it; no stabiliser."""
    x, w = np.asarray(x, np.float64), np.asarray(projections, np.float64)
    scale = np.exp(-np.square(x).sum(-1, keepdims=True) / 2)
    if features == "positive":
        return scale * np.exp(x @ w.T) / np.sqrt(len(w))
    both = np.concatenate([np.exp(x @ w.T), np.exp(-x @ w.T)], axis=-1)
    return scale * both / np.sqrt(2 * len(w))


def quadratic(q, k, v, features, count, orthogonal, weight_BHNM):
    """sum_j w_ij phi(q_i) . phi(k_j) v_j over the same sum without v, N x M weights written out."""
    width = q.shape[-1]
    w = draw(KEY, count, width, orthogonal)
    phi_q, phi_k = phi(q * width**-0.25, w, features), phi(k * width**-0.25, w, features)
    weights = weight_BHNM * np.einsum("bnhf,bmhf->bhnm", phi_q, phi_k)
    total = weights.sum(-1, keepdims=True)
    weights = weights / np.where(total > 0, total, 1.0)
    return np.einsum("bhnm,bmhv->bnhv", weights, v)


@pytest.mark.parametrize("features", ["positive", "hyperbolic"])
@pytest.mark.parametrize("orthogonal", [True, False])
def test_matches_the_quadratic_formula(features, orthogonal):
    rng = np.random.default_rng(5)
    q, k, v = arrays(3, 11, 17, 2, 5, 3)
    key_mask = rng.random((3, 17)) < 0.6
    key_mask[1] = False
    attn_mask = rng.random((2, 1, 17)) < 0.7
    bias = rng.normal(size=(1, 2, 1, 17)).astype(np.float32)
    out = attend(
        q, k, v, key_mask=key_mask, attn_mask=attn_mask, bias=bias, key=KEY,
        nb_features=12, features=features, orthogonal=orthogonal,
    )  # fmt: skip
    weight = np.exp(bias) * attn_mask * key_mask[:, None, None, :]
    expected = quadratic(q, k, v, features, 12, orthogonal, weight)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)
    assert not out[1].any()


@pytest.mark.parametrize("length, far", [(30, 200), (65, 0), (200, 7), (300, 70)])
def test_relative_bias_matches_the_quadratic_formula(reference, length, far):
    """Lengths of one to five chunks; the far keys are those of the running sums."""
    rng = np.random.default_rng(length)
    q, k, v = arrays(2, length, length, 2, 4, 3)
    key_mask = rng.random((2, length)) < 0.8
    table = rng.normal(size=(2, 2 * far + 1)).astype(np.float32)
    out = attend(q, k, v, key_mask=key_mask, relative_bias=table, key=KEY, nb_features=8)
    weight = np.exp(reference.relative_matrix(table, length)) * key_mask[:, None, None, :]
    expected = quadratic(q, k, v, "positive", 8, True, weight)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)


def test_relative_bias_gradients_match_the_quadratic_formula():
    with jax.enable_x64(True):
        q, k, v = (x.astype(np.float64) for x in arrays(1, 200, 200, 1, 4, 3))
        table = np.random.default_rng(0).normal(size=(1, 11))
        weight = np.random.default_rng(1).normal(size=v.shape)
        w = draw(KEY, 8, 4, True)
        distance = np.clip(np.arange(200) - np.arange(200)[:, None], -5, 5) + 5

        def linear(q, k, v, table):
            out = performer_favor(q, k, v, relative_bias=table, key=KEY, nb_features=8)
            return (out * weight).sum()

        def dense(q, k, v, table):
            phi_q, phi_k = (jnp.exp(log_features(x * 4**-0.25, w, "positive")) for x in (q, k))
            pair = jnp.einsum("bnhf,bmhf->bhnm", phi_q, phi_k) * jnp.exp(table[:, distance])
            pair /= pair.sum(-1, keepdims=True)
            return (jnp.einsum("bhnm,bmhv->bnhv", pair, v) * weight).sum()

        found = jax.jit(jax.grad(linear, (0, 1, 2, 3)))(q, k, v, table)
        wanted = jax.jit(jax.grad(dense, (0, 1, 2, 3)))(q, k, v, table)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


X, Y = np.random.default_rng(11).normal(size=(2, 8)) * 0.4


@functools.cache
def estimates(features, orthogonal, same=False, draws=20000, count=8):
    """Estimates of exp(x . y) for one pair, one per draw of the projections; and the truth."""
    x, y = (X / 2, X / 2) if same else (X, Y)

    def estimate(key):
        w = draw_projections(key, count, len(x), orthogonal)
        logs = [log_features(jnp.float32(z), w, features) for z in (x, y)]
        return jnp.exp(logs[0] + logs[1]).sum()

    keys = jax.random.split(jax.random.key(5), draws)
    return np.asarray(jax.jit(jax.vmap(estimate))(keys), np.float64), np.exp(x @ y)


@pytest.mark.parametrize("features", ["positive", "hyperbolic"])
@pytest.mark.parametrize("orthogonal", [True, False])
def test_estimator_is_unbiased(features, orthogonal):
    found, truth = estimates(features, orthogonal)
    half_width = 3.5 * found.std() / np.sqrt(len(found))
    assert half_width < 0.03 * truth
    assert abs(found.mean() - truth) < half_width


@pytest.mark.parametrize("orthogonal", [True, False])
def test_hyperbolic_features_have_no_larger_variance(orthogonal):
    positive, _ = estimates("positive", orthogonal)
    hyperbolic, _ = estimates("hyperbolic", orthogonal)
    assert hyperbolic.var() < positive.var()


def test_orthogonal_projections_have_lower_variance():
    """Choromanski et al. 2021, theorem 2; the gain grows with x . y, so take y = x."""
    orthogonal, _ = estimates("positive", True, same=True)
    independent, _ = estimates("positive", False, same=True)
    assert orthogonal.var() < 0.97 * independent.var()


def test_feature_maps_are_the_paper_s():
    x = np.random.default_rng(0).normal(size=(3, 6))
    w = draw(KEY, 9, 6, True)
    for features in ("positive", "hyperbolic"):
        found = np.exp(log_features(jnp.float32(x), w, features))
        np.testing.assert_allclose(found, phi(x, w, features), rtol=1e-5)


def test_projections_are_orthogonal_in_blocks_with_chi_norms():
    width, blocks = 6, 2000
    w = np.asarray(draw(KEY, width * blocks, width, True), np.float64)
    block = w.reshape(blocks, width, width)
    gram = np.einsum("bik,bjk->bij", block, block)
    off = gram[:, ~np.eye(width, dtype=bool)]
    assert np.abs(off).max() < 1e-4
    # Squared norms are chi-square with K degrees of freedom: mean K, variance 2 K.
    squares = np.diagonal(gram, axis1=1, axis2=2).ravel()
    assert abs(squares.mean() - width) < 5 * np.sqrt(2 * width / len(squares))
    assert abs(squares.var() / (2 * width) - 1) < 0.1
    # Each coordinate alone is standard normal, the first row's first one too (the sign fix).
    first = w[::width, 0]
    assert abs(first.mean()) < 5 / np.sqrt(blocks) and abs(first.var() - 1) < 0.2


def test_part_of_a_block_is_the_start_of_the_whole():
    whole, part = draw(KEY, 12, 6, True), draw(KEY, 8, 6, True)
    np.testing.assert_array_equal(whole[:8], part)


def test_large_norms_give_finite_outputs_and_gradients():
    """Logits of several hundred: the features of queries and keys hardly overlap."""
    q, k, v = arrays(2, 9, 9, 2, 8, 4, std=12.0)

    def loss(q, k, v):
        return jnp.square(performer_favor(q, k, v, key=KEY, nb_features=16)).sum()

    value_and_grad = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    value, grads = value_and_grad(q, k, v)
    assert value > 0 and all(jnp.isfinite(grad).all() for grad in grads)
    # Weights are positive and sum to 1, so ones stay ones, and their sum is the count.
    value, _ = value_and_grad(q, k, np.ones_like(v))
    np.testing.assert_allclose(value, v.size, rtol=1e-5)


def test_memory_grows_linearly():
    def temporaries(length, far):
        shape = jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)
        table = jax.ShapeDtypeStruct((1, 2 * far + 1), jnp.float32)

        def loss(q, k, v, table):
            return performer_favor(q, k, v, relative_bias=table, key=KEY).sum()

        compiled = jax.jit(jax.grad(loss, (0, 1, 2, 3))).lower(*[shape] * 3, table).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(8192, 16) < 2.2 * temporaries(4096, 16)


def test_errors_say_what_is_wrong():
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
