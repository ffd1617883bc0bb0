"""What every attention of the registry must do; a new one is held to it by its line there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.attention import ATTENTIONS
from jaxattn.attention.sdpa import sdpa
from jaxattn.config import ATTENTION_TYPES
from jaxattn.errors import InputError

KEY = jax.random.key(0)
BATCH, LENGTH, HEADS, WIDTH, VALUES = 3, 40, 2, 5, 4
# Small enough that LENGTH takes several chunks.
OPTIONS = {"reformer_lsh": {"chunk_size": 4, "num_hashes": 2}}
# Options with which the variant is exact up to 64 tokens, and at 65.
EXACT = {"reformer_lsh": {"chunk_size": 64, "mask_within_chunks": False}}
CASES = [
    (name, shared)
    for name, op in ATTENTIONS.items()
    for shared in ((False, True) if op.shares_qk else (False,))
]
every = pytest.mark.parametrize(
    "name, shared", CASES, ids=[name + "-shared" * shared for name, shared in CASES]
)


@pytest.fixture
def quick_compiles():
    """Compile with few optimisations, where the compiler is not what is tested."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def arrays(length=LENGTH, batch=BATCH, std=1.0, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    q, k = (std * rng.normal(size=(batch, length, HEADS, WIDTH)) for _ in range(2))
    v = rng.normal(size=(batch, length, HEADS, VALUES))
    return q.astype(dtype), k.astype(dtype), v.astype(dtype)


def mask(length=LENGTH, real=(LENGTH, 11, 3)):
    return np.arange(length) < np.array(real)[:, None]


def attend(name, shared, q, k, v, key=KEY, options=OPTIONS, **given):
    op = ATTENTIONS[name]
    return op.apply(
        q, None if shared else k, v,
        key=key if op.needs_key else None, **options.get(name, {}), **given,
    )  # fmt: skip


def loss(name, shared, q, k, v, key_mask, key):
    """A weighted sum of all outputs, those of padding queries too; and the outputs."""
    out = attend(name, shared, q, k, v, key_mask=key_mask, key=key)
    weight = jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)
    return (out * weight).sum(), out


@functools.cache
def compiled(name, shared):
    """(q, k, v, key_mask, key) -> output, gradients of q, k and v."""

    def run(q, k, v, key_mask, key=KEY):
        own = functools.partial(loss, name, shared)
        (_, out), grads = jax.value_and_grad(own, (0, 1, 2), has_aux=True)(q, k, v, key_mask, key)
        return out, grads

    return jax.jit(run)


def test_registry_is_the_list_of_the_configuration():
    assert tuple(ATTENTIONS) == ATTENTION_TYPES


@every
def test_options_are_the_keywords_of_apply_and_cost(name, shared):
    op = ATTENTIONS[name]
    keywords = op.options().keywords(WIDTH)
    assert set(keywords) <= set(op.apply.__kwdefaults__)
    defaults = {key: op.apply.__kwdefaults__[key] for key in keywords}
    assert op.cost(512, 32) == op.cost(512, 32, **op.options().keywords(32)) > 0
    for key, value in defaults.items():
        assert value == keywords[key] or value is None
    assert op.drops_weights == ("dropout_rate" in op.apply.__kwdefaults__)


def test_costs_are_the_counted_ones():
    # Scores and values: 2 x 2 N^2 K.
    assert ATTENTIONS["sdpa"].cost(128, 8) == 4 * 128 * 128 * 8
    # Per round: hashing into 2 x 4 buckets by 4 columns, then windows of 3 x 16 keys.
    lsh = ATTENTIONS["reformer_lsh"].cost(128, 8, chunk_size=16, num_hashes=3)
    assert lsh == 3 * (2 * 128 * 8 * 4 + 4 * 128 * 48 * 8)
    favor = ATTENTIONS["performer_favor"]
    assert favor.cost(128, 8, nb_features=10) == 4 * 128 * 8 * 10 + 4 * 128 * 10 * 9
    ratio = favor.cost(4096, 8) / favor.cost(1024, 8)
    assert ratio == 4


@every
def test_jit_equals_eager(name, shared, request):
    q, k, v = arrays()
    out, _ = compiled(name, shared)(q, k, v, mask())
    request.getfixturevalue("quick_compiles")
    eager = attend(name, shared, q, k, v, key_mask=mask())
    assert out.shape == (BATCH, LENGTH, HEADS, VALUES) and out.dtype == jnp.float32
    np.testing.assert_allclose(out, eager, rtol=0, atol=2e-6)


@every
@pytest.mark.parametrize("length", [1, 2, 7, 63, 64, 65])
def test_any_length_is_exact_or_an_average(name, shared, length, quick_compiles):
    """LSH equals SDPA where all pairs meet; every variant's weights are positive and sum to 1."""
    q, k, v = arrays(length, batch=1)
    out = jax.jit(functools.partial(attend, name, shared, options=EXACT))(q, k, v)
    if name in ("sdpa", "reformer_lsh"):
        itself = np.eye(length, dtype=bool)
        keys = q / np.sqrt((q**2).mean(-1, keepdims=True)) if shared else k
        seen = ~itself if shared and length > 1 else np.ones_like(itself)
        np.testing.assert_allclose(out, sdpa(q, keys, v, attn_mask=seen), rtol=0, atol=2e-6)
    assert (out >= v.min(1, keepdims=True) - 1e-6).all()
    assert (out <= v.max(1, keepdims=True) + 1e-6).all()


def test_favor_error_falls_as_features_grow(quick_compiles):
    q, k, v = arrays(48, std=0.5)
    exact = sdpa(q, k, v)
    spread = float(jnp.square(exact - v.mean(1, keepdims=True)).mean())

    def error(count):
        def one(key):
            out = ATTENTIONS["performer_favor"].apply(q, k, v, key=key, nb_features=count)
            return jnp.square(out - exact).mean()

        return float(jax.jit(jax.vmap(one))(jax.random.split(KEY, 16)).mean())

    errors = [error(count) for count in (20, 160, 1280)]
    # In the limit eight times the features make an eighth of the mean square error.
    assert errors[1] < 0.5 * errors[0] and errors[2] < 0.25 * errors[1], errors
    assert errors[2] < 0.1 * spread, (errors, spread)


@every
def test_more_padding_changes_no_real_token(name, shared):
    q, k, v = arrays()
    out, _ = compiled(name, shared)(q, k, v, mask())
    extra = 35
    # What stands in the padding must not matter either.
    ends = ((0, 0), (0, extra), (0, 0), (0, 0))
    longer = [np.pad(x, ends, constant_values=9.0) for x in (q, k, v)]
    run = jax.jit(functools.partial(attend, name, shared))
    padded = run(*longer, key_mask=mask(LENGTH + extra))[:, :LENGTH]
    np.testing.assert_allclose(padded[mask()], out[mask()], rtol=0, atol=1e-5)


@every
def test_masked_values_leak_nowhere(name, shared):
    q, k, v = arrays()
    expected, expected_grads = compiled(name, shared)(q, k, v, mask())
    for bad in (np.nan, np.inf, 1e30):
        dirty = [np.where(mask()[..., None, None], x, bad).astype(np.float32) for x in (k, v)]
        queries = np.where(mask()[..., None, None], q, bad).astype(np.float32) if shared else q
        out, grads = compiled(name, shared)(queries, *dirty, mask())
        np.testing.assert_array_equal(out[mask()], expected[mask()])
        for found, wanted in zip(grads, expected_grads, strict=True):
            np.testing.assert_array_equal(found, wanted)
    for grad in expected_grads[1:]:
        assert not grad[~mask()].any()


@every
def test_a_row_that_sees_nothing_gives_zeros(name, shared):
    out, grads = compiled(name, shared)(*arrays(), mask(real=(LENGTH, 0, 3)))
    assert not out[1].any() and out[0].any()
    for grad in grads:
        assert jnp.isfinite(grad).all() and not grad[1].any()


@every
def test_bfloat16_is_close_and_has_finite_gradients(name, shared):
    q, k, v = arrays(dtype=jnp.bfloat16)
    out, grads = compiled(name, shared)(q, k, v, mask())
    wide = [x.astype(np.float32) for x in (q, k, v)]
    exact, exact_grads = compiled(name, shared)(*wide, mask())
    assert out.dtype == jnp.bfloat16
    assert float(jnp.abs(out - exact).max()) < 0.05
    for grad, wanted in zip(grads, exact_grads, strict=True):
        assert grad.dtype == jnp.bfloat16 and jnp.isfinite(grad).all()
        assert float(jnp.abs(grad - wanted).max()) <= 0.05 * (1 + float(jnp.abs(wanted).max()))


@every
def test_one_key_gives_one_result(name, shared):
    q, k, v = arrays()
    run = compiled(name, shared)
    first, second = run(q, k, v, mask()), run(q, k, v, mask())
    jax.tree.map(np.testing.assert_array_equal, first, second)
    other = run(q, k, v, mask(), jax.random.key(1))[0]
    assert ATTENTIONS[name].needs_key == bool(jnp.abs(other - first[0]).max() > 1e-3)


@every
def test_batch_rows_do_not_mix(name, shared):
    order = np.array([2, 0, 1])
    q, k, v = arrays()
    out, grads = compiled(name, shared)(q, k, v, mask())
    moved, _ = compiled(name, shared)(q[order], k[order], v[order], mask()[order])
    np.testing.assert_allclose(moved, out[order], rtol=0, atol=1e-6)
    assert all(grad.any() for grad in grads[:1])


@every
def test_three_ways_to_say_which_keys_count(name, shared, quick_compiles):
    """attn_mask without a query axis; a bias of 0 and -inf; a constant relative bias on top."""
    allowed = np.random.default_rng(2).random((BATCH, 1, 1, LENGTH)) < 0.6
    bias = np.where(allowed, 0.0, -np.inf).astype(np.float32)
    constant = np.full((HEADS, 7), 1.5, np.float32)

    def both(q, k, v):
        own = functools.partial(attend, name, shared, q, k, v, key_mask=mask())
        return own(attn_mask=allowed, relative_bias=constant), own(bias=bias)

    by_mask, by_bias = jax.jit(both)(*arrays())
    np.testing.assert_allclose(by_mask, by_bias, rtol=0, atol=5e-6)
    assert by_mask[0].any()


@every
def test_gradients_match_finite_differences(name, shared, quick_compiles):
    with jax.enable_x64(True):
        inputs = arrays(12, batch=1, dtype=np.float64)

        def value(q, k, v):
            return loss(name, shared, q, k, v, mask(12, (10,)), KEY)[0]

        run = jax.jit(jax.value_and_grad(value, (0, 1, 2)))
        grads = run(*inputs)[1]
        rng, step = np.random.default_rng(1), 1e-6
        for _ in range(3):
            change = [rng.normal(size=x.shape) for x in inputs]
            up = run(*(x + step * d for x, d in zip(inputs, change, strict=True)))[0]
            down = run(*(x - step * d for x, d in zip(inputs, change, strict=True)))[0]
            slope = sum(float((g * d).sum()) for g, d in zip(grads, change, strict=True))
            assert abs((up - down) / (2 * step) - slope) < 1e-6 * (1 + abs(slope))


@every
def test_a_missing_key_is_an_error(name, shared):
    q, k, v = arrays()
    if ATTENTIONS[name].needs_key:
        with pytest.raises(InputError, match="pass key"):
            attend(name, shared, q, k, v, key=None)
    else:
        np.testing.assert_array_equal(
            attend(name, shared, q, k, v), attend(name, shared, q, k, v, key=None)
        )
