"""Exact attention, all at once and in blocks, against a float64 reference."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import ArrayLike

from jaxattn.attention import ATTENTIONS, blocks
from jaxattn.attention.inputs import documents
from jaxattn.attention.sdpa import attention as module
from jaxattn.attention.sdpa import blockwise
from jaxattn.attention.sdpa.attention import choose
from jaxattn.errors import InputError
from tests.attention.conftest import Reference
from tests.attention.inputs import arrays

sdpa = ATTENTIONS["sdpa"].apply

both = pytest.mark.parametrize("implementation", ["xla", "blockwise"])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of at most 8 queries and 16 keys, one row at a time."""
    monkeypatch.setattr(blockwise, "_QUERIES", 8)
    monkeypatch.setattr(blockwise, "_KEYS", 16)
    monkeypatch.setattr(blocks, "_CPU_NUMBERS", 128)


@both
@pytest.mark.parametrize("queries, keys", [(1, 1), (5, 9), (12, 12)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_matches_float64_with_masks_and_biases(
    reference: type[Reference], queries: int, keys: int, with_bias: bool, implementation: str
) -> None:
    rng = np.random.default_rng(1)
    q, k, v = arrays(3, queries, keys, 2, 7, 5)
    key_mask = rng.random((3, keys)) < 0.7
    attn_mask = rng.random((1, 2, queries, keys)) < 0.7
    bias = rng.normal(size=(3, 1, queries, keys)).astype(np.float32) if with_bias else None
    out = sdpa(
        q, k, v,
        key_mask=key_mask, attn_mask=attn_mask, bias=bias, implementation=implementation,
    )  # fmt: skip
    mask = attn_mask & key_mask[:, None, None, :]
    expected = reference.softmax_attention(reference.scores(q, k, bias), v, mask)
    error = np.abs(out - expected).max()
    assert error <= 2e-6 * np.abs(v).max(), error


def dense(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: ArrayLike, biases: dict[str, jax.Array]
) -> jax.Array:
    """Plain softmax attention with gradients of JAX's own; `mask` is four-dimensional."""
    scores = jnp.einsum("bnhk,bmhk->bhnm", q, k) / np.sqrt(q.shape[-1]) + biases.get("bias", 0.0)
    if "relative_bias" in biases:
        table, length = biases["relative_bias"], q.shape[1]
        far = table.shape[1] // 2
        distance = np.clip(np.arange(length) - np.arange(length)[:, None], -far, far) + far
        scores += table[:, distance]
    weights = jnp.where(mask, jnp.exp(scores), 0)
    total = weights.sum(-1, keepdims=True)
    weights /= jnp.where(total > 0, total, 1)
    return jnp.einsum("bhnm,bmhv->bnhv", weights, v)


# (queries, keys, shape of the bias, distance D of relative_bias, segments): last blocks that are
# full, ragged, or the only one; a bias broadcast over each axis.
BLOCKS = [
    (24, 32, (2, 4, 24, 32), None, False),
    (29, 45, (1, 4, 1, 45), None, False),
    (27, 5, (2, 1, 27, 1), None, False),
    (37, 37, (37, 37), 3, True),
    (21, 21, None, 50, True),
]


@both
@pytest.mark.parametrize("queries, keys, bias_shape, far, segments", BLOCKS)
def test_blocks_and_their_gradients_match_float64(
    queries: int,
    keys: int,
    bias_shape: tuple[int, ...] | None,
    far: int | None,
    segments: bool,
    implementation: str,
    small_blocks: None,
) -> None:
    """Every mask and bias at once, each argument's gradient."""
    rng = np.random.default_rng(queries)
    with jax.enable_x64(True):
        q, k, v = arrays(2, queries, keys, 4, 6, 3, dtype=np.float64)
        key_mask = rng.random((2, keys)) < 0.8
        attn_mask = rng.random((2, 1, queries, keys)) < 0.8
        attn_mask[0, 0, 3] = False
        mask = attn_mask & key_mask[:, None, None, :]
        biases, given = {}, {"key_mask": key_mask, "attn_mask": attn_mask}
        if bias_shape is not None:
            biases["bias"] = rng.normal(size=bias_shape)
        if far is not None:
            biases["relative_bias"] = rng.normal(size=(4, 2 * far + 1))
        if segments:
            ids = np.sort(rng.integers(0, 4, (2, keys)), axis=1).astype(np.int32)
            given["segment_ids"] = ids
            mask = mask & (ids[:, None, :, None] == ids[:, None, None, :])
        cotangent = rng.normal(size=(2, queries, 4, 3))

        def ours(
            q: jax.Array, k: jax.Array, v: jax.Array, biases: dict[str, jax.Array]
        ) -> jax.Array:
            return sdpa(q, k, v, **biases, **given, implementation=implementation)

        def theirs(
            q: jax.Array, k: jax.Array, v: jax.Array, biases: dict[str, jax.Array]
        ) -> jax.Array:
            return dense(q, k, v, mask, biases)

        def run(function: Callable[..., jax.Array]) -> tuple[jax.Array, tuple[Any, ...]]:
            out, pull = jax.vjp(function, q, k, v, biases)
            return out, pull(cotangent)

        found, wanted = (jax.jit(functools.partial(run, each))() for each in (ours, theirs))
        compare = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-12)
        jax.tree.map(compare, found, wanted)
        assert not found[0][0, 3].any() and not found[1][0][0, 3].any()


def test_blocks_of_the_usual_size_match_float64(reference: type[Reference]) -> None:
    """Two blocks of queries and two of keys, both ragged."""
    q, k, v = arrays(1, 517, 1031, 1, 8, 8)
    out = jax.jit(functools.partial(sdpa, implementation="blockwise"))(q, k, v)
    scores = reference.scores(q, k)
    expected = reference.softmax_attention(scores, v, np.ones_like(scores, bool))
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-6)


@both
@pytest.mark.parametrize("far", [0, 1, 3, 20])
def test_relative_bias(reference: type[Reference], far: int, implementation: str) -> None:
    q, k, v = arrays(2, 9, 9, 2, 4, 4)
    table = np.random.default_rng(2).normal(size=(2, 2 * far + 1)).astype(np.float32)
    out = sdpa(q, k, v, relative_bias=table, implementation=implementation)
    scores = reference.scores(q, k, relative_bias=table)
    expected = reference.softmax_attention(scores, v, np.ones_like(scores, bool))
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-6)


@both
def test_minus_infinity_in_the_bias_is_a_mask(implementation: str) -> None:
    q, k, v = arrays(2, 6, 6, 2, 4, 4)
    mask = np.random.default_rng(3).random((2, 2, 6, 6)) < 0.5
    mask[0, 0, 2] = False
    bias = np.where(mask, 0.0, -np.inf).astype(np.float32)
    own = functools.partial(sdpa, implementation=implementation)

    def loss(q: jax.Array, **given: Any) -> jax.Array:
        return jnp.square(own(q, k, v, **given)).sum()

    np.testing.assert_array_equal(own(q, k, v, bias=bias), own(q, k, v, attn_mask=mask))
    by_bias, by_mask = jax.grad(loss)(q, bias=bias), jax.grad(loss)(q, attn_mask=mask)
    assert jnp.isfinite(by_bias).all()
    np.testing.assert_allclose(by_bias, by_mask, atol=1e-6)


@both
def test_large_logits_are_finite(implementation: str, small_blocks: None) -> None:
    """Logits of thousands: the running maximum must rise from block to block."""
    q, k, v = arrays(1, 9, 40, 1, 4, 3)
    k *= np.linspace(1, 3000, 40, dtype=np.float32)[:, None, None]

    def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return jnp.square(sdpa(q, k, v, implementation=implementation)).sum()

    value, grads = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(q, k, v)
    with jax.enable_x64(True):
        wide = [x.astype(np.float64) for x in (q, k, v)]
        exact = jnp.square(sdpa(*wide, implementation="xla")).sum()
    np.testing.assert_allclose(value, exact, rtol=1e-4)
    assert all(jnp.isfinite(grad).all() for grad in grads)


@both
def test_dropout_keeps_the_mean_and_drops_the_share(
    implementation: str, small_blocks: None
) -> None:
    rate, keys = 0.25, 400
    q, k, v = np.zeros((2, 150, 1, 4)), np.zeros((2, keys, 1, 4)), np.ones((2, keys, 1, 4))
    out = jax.jit(functools.partial(sdpa, dropout_rate=rate, implementation=implementation))(
        jnp.float32(q), jnp.float32(k), jnp.float32(v), dropout_key=jax.random.key(0)
    )
    # Each output is the mean of `keys` variables 0 or 4/3 of variance rate / (1 - rate).
    deviation = np.sqrt(rate / (1 - rate) / keys)
    assert abs(float(out[..., 0].mean()) - 1.0) < 5 * deviation / np.sqrt(300)
    assert abs(float(out[:, :, 0, 0].std()) / deviation - 1.0) < 0.2


@both
def test_the_share_of_dropped_weights(implementation: str, small_blocks: None) -> None:
    """Values of the identity show the weights: each is 0 or 1 / (M (1 - rate))."""
    rate, keys = 0.25, 48
    q, k = (np.zeros((2, n, 2, 4), np.float32) for n in (40, keys))
    v = np.broadcast_to(np.eye(keys, dtype=np.float32)[None, :, None], (2, keys, 2, keys))
    weights = sdpa(
        q, k, v, dropout_rate=rate, dropout_key=jax.random.key(5), implementation=implementation
    )
    dropped = np.asarray(weights) == 0
    np.testing.assert_allclose(weights[~dropped], 1 / keys / (1 - rate), rtol=1e-5)
    assert abs(dropped.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / dropped.size)
    # No two blocks of queries or keys, and no two rows, drop the same weights.
    blocks = {
        dropped[b, n : n + 8, h, m : m + 16].tobytes()
        for b in (0, 1)
        for h in (0, 1)
        for n in range(0, 40, 8)
        for m in (0, 16, 32)
    }
    assert len(blocks) == 2 * 2 * 5 * 3


@both
def test_gradients_drop_the_weights_that_the_output_drops(
    implementation: str, small_blocks: None
) -> None:
    rng, step = np.random.default_rng(0), 1e-6
    with jax.enable_x64(True):
        inputs = arrays(1, 20, 35, 2, 4, 3, dtype=np.float64)
        weight = rng.normal(size=(1, 20, 2, 3))

        def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            out = sdpa(
                q, k, v, dropout_rate=0.4, dropout_key=jax.random.key(2),
                implementation=implementation,
            )  # fmt: skip
            return (out * weight).sum()

        run = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
        grads = run(*inputs)[1]
        change = [rng.normal(size=x.shape) for x in inputs]
        up, down = (
            run(*(x + s * d for x, d in zip(inputs, change, strict=True)))[0] for s in (step, -step)
        )
        slope = sum(float((g * d).sum()) for g, d in zip(grads, change, strict=True))
        assert abs((up - down) / (2 * step) - slope) < 1e-6 * (1 + abs(slope))


def test_auto_picks_blocks_for_long_inputs() -> None:
    """On a CPU; what it picks is exactly what it computes."""
    own = functools.partial(choose, "auto", dtype=np.float32, widths=(8, 8))
    limit = module._SMALLEST_BLOCKWISE
    assert 64 * 64 <= limit <= 512 * 512
    assert own(lengths=(32, 32))[0] == own(lengths=(1, limit - 1))[0] == "xla"
    assert own(lengths=(1, limit))[0] == own(lengths=(1024, 1024))[0] == "blockwise"
    assert all("no CUDA GPU" in own(lengths=(n, n))[1] for n in (32, 1024))
    assert choose("xla", dtype=np.float32, widths=(8, 8), lengths=(9999, 9999))[0] == "xla"
    q, k, v = arrays(1, 512, 512, 1, 4, 4)
    chosen, asked = (
        jax.jit(functools.partial(sdpa, implementation=each))(q, k, v)
        for each in ("auto", "blockwise")
    )
    np.testing.assert_array_equal(chosen, asked)


def test_cudnn_is_refused_here_with_the_reason() -> None:
    q, k, v = arrays(1, 4, 4, 1, 8, 8)
    with pytest.raises(InputError, match="'cudnn', but the device is no CUDA GPU"):
        sdpa(q, k, v, implementation="cudnn")
    with pytest.raises(InputError, match="implementation: found 'flash'"):
        sdpa(q, k, v, implementation="flash")


@pytest.mark.parametrize("plain", [True, False])
def test_memory_of_blocks_grows_linearly(plain: bool) -> None:
    """Temporaries of forward and backward pass, per doubling; all at once they grow fourfold."""

    def temporaries(length: int, implementation: str) -> int:
        shape = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
        table = jax.ShapeDtypeStruct((2, 65), jnp.float32)
        ids = jax.ShapeDtypeStruct((1, length), jnp.int32)

        def loss(
            q: jax.Array, k: jax.Array, v: jax.Array, table: jax.Array, ids: jax.Array
        ) -> jax.Array:
            given = {} if plain else {"relative_bias": table, "segment_ids": ids}
            return sdpa(q, k, v, implementation=implementation, **given).sum()

        run = jax.jit(jax.grad(loss, (0, 1, 2, 3)))
        compiled = run.lower(shape, shape, shape, table, ids).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    found = [temporaries(length, "blockwise") for length in (4096, 8192)]
    assert found[1] <= 2.1 * found[0], found
    assert temporaries(4096, "xla") > 20 * found[0]


def test_an_id_that_comes_again_is_another_document() -> None:
    ids = np.array([[4, 4, 9, 4, 4, 0], [0, 0, 0, 0, 0, 0], [-3, 7, -3, 7, 7, -3]], np.int32)
    expected = [[0, 0, 1, 2, 2, 3], [0] * 6, [0, 1, 2, 3, 3, 4]]
    np.testing.assert_array_equal(documents(ids), expected)
    assert documents(None) is None
    q, k, v = arrays(3, 6, 6, 1, 4, 4)
    out = sdpa(q, k, v, segment_ids=ids)
    alone = sdpa(q[:1, 3:5], k[:1, 3:5], v[:1, 3:5])
    np.testing.assert_allclose(out[:1, 3:5], alone, rtol=0, atol=1e-6)
    np.testing.assert_allclose(out[2, 2], v[2, 2], rtol=0, atol=1e-6)


def test_errors_say_what_is_wrong() -> None:
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
    with pytest.raises(InputError, match="segment_ids has shape .* and an integer type"):
        sdpa(q, q, q, segment_ids=np.ones((2, 4), np.float32))


@pytest.mark.parametrize("batch, most", [(31, 96), (7, 24), (5, 16), (31, 4), (13, 1000)])
def test_groups_of_a_prime_batch_are_few_and_cover_it(batch: int, most: int) -> None:
    groups = blocks.RowGroups.of(batch, 8, most)
    assert groups.batch * groups.heads <= most
    assert groups.number <= 2 * -(-batch * 8 // most)
    x = jnp.arange(batch * 8.0).reshape(batch, 1, 8, 1)
    copied, added = jnp.zeros_like(x), jnp.zeros((batch, 8))
    for index in range(groups.number):
        copied = groups.put(copied, groups.take(x, index), index)
        added = groups.added(added, jnp.ones((groups.batch, groups.heads)), index)
    np.testing.assert_array_equal(copied, x)
    np.testing.assert_array_equal(added, 1)


@pytest.mark.parametrize("batch, most", [(32, 96), (32, 256), (12, 40), (6, 3), (4, 32)])
def test_groups_stay_of_one_size_where_few_suffice(batch: int, most: int) -> None:
    groups = blocks.RowGroups.of(batch, 8, most)
    assert groups.even and groups.number * groups.batch * groups.heads == batch * 8


@pytest.mark.parametrize("shared", [False, True])
def test_a_batch_of_31_in_uneven_groups(
    monkeypatch: pytest.MonkeyPatch, small_blocks: None, shared: bool
) -> None:
    """Output and gradients, with biases of every row or shared by all, and with dropout."""
    rng = np.random.default_rng(31)
    q, k, v = arrays(31, 12, 12, 2, 4, 3)
    bias = rng.normal(size=(1 if shared else 31, 2, 12, 12)).astype(np.float32)
    table = rng.normal(size=(2, 7)).astype(np.float32)
    mask = rng.random((31, 12)) < 0.8

    def results(
        rate: float, most: int
    ) -> tuple[blocks.RowGroups, jax.Array, tuple[jax.Array, ...]]:
        monkeypatch.setattr(blocks, "_CPU_NUMBERS", most * 2 * 6 * 12)
        plan = blockwise._plan(q, k, False)

        def run(
            q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array, table: jax.Array
        ) -> jax.Array:
            return sdpa(
                q, k, v, bias=bias, relative_bias=table, key_mask=mask,
                dropout_rate=rate, dropout_key=jax.random.key(1), implementation="blockwise",
            )  # fmt: skip

        out, pull = jax.vjp(run, q, k, v, bias, table)
        return plan.groups, out, pull(jnp.cos(out) + mask[:, :, None, None])

    alone, out, grads = results(0.0, 2)
    groups, grouped_out, grouped_grads = results(0.0, 16)
    assert alone.number == 31 and alone.even
    assert groups.number == 4 and groups.batch == 8 and not groups.even
    np.testing.assert_allclose(grouped_out, out, rtol=0, atol=1e-6)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, grouped_grads, grads)
    _, _, dropped = results(0.25, 16)
    # Softmax does not see what all its logits share: the gradients of a query's biases add up to 0.
    if not shared:
        np.testing.assert_allclose(dropped[3].sum(-1), 0, rtol=0, atol=1e-5)


def test_blocks_are_longer_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 pairs of blocks at 8,192 tokens, not 128; 31 rows take no more groups than 32."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")

    def plan(batch: int, length: int) -> blockwise._Plan:
        x = jax.ShapeDtypeStruct((batch, length, 8, 64), jnp.bfloat16)
        return blockwise._plan(x, x, False)

    long = plan(1, 8192)
    assert (long.query_blocks, long.queries, long.key_blocks, long.keys) == (4, 2048, 4, 2048)
    assert plan(31, 512).groups.number == plan(32, 512).groups.number == 2
