"""LSH attention against a NumPy reference that loops over rounds, queries and keys."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.attention.lsh_hashing import hash_rounds, rotations
from jaxattn.attention.reformer_lsh import reformer_lsh
from jaxattn.attention.sdpa import sdpa
from jaxattn.errors import InputError

KEY = jax.random.key(7)
draw = jax.jit(rotations, static_argnums=(1, 2, 3, 4))
sort = jax.jit(hash_rounds, static_argnums=(3, 4))


def arrays(batch, length, heads, width, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(batch, length, heads, width)).astype(np.float32) for _ in range(3)]


def place(x, real, rotation, chunk_size):
    """Bucket and chunk of every real position of one row, as two dictionaries."""
    positions = np.flatnonzero(real)
    pairs = -(-len(positions) // (2 * chunk_size))
    bucket = {}
    for i in positions:
        if len(positions) <= chunk_size:
            bucket[i] = 0
        else:
            projected = x[i] @ rotation[:, :pairs]
            bucket[i] = int(np.argmax(np.concatenate([projected, -projected])))
    ranked = sorted(positions, key=lambda i: (bucket[i], i))
    chunk = {i: rank // chunk_size for rank, i in enumerate(ranked)}
    return bucket, chunk


def visible_pairs(q, k, real, chunk_size, num_hashes, mask_within_chunks, attn_mask=None):
    """Which pairs meet in which round, self excluded when k is None: bool [R, B, H, N, N]."""
    batch, length, heads, width = q.shape
    columns = -(-length // (2 * chunk_size))
    drawn = np.asarray(draw(KEY, heads, num_hashes, width, columns), np.float64)
    seen = np.zeros((num_hashes, batch, heads, length, length), bool)
    for r, b, h in np.ndindex(num_hashes, batch, heads):
        bucket_q, chunk_q = place(q[b, :, h], real[b], drawn[h, r], chunk_size)
        bucket_k, chunk_k = bucket_q, chunk_q
        if k is not None:
            bucket_k, chunk_k = place(k[b, :, h], real[b], drawn[h, r], chunk_size)
        for i in chunk_q:
            for j in chunk_k:
                near = abs(chunk_q[i] - chunk_k[j]) <= 1
                same = bucket_q[i] == bucket_k[j] or not mask_within_chunks
                seen[r, b, h, i, j] = near and same and (k is not None or i != j)
    return seen if attn_mask is None else seen & attn_mask


def expected_output(reference, q, k, v, seen, scores, combine, itself):
    """`scores` [B, H, N, N]; `itself` [B, H, N]: may attend to itself as a last resort."""
    own = np.eye(q.shape[1], dtype=bool)
    if combine == "logsumexp":
        mask = seen.any(0)
        mask |= own & (itself & ~mask.any(-1))[..., None]
        return reference.softmax_attention(scores, v, mask)
    total = np.zeros(v.shape)
    count = np.zeros(itself.shape)
    for mask in seen:
        mask = mask | (own & (itself & ~mask.any(-1))[..., None])
        total += reference.softmax_attention(scores, v, mask)
        count += mask.any(-1)
    return total / np.maximum(count, 1).transpose(0, 2, 1)[..., None]


# Every pair of choices stands in the four fast combinations; the others are marked slow.
FAST = [
    (True, "logsumexp", True), (True, "mean", False),
    (False, "logsumexp", False), (False, "mean", True),
]  # fmt: skip
CHOICES = [
    pytest.param(*choice, marks=() if choice in FAST else pytest.mark.slow)
    for choice in itertools.product([True, False], ["logsumexp", "mean"], [True, False])
]


@pytest.mark.parametrize("shared, combine, within", CHOICES)
@pytest.mark.parametrize(
    "length, chunk_size, num_hashes, extras",
    [(37, 4, 3, True), pytest.param(24, 6, 2, False, marks=pytest.mark.slow)],
)
def test_matches_the_slow_reference(
    reference, shared, combine, within, length, chunk_size, num_hashes, extras
):
    rng = np.random.default_rng(length)
    q, k, v = arrays(4, length, 2, 5)
    # Few tokens (one chunk), none at all, gaps, all of them.
    real = np.arange(length) < np.array([length, 3, 0, length])[:, None]
    real[3] = rng.random(length) < 0.6
    attn_mask = bias = table = None
    if extras:
        attn_mask = rng.random((4, 1, length, length)) < 0.6
        attn_mask[0, 0, 5] = False
        attn_mask[0, 0, 6] = np.arange(length) == 6
        bias = rng.normal(size=(1, 2, length, length)).astype(np.float32)
        table = rng.normal(size=(2, 9)).astype(np.float32)
    out = jax.jit(
        functools.partial(
            reformer_lsh,
            chunk_size=chunk_size,
            num_hashes=num_hashes,
            mask_within_chunks=within,
            combine=combine,
        )
    )(
        q, None if shared else k, v,
        key_mask=real, attn_mask=attn_mask, bias=bias, relative_bias=table, key=KEY,
    )  # fmt: skip

    keys = q / np.sqrt((q**2).mean(-1, keepdims=True)) if shared else k
    scores = reference.scores(q, keys, bias, table)
    seen = visible_pairs(q, None if shared else k, real, chunk_size, num_hashes, within, attn_mask)
    itself = np.broadcast_to(real[:, None] & shared, (4, 2, length))
    if attn_mask is not None:
        itself = itself & np.diagonal(attn_mask, axis1=2, axis2=3)
    expected = expected_output(reference, q, k, v, seen, scores, combine, itself)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)
    assert not out[2].any() and not out[~real].any()


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_match_dense_attention_over_the_union(shared):
    with jax.enable_x64(True):
        q, k, v = (x.astype(np.float64) for x in arrays(2, 26, 2, 4))
        real = np.arange(26) < np.array([[26], [17]])
        options = {"chunk_size": 4, "num_hashes": 3, "mask_within_chunks": True}
        seen = visible_pairs(q, None if shared else k, real, **options).any(0)
        alone = ~seen.any(-1)
        if shared:
            seen = seen | (np.eye(26, dtype=bool) & (alone & real[:, None])[..., None])
        table = np.random.default_rng(0).normal(size=(2, 7))
        weight = np.random.default_rng(1).normal(size=v.shape)

        def lsh(q, k, v, table):
            k = None if shared else k
            out = reformer_lsh(q, k, v, key_mask=real, relative_bias=table, key=KEY, **options)
            return (out * weight).sum()

        def dense(q, k, v, table):
            k = q / jnp.sqrt((q**2).mean(-1, keepdims=True)) if shared else k
            return (sdpa(q, k, v, attn_mask=seen, relative_bias=table) * weight).sum()

        grads = jax.jit(jax.grad(lsh, (0, 1, 2, 3)))(q, k, v, table)
        expected = jax.jit(jax.grad(dense, (0, 1, 2, 3)))(q, k, v, table)
        for found, wanted in zip(grads, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_self_only_as_a_last_resort():
    """Of two tokens each sees the other; a token that is alone sees itself."""
    q, _, v = arrays(2, 2, 1, 4)
    real = np.array([[True, True], [True, False]])
    attend = jax.jit(functools.partial(reformer_lsh, k=None, chunk_size=2))
    out = attend(q, v=v, key_mask=real, key=KEY)
    np.testing.assert_allclose(out[0, 0], v[0, 1], atol=1e-6)
    np.testing.assert_allclose(out[0, 1], v[0, 0], atol=1e-6)
    np.testing.assert_allclose(out[1, 0], v[1, 0], atol=1e-6)
    assert not out[1, 1].any()


def test_sort_is_stable_and_buckets_follow_the_real_length():
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    real = np.arange(64) < 41
    rotation = draw(KEY, 1, 2, 3, 8)[0]
    rounds = sort(x, real, rotation, 4, 4)
    for order, rank, bucket in zip(rounds.order, rounds.rank, rounds.bucket, strict=True):
        np.testing.assert_array_equal(order[rank], np.arange(64))
        pairs = [(int(bucket[i]), int(i)) for i in order]
        assert pairs == sorted(pairs)
        assert set(bucket[41:].tolist()) == {16}
        assert max(bucket[:41].tolist()) < 2 * -(-41 // 8)
        np.testing.assert_array_equal(np.sort(order[41:]), np.arange(41, 64))


def test_more_columns_change_no_rotation():
    few, many = draw(KEY, 2, 3, 5, 2), draw(KEY, 2, 3, 5, 9)
    np.testing.assert_array_equal(few, many[..., :2])
    assert abs(float(many.std()) - 1.0) < 0.15


def test_near_vectors_collide_more_often():
    """P[same bucket] falls with the angle; for 2 buckets it is 1 - angle / pi exactly."""
    angles = np.linspace(0.0, np.pi, 5)
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    x = np.concatenate([x, np.zeros((3, 2), np.float32)])
    real = np.arange(8) < 5
    rotation = draw(KEY, 1, 4000, 2, 1)[0]
    bucket = np.asarray(sort(x, real, rotation, 4, 4).bucket)
    # 5 tokens in chunks of 4: one column, so two buckets.
    found = (bucket[:, :5] == bucket[:, :1]).mean(0)
    np.testing.assert_allclose(found, 1 - angles / np.pi, atol=5 * np.sqrt(0.25 / 4000))


def test_memory_grows_linearly():
    def temporaries(length):
        shape = jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)

        def loss(q, v):
            return reformer_lsh(q, None, v, key=KEY, chunk_size=16, num_hashes=2).sum()

        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(shape, shape).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(8192) < 2.5 * temporaries(4096)


def test_errors_say_what_is_wrong():
    q, k, v = arrays(1, 6, 1, 4)
    with pytest.raises(InputError, match=r"pass key=jax.random.key"):
        reformer_lsh(q, k, v)
    with pytest.raises(InputError, match="one typed key"):
        reformer_lsh(q, k, v, key=jax.random.PRNGKey(0))
    with pytest.raises(InputError, match="self-attention, found 3 queries and 6 keys"):
        reformer_lsh(q[:, :3], k, v, key=KEY)
    with pytest.raises(InputError, match="chunk_size: found 0, allowed: 1 to"):
        reformer_lsh(q, k, v, key=KEY, chunk_size=0)
    with pytest.raises(InputError, match="num_hashes: found 0"):
        reformer_lsh(q, k, v, key=KEY, num_hashes=0)
    with pytest.raises(InputError, match="combine: found 'sum', allowed: logsumexp, mean"):
        reformer_lsh(q, k, v, key=KEY, combine="sum")
