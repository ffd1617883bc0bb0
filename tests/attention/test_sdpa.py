"""Exact attention against a float64 reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.attention.sdpa import sdpa
from jaxattn.errors import InputError


def arrays(batch, queries, keys, heads, width, value_width, seed=0):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(batch, queries, heads, width))
    k = rng.normal(size=(batch, keys, heads, width))
    v = rng.normal(size=(batch, keys, heads, value_width))
    return q.astype(np.float32), k.astype(np.float32), v.astype(np.float32)


@pytest.mark.parametrize("queries, keys", [(1, 1), (5, 9), (12, 12)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_matches_float64_with_masks_and_biases(reference, queries, keys, with_bias):
    rng = np.random.default_rng(1)
    q, k, v = arrays(3, queries, keys, 2, 7, 5)
    key_mask = rng.random((3, keys)) < 0.7
    attn_mask = rng.random((1, 2, queries, keys)) < 0.7
    bias = rng.normal(size=(3, 1, queries, keys)).astype(np.float32) if with_bias else None
    out = sdpa(q, k, v, key_mask=key_mask, attn_mask=attn_mask, bias=bias)
    mask = attn_mask & key_mask[:, None, None, :]
    expected = reference.softmax_attention(reference.scores(q, k, bias), v, mask)
    error = np.abs(out - expected).max()
    assert error <= 1e-6 * np.abs(v).max(), error


@pytest.mark.parametrize("far", [0, 1, 3, 20])
def test_relative_bias(reference, far):
    q, k, v = arrays(2, 9, 9, 2, 4, 4)
    table = np.random.default_rng(2).normal(size=(2, 2 * far + 1)).astype(np.float32)
    out = sdpa(q, k, v, relative_bias=table)
    scores = reference.scores(q, k, relative_bias=table)
    expected = reference.softmax_attention(scores, v, np.ones_like(scores, bool))
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-6)


def test_minus_infinity_in_the_bias_is_a_mask():
    q, k, v = arrays(2, 6, 6, 2, 4, 4)
    mask = np.random.default_rng(3).random((2, 2, 6, 6)) < 0.5
    mask[0, 0, 2] = False
    bias = np.where(mask, 0.0, -np.inf).astype(np.float32)

    def loss(q, **given):
        return jnp.square(sdpa(q, k, v, **given)).sum()

    np.testing.assert_array_equal(sdpa(q, k, v, bias=bias), sdpa(q, k, v, attn_mask=mask))
    by_bias, by_mask = jax.grad(loss)(q, bias=bias), jax.grad(loss)(q, attn_mask=mask)
    assert jnp.isfinite(by_bias).all()
    np.testing.assert_allclose(by_bias, by_mask, atol=1e-6)


def test_dropout_keeps_the_mean_and_drops_the_share():
    rate, keys = 0.25, 400
    q, k, v = np.zeros((1, 300, 1, 4)), np.zeros((1, keys, 1, 4)), np.ones((1, keys, 1, 4))
    out = sdpa(
        jnp.float32(q), jnp.float32(k), jnp.float32(v),
        dropout_rate=rate, dropout_key=jax.random.key(0),
    )  # fmt: skip
    # Each output is the mean of `keys` variables 0 or 4/3 of variance rate / (1 - rate).
    deviation = np.sqrt(rate / (1 - rate) / keys)
    assert abs(float(out.mean()) - 1.0) < 5 * deviation / np.sqrt(300)
    assert abs(float(out[0, :, 0, 0].std()) / deviation - 1.0) < 0.2


def test_errors_say_what_is_wrong():
    q, k, v = arrays(2, 4, 6, 2, 4, 4)
    with pytest.raises(InputError, match="dropout_key"):
        sdpa(q, k, v, dropout_rate=0.1)
    with pytest.raises(InputError, match="0 <= rate < 1"):
        sdpa(q, k, v, dropout_rate=1.0)
    with pytest.raises(InputError, match=r"k has shape \(2, 5, 2, 4\)"):
        sdpa(q, k[:, :5], v)
    with pytest.raises(InputError, match="key_mask has shape"):
        sdpa(q, k, v, key_mask=np.ones((2, 4), bool))
    with pytest.raises(InputError, match=r"expected .* and bool"):
        sdpa(q, k, v, key_mask=np.ones((2, 6), np.int32))
    with pytest.raises(InputError, match="broadcasts to"):
        sdpa(q, k, v, attn_mask=np.ones((3, 6), bool))
    with pytest.raises(InputError, match="bias has type bool"):
        sdpa(q, k, v, bias=np.ones((4, 6), bool))
    with pytest.raises(InputError, match="one sequence"):
        sdpa(q, k, v, relative_bias=np.ones((2, 3), np.float32))
    with pytest.raises(InputError, match="2 D"):
        sdpa(q, q, q, relative_bias=np.ones((2, 4), np.float32))
