"""LSH attention against a NumPy reference that loops over rounds, queries and keys."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.attention import ATTENTIONS, blocks, probes
from jaxattn.attention.lsh import fused
from jaxattn.attention.lsh.hashing import Documents, Sorted, draw, factors, hash_rounds, sort_rounds
from jaxattn.attention.lsh.hashing import rotations as rotations_of
from jaxattn.config import LshOptions
from jaxattn.errors import InputError
from tests.attention.conftest import Reference

sdpa, reformer_lsh = (ATTENTIONS[name].apply for name in ("sdpa", "reformer_lsh"))
KEY = jax.random.key(7)
drawn_rotations = jax.jit(draw, static_argnums=(1, 2, 3, 4, 5))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few chunks at a time, one row at a time."""
    monkeypatch.setattr(blocks, "_CPU_NUMBERS", 128)


# Bucket or chunk of each position.
ByPosition = dict[int, int]


def arrays(batch: int, length: int, heads: int, width: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(batch, length, heads, width)).astype(np.float32) for _ in range(3)]


def columns_of(pairs: int) -> tuple[int, int]:
    """Columns (a, b) of the two hashes that together make at least 2 `pairs` buckets."""
    if pairs <= 8:
        return pairs, 0
    a = int(np.ceil(np.sqrt(pairs / 2)))
    return a, int(np.ceil(pairs / (2 * a)))


def angular_hash(x: np.ndarray, rotation: np.ndarray) -> int:
    projected = x @ rotation
    return int(np.argmax(np.concatenate([projected, -projected])))


def keys_by_bucket(
    positions: list[int], bucket_q: ByPosition, bucket_k: ByPosition, options: dict[str, Any]
) -> dict[int, list[int]]:
    """The keys that each query of one document sees in one round, where it has keys of its own."""
    chunk_size, within = options["chunk_size"], options["mask_within_chunks"]
    queries = sorted(positions, key=lambda i: (bucket_q[i], i))
    keys = sorted(positions, key=lambda i: (bucket_k[i], i))
    chunks = -(-len(positions) // chunk_size)
    before = options.get("chunks_before", 1)
    window = before + 1 + options.get("chunks_after", 1)
    seen = {}
    for c in range(chunks):
        members = queries[c * chunk_size : (c + 1) * chunk_size]
        middle = members[len(members) // 2]
        bucket = bucket_q[middle]
        alike = [i for i in queries if bucket_q[i] == bucket]
        smaller = [j for j in keys if bucket_k[j] < bucket]
        same = [j for j in keys if bucket_k[j] == bucket]
        target = len(smaller) + alike.index(middle) * len(same) // len(alike)
        start = min(target, len(keys) - 1) // chunk_size - before
        start = min(max(start, 0), max(chunks - window, 0))
        shown = keys[start * chunk_size : (start + window) * chunk_size]
        for i in members:
            own = [j for j in shown if bucket_k[j] == bucket_q[i]]
            seen[i] = own if within and own else shown
    return seen


def place(
    x: np.ndarray, positions: list[int], rotation: np.ndarray, first: int, chunk_size: int
) -> tuple[ByPosition, ByPosition]:
    """Bucket and chunk of every position of one document, as two dictionaries.

    rotation: [K, J], columns of the first hash, then (from `first` on) those of the second.
    """
    a, b = columns_of(-(-len(positions) // (2 * chunk_size)))
    bucket = {}
    for i in positions:
        bucket[i] = 0
        if len(positions) > chunk_size:
            bucket[i] = angular_hash(x[i], rotation[:, :a])
            if b:
                bucket[i] += 2 * a * angular_hash(x[i], rotation[:, first : first + b])
    ranked = sorted(positions, key=lambda i: (bucket[i], i))
    chunk = {i: rank // chunk_size for rank, i in enumerate(ranked)}
    return bucket, chunk


def visible_pairs(
    q: np.ndarray,
    k: np.ndarray | None,
    real: np.ndarray,
    options: dict[str, Any],
    attn_mask: np.ndarray | None = None,
    ids: np.ndarray | None = None,
) -> np.ndarray:
    """Which pairs meet in which round, self excluded when k is None: bool [R, B, H, N, N]."""
    batch, length, heads, width = q.shape
    chunk_size, num_hashes = options["chunk_size"], options["num_hashes"]
    before, after = options.get("chunks_before", 1), options.get("chunks_after", 1)
    first = max(columns_of(pairs)[0] for pairs in range(1, -(-length // (2 * chunk_size)) + 1))
    drawn = drawn_rotations(KEY, heads, num_hashes, width, length, chunk_size)
    drawn = np.asarray(drawn, np.float64)
    seen = np.zeros((num_hashes, batch, heads, length, length), bool)
    for r, b, h in np.ndindex(num_hashes, batch, heads):
        borders = [0, length]
        if ids is not None:
            borders = [0, *(np.flatnonzero(np.diff(ids[b])) + 1), length]
        for begin, end in itertools.pairwise(borders):
            positions = [i for i in range(begin, end) if real[b, i]]
            own = functools.partial(
                place, positions=positions, rotation=drawn[h, r], first=first,
                chunk_size=chunk_size,
            )  # fmt: skip
            bucket_q, chunk_q = own(q[b, :, h])
            bucket_k, chunk_k = own((q if k is None else k)[b, :, h])
            if k is not None:
                by_query = keys_by_bucket(positions, bucket_q, bucket_k, options)
                for i, keys in by_query.items():
                    seen[r, b, h, i, keys] = True
                continue
            for i, j in itertools.product(positions, positions):
                near = -before <= chunk_k[j] - chunk_q[i] <= after
                same = bucket_q[i] == bucket_k[j] or not options["mask_within_chunks"]
                seen[r, b, h, i, j] = near and same and i != j
    return seen if attn_mask is None else seen & attn_mask


def last_resort(
    real: np.ndarray, shared: bool, attn_mask: np.ndarray | None, ids: np.ndarray | None, heads: int
) -> np.ndarray:
    """The key of a query that meets none, as a mask [B, H, N, N]: itself where queries are keys.

    Otherwise the last visible one up to its own position, else the first after it.
    """
    batch, length = real.shape
    last = np.zeros((batch, heads, length, length), bool)
    visible = np.broadcast_to(True if attn_mask is None else attn_mask, last.shape)
    documents = np.zeros((batch, length), int)
    if ids is not None:
        documents[:, 1:] = np.cumsum(np.diff(ids) != 0, axis=1)
    for b, h, i in np.ndindex(batch, heads, length):
        allowed = visible[b, h, i] & real[b] & (documents[b] == documents[b, i]) & real[b, i]
        if shared:
            last[b, h, i, i] = allowed[i]
        elif allowed[: i + 1].any():
            last[b, h, i, np.flatnonzero(allowed[: i + 1])[-1]] = True
        elif allowed.any():
            last[b, h, i, np.flatnonzero(allowed)[0]] = True
    return last


def expected_output(
    reference: type[Reference],
    v: np.ndarray,
    seen: np.ndarray,
    scores: np.ndarray,
    combine: str,
    last: np.ndarray,
    shared: bool,
) -> np.ndarray:
    """`scores`, `last` [B, H, N, N]; `seen` [R, B, H, N, N]."""
    blind = ~seen.any((0, -1))[..., None]
    if combine == "logsumexp":
        return reference.softmax_attention(scores, v, seen.any(0) | (last & blind))
    total = np.zeros(v.shape)
    count = np.zeros(seen.shape[1:-1])
    for mask in seen:
        mask = mask | (last & (~mask.any(-1, keepdims=True) if shared else blind))
        total += reference.softmax_attention(scores, v, mask)
        count += mask.any(-1)
    return total / np.maximum(count, 1).transpose(0, 2, 1)[..., None]


def check_against_the_reference(
    reference: type[Reference],
    length: int,
    options: dict[str, Any],
    *,
    shared: bool,
    extras: bool = True,
    packed: bool = False,
    seed: int = 0,
) -> None:
    """Four rows: all real, few, none, with gaps; a pair mask, a bias and relative positions."""
    rng = np.random.default_rng([length, seed])
    q, k, v = arrays(4, length, 2, 5, seed)
    real = np.arange(length) < np.array([length, 3, 0, length])[:, None]
    real[3] = rng.random(length) < 0.6
    attn_mask = bias = table = ids = None
    if extras:
        attn_mask = rng.random((4, 1, length, length)) < 0.6
        attn_mask[0, 0, 5] = False
        attn_mask[0, 0, 6] = np.arange(length) == 6
        bias = rng.normal(size=(1, 2, length, length)).astype(np.float32)
        table = rng.normal(size=(2, 9)).astype(np.float32)
    if packed:
        # Documents of one token up to most of the row; an id that comes again.
        cuts = np.sort(rng.integers(1, length, (4, 3)), axis=1)
        ids = (np.arange(length) >= cuts[..., None]).sum(1).astype(np.int32) % 2
    out = jax.jit(functools.partial(reformer_lsh, **options))(
        q, None if shared else k, v, key_mask=real, attn_mask=attn_mask, bias=bias,
        relative_bias=table, segment_ids=ids, key=KEY,
    )  # fmt: skip

    keys = q / np.sqrt((q**2).mean(-1, keepdims=True)) if shared else k
    scores = reference.scores(q, keys, bias, table)
    seen = visible_pairs(q, None if shared else k, real, options, attn_mask, ids)
    last = last_resort(real, shared, attn_mask, ids, 2)
    expected = expected_output(reference, v, seen, scores, options["combine"], last, shared)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)
    assert not out[2].any() and not out[~real].any()


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
    reference: type[Reference],
    shared: bool,
    combine: str,
    within: bool,
    length: int,
    chunk_size: int,
    num_hashes: int,
    extras: bool,
) -> None:
    options = {
        "chunk_size": chunk_size,
        "num_hashes": num_hashes,
        "mask_within_chunks": within,
        "combine": combine,
    }
    check_against_the_reference(reference, length, options, shared=shared, extras=extras)


ANY = {
    "length": st.sampled_from([23, 37]),
    # Chunks of 2 make 10 pairs of buckets of 37 tokens: two hashes.
    "chunk_size": st.sampled_from([2, 5]),
    "num_hashes": st.integers(1, 4),
    "within": st.booleans(),
    "combine": st.sampled_from(["logsumexp", "mean"]),
    "shared": st.booleans(),
    "before": st.integers(0, 2),
    "after": st.integers(0, 2),
    "packed": st.booleans(),
    "extras": st.booleans(),
    "seed": st.integers(0, 99),
}


def check_any(
    reference: type[Reference], length: int, chunk_size: int, num_hashes: int, within: bool,
    combine: str, shared: bool, before: int, after: int, packed: bool, extras: bool, seed: int,
) -> None:  # fmt: skip
    options = {
        "chunk_size": chunk_size,
        "num_hashes": num_hashes,
        "mask_within_chunks": within,
        "combine": combine,
        "chunks_before": before,
        "chunks_after": after,
    }
    check_against_the_reference(
        reference, length, options, shared=shared, packed=packed, extras=extras, seed=seed
    )


def some_examples(number: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[*hypothesis.HealthCheck],
    )


@pytest.mark.parametrize(
    "options",
    [
        # length, chunk_size, rounds, within, combine, shared, before, after, packed, extras, seed
        (37, 2, 4, False, "logsumexp", True, 2, 0, True, True, 1),
        (37, 2, 2, True, "mean", False, 0, 2, True, False, 2),
        (37, 5, 1, False, "logsumexp", False, 0, 0, True, False, 3),
    ],
)
def test_matches_the_slow_reference_with_documents_and_other_windows(
    reference: type[Reference], options: tuple[Any, ...], small_blocks: None
) -> None:
    check_any(reference, *options)


@some_examples(2)
@hypothesis.given(**ANY)
def test_matches_the_slow_reference_for_some_options(
    reference: type[Reference], small_blocks: None, **drawn: Any
) -> None:
    check_any(reference, **drawn)


@pytest.mark.slow
@some_examples(60)
@hypothesis.given(**ANY)
def test_matches_the_slow_reference_for_many_options(
    reference: type[Reference], small_blocks: None, **drawn: Any
) -> None:
    check_any(reference, **drawn)


def test_blocks_of_the_usual_size_match_the_slow_reference(reference: type[Reference]) -> None:
    """Chunks of the default size, factorised hashing, no small blocks."""
    options = {"chunk_size": 16, "num_hashes": 2, "mask_within_chunks": False}
    check_against_the_reference(
        reference, 300, options | {"combine": "logsumexp"}, shared=True, extras=False
    )


@pytest.mark.parametrize(
    "shared, combine, packed",
    [(True, "logsumexp", True), (False, "logsumexp", False), (True, "mean", False),
     pytest.param(False, "mean", True, marks=pytest.mark.slow)],
)  # fmt: skip
def test_gradients_match_dense_attention_over_the_visible_pairs(
    shared: bool, combine: str, packed: bool, small_blocks: None
) -> None:
    """Of q, k, v, a bias and relative_bias; several blocks of chunks, the last one ragged."""
    with jax.enable_x64(True):
        length = 26
        q, k, v = (x.astype(np.float64) for x in arrays(2, length, 2, 4))
        real = np.arange(length) < np.array([[26], [17]])
        options = {"chunk_size": 4, "num_hashes": 3, "mask_within_chunks": True}
        ids = np.repeat([[0, 1, 0], [5, 2, 3]], [15, 4, 7], axis=1) if packed else None
        seen = visible_pairs(q, None if shared else k, real, options, ids=ids)
        if combine == "logsumexp":
            seen = seen.any(0, keepdims=True)
        # With keys of their own only an attn_mask leaves a query without keys.
        alone = ~seen.any(-1) & real[:, None]
        assert shared or not alone.any()
        seen = seen | (np.eye(length, dtype=bool) & alone[..., None])
        rounds = np.maximum(seen.any(-1).sum(0), 1)[..., None].swapaxes(1, 2)
        rng = np.random.default_rng(1)
        biases = {
            "relative_bias": rng.normal(size=(2, 7)),
            "bias": rng.normal(size=(2, 1, 1, length)),
        }
        cotangent = rng.normal(size=v.shape)

        def lsh(
            q: jax.Array, k: jax.Array, v: jax.Array, biases: dict[str, jax.Array]
        ) -> jax.Array:
            return reformer_lsh(
                q, None if shared else k, v,
                key_mask=real, segment_ids=ids, key=KEY, combine=combine, **biases, **options,
            )  # fmt: skip

        def dense(
            q: jax.Array, k: jax.Array, v: jax.Array, biases: dict[str, jax.Array]
        ) -> jax.Array:
            k = q / jnp.sqrt((q**2).mean(-1, keepdims=True)) if shared else k
            own = functools.partial(sdpa, q, k, v, **biases, implementation="xla")
            return sum(own(attn_mask=mask) for mask in seen) / rounds

        def run(function: Callable[..., jax.Array]) -> tuple[jax.Array, tuple[Any, ...]]:
            out, pull = jax.vjp(function, q, k, v, biases)
            return out, pull(cotangent)

        found, wanted = (jax.jit(functools.partial(run, each))() for each in (lsh, dense))
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-6), found, wanted
        )
        assert all(np.abs(x).max() > 0.01 for x in jax.tree.leaves(wanted[1][3]))


def queries_and_keys(kind: float | str, length: int, rng: np.random.Generator) -> list[np.ndarray]:
    """[1, N, 2, 16] each, of which few or no keys hash to the queries' buckets."""
    q, k, v = (rng.normal(size=(1, length, 2, 16)) for _ in range(3))
    mean, centres = rng.normal(size=16), rng.normal(size=(16, 16))
    if kind == "means apart":
        q, k = q + 2 * mean, k - 2 * mean
    if kind == "two means":
        q, k = q + rng.normal(size=16), k + rng.normal(size=16)
    if kind == "clusters":
        near = (centres[rng.integers(16, size=(1, length, 2))] for _ in range(2))
        q, k = (centre + 0.5 * x for centre, x in zip(near, (q, k), strict=True))
    if kind == "one bucket of queries":
        q = mean + 0.01 * q
    if kind == "equal tokens":
        q, k = (np.broadcast_to(x[:, :1], x.shape) for x in (q, k))
    if kind == "one huge token":
        q, k = q.copy(), k.copy()
        q[:, 3], k[:, 7] = 1e4 * q[:, 3], 1e4 * k[:, 7]
    if isinstance(kind, float):
        q, k = kind * q, kind * k
    return [x.astype(np.float32) for x in (q, k, v)]


@pytest.mark.parametrize("combine", ["logsumexp", "mean"])
def test_a_query_with_a_visible_key_in_its_row_never_gives_zeros(combine: str) -> None:
    """Keys of their own; padding, documents, and a mask that hides most keys."""
    length, rng = 150, np.random.default_rng(0)
    real = np.arange(length) < 140
    ids = np.repeat([[0, 1, 2]], [90, 7, 53], axis=1)
    hidden = rng.random((1, 1, length, length)) < 0.02
    document = (ids[0][:, None] == ids[0]) & real
    attend = jax.jit(
        functools.partial(
            reformer_lsh, key=KEY, chunk_size=8, num_hashes=2, combine=combine, key_mask=real[None]
        )
    )
    kinds = ["Gaussian", "means apart", "two means", "clusters", "one bucket of queries"]
    for kind in [*kinds, "equal tokens", "one huge token", 0.01, 20.0]:
        q, k, v = queries_and_keys(kind, length, rng)
        cases = [
            (real, attend(q, k, v)),
            (real, attend(q, k, v, segment_ids=ids)),
            (
                real & (document & hidden[0, 0]).any(-1),
                attend(q, k, v, segment_ids=ids, attn_mask=hidden),
            ),
        ]
        for seeing, out in cases:
            assert np.isfinite(out).all()
            np.testing.assert_array_equal(np.abs(out[0]).max((1, 2)) > 0, seeing, err_msg=str(kind))


def test_keys_of_their_own_are_placed_by_bucket() -> None:
    """With means apart most of the queries' nearest keys stand in other chunks than the queries."""
    rng = np.random.default_rng(0)
    q, k, v = queries_and_keys("means apart", 512, rng)
    logits = np.einsum("bnhk,bmhk->bhnm", q, k) / 4
    exact = sdpa(q, k, v)
    out = jax.jit(functools.partial(reformer_lsh, key=KEY, chunk_size=16, num_hashes=4))(q, k, v)
    error = np.linalg.norm(out - exact) / np.linalg.norm(exact)
    mean = np.linalg.norm(v.mean(1, keepdims=True) - exact) / np.linalg.norm(exact)
    assert logits.std() > 1 and error < 1.3 * mean, (error, mean)


def test_equal_queries_and_keys_have_the_windows_of_shared_ones() -> None:
    """What differs are the ends of the row, where windows of keys of their own stay inside."""
    q, _, _ = arrays(1, 96, 1, 6)
    identity = np.eye(96, dtype=np.float32)[None, :, None]
    options = {"key": KEY, "chunk_size": 8, "num_hashes": 1, "mask_within_chunks": False}
    seen = jax.jit(functools.partial(reformer_lsh, **options))(q, q, identity)[0, :, 0] > 0
    shared = jax.jit(functools.partial(reformer_lsh, **options))(q, None, identity)[0, :, 0] > 0
    assert (seen >= shared).all()
    # 10 of 12 chunks see the same 24 keys, themselves too; both ends see one chunk more.
    assert seen.sum() == 96 * 24 and shared.sum() == 80 * 23 + 16 * 15


@pytest.mark.parametrize(
    "shared, packed, within, before, after",
    [
        (True, False, True, 1, 1),
        (False, True, True, 1, 1),
        pytest.param(True, True, False, 1, 0, marks=pytest.mark.slow),
        pytest.param(False, False, True, 1, 1, marks=pytest.mark.slow),
        pytest.param(False, True, False, 0, 2, marks=pytest.mark.slow),
    ],
)
def test_the_kernels_of_gpus_give_what_xla_gives(
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,
    packed: bool,
    within: bool,
    before: int,
    after: int,
) -> None:
    """Interpreted on the CPU: output and gradients, with documents and NaN in padding."""
    length = 100
    rng = np.random.default_rng(0)
    q, k, v, cotangent = (rng.normal(size=(2, length, 2, 16)).astype(np.float32) for _ in range(4))
    real = np.arange(length) < np.array([[length], [length - 23]])
    q, k, v = (np.where(real[..., None, None], x, np.nan) for x in (q, k + 1, v))
    ids = np.repeat([[0, 1, 2, 3]] * 2, [40, 7, 43, 10], axis=1) if packed else None
    attend = functools.partial(
        reformer_lsh, key=KEY, key_mask=real, segment_ids=ids, chunk_size=16, num_hashes=3,
        mask_within_chunks=within, chunks_before=before, chunks_after=after,
    )  # fmt: skip

    def run(kernels: bool) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        monkeypatch.setattr(fused, "_INTERPRET", kernels)

        def both(
            q: jax.Array, k: jax.Array, v: jax.Array
        ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
            out, pull = jax.vjp(lambda q, k, v: attend(q, None if shared else k, v), q, k, v)
            return out, pull(cotangent)

        return jax.jit(both)(q, k, v)

    found, wanted = run(True), run(False)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-6), found, wanted)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
    assert np.abs(found[1][0]).max() > 0.01


def test_kernels_are_for_gpus_and_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = fused.Shape(chunk=64, window=3, before=1, sees=3, shared=True)
    x = jnp.zeros((1, 64, 1, 32), jnp.bfloat16)
    assert not fused.usable(shape, x, x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(probes, "triton", object)
    monkeypatch.setattr(probes, "TRUSTED", True)
    assert fused.usable(shape, x, x)
    single, odd = x.astype(jnp.float32), x[..., :24]
    assert not fused.usable(shape, single, single) and not fused.usable(shape, x, odd)
    assert not fused.usable(shape._replace(chunk=48), x, x)
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert not fused.usable(shape, x, x)


def test_a_key_met_in_several_rounds_counts_once() -> None:
    """Rounds that see the same pairs change nothing: all pairs meet in every round."""
    q, k, v = arrays(1, 14, 1, 4)
    attend = functools.partial(
        reformer_lsh, key=KEY, chunk_size=7, mask_within_chunks=False, combine="logsumexp"
    )
    exact = sdpa(q, k, v)
    for rounds in (1, 4):
        out = jax.jit(functools.partial(attend, num_hashes=rounds))(q, k, v)
        np.testing.assert_allclose(out, exact, rtol=0, atol=2e-6)


def test_recall_of_the_true_neighbours_rises_with_rounds() -> None:
    """Share of the 8 keys of largest logit that a query sees, on 16 clusters of 8 vectors."""
    rng = np.random.default_rng(3)
    batch, length, heads, width, top = 3, 128, 4, 16, 8
    centre = rng.normal(size=(batch, 16, 1, heads, width))
    q = (centre + 0.5 * rng.normal(size=(batch, 16, 8, heads, width))).astype(np.float32)
    q = q.reshape(batch, length, heads, width)[:, rng.permutation(length)]
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    logits = np.einsum("bnhk,bmhk->bhnm", q, q)
    nearest = np.argsort(-logits, axis=-1)[..., :top]
    # Values of the identity show the weights.
    eye = np.eye(length, dtype=np.float32)[None, :, None]
    v = np.broadcast_to(eye, (batch, length, heads, length))

    def recall(rounds: int) -> float:
        attend = functools.partial(reformer_lsh, chunk_size=8, num_hashes=rounds)
        weights = jax.jit(attend)(q, q, v, key=KEY)
        seen = np.moveaxis(np.asarray(weights), 2, 1) > 0
        return np.take_along_axis(seen, nearest, axis=-1).mean()

    found = [recall(rounds) for rounds in (1, 2, 4, 8)]
    assert (np.diff(found) > 0.03).all(), found
    # A bucket holds a sixteenth of all keys: chance.
    assert found[0] > 4 / 16 and found[-1] > 0.8, found


def test_self_only_as_a_last_resort() -> None:
    """Of two tokens each sees the other; a token that is alone sees itself."""
    q, _, v = arrays(2, 2, 1, 4)
    real = np.array([[True, True], [True, False]])
    attend = jax.jit(functools.partial(reformer_lsh, k=None, chunk_size=2))
    out = attend(q, v=v, key_mask=real, key=KEY)
    np.testing.assert_allclose(out[0, 0], v[0, 1], atol=1e-6)
    np.testing.assert_allclose(out[0, 1], v[0, 0], atol=1e-6)
    np.testing.assert_allclose(out[1, 0], v[1, 0], atol=1e-6)
    assert not out[1, 1].any()


def hashed(
    x: jax.Array, real: jax.Array, numbers: jax.Array, rotation: jax.Array, chunk_size: int
) -> tuple[jax.Array, Documents]:
    """Buckets [R, N] of one head of one row."""
    documents = Documents.of(jnp.asarray(numbers, jnp.int32)[None], jnp.asarray(real)[None])
    bucket = hash_rounds(x[None, :, None], real[None], documents, rotation, chunk_size)
    return bucket, documents


@functools.partial(jax.jit, static_argnums=(4,))
def sort(
    x: jax.Array, real: jax.Array, numbers: jax.Array, rotation: jax.Array, chunk_size: int
) -> tuple[jax.Array, Sorted]:
    bucket, documents = hashed(x, real, numbers, rotation, chunk_size)
    ordered = sort_rounds(
        bucket, documents, chunk_size=chunk_size, reach=1, mask_within_chunks=True
    )
    return jax.tree.map(lambda y: y[0, 0], (bucket, ordered))


def test_sort_is_stable_and_buckets_follow_the_real_length() -> None:
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    real = np.arange(64) < 41
    rotation = drawn_rotations(KEY, 1, 2, 3, 64, 4)
    buckets, rounds = sort(x, real, np.zeros(64), rotation, 4)
    for order, rank, bucket in zip(rounds.order, rounds.rank, buckets, strict=True):
        np.testing.assert_array_equal(order[rank], np.arange(64))
        pairs = [(int(bucket[i]), int(i)) for i in order]
        assert pairs == sorted(pairs)
        assert set(bucket[41:].tolist()) == {128}
        assert max(bucket[:41].tolist()) < 2 * -(-41 // 8)
        np.testing.assert_array_equal(np.sort(order[41:]), np.arange(41, 64))


def test_a_document_has_buckets_of_its_own_by_its_own_length() -> None:
    """The second document's buckets follow the first's; beyond 8 pairs two hashes make them."""
    length, chunk_size = 400, 4
    x = np.random.default_rng(0).normal(size=(length, 6)).astype(np.float32)
    real = np.random.default_rng(1).random(length) < 0.9
    numbers = (np.arange(length) >= 60).astype(int)
    rotation = drawn_rotations(KEY, 1, 1, 6, length, chunk_size)
    bucket = np.asarray(sort(x, real, numbers, rotation, chunk_size)[0][0])
    counts = []
    for own in (real & (numbers == 0), real & (numbers == 1)):
        a, b = columns_of(-(-int(own.sum()) // (2 * chunk_size)))
        counts.append(2 * a * max(2 * b, 1))
    assert 0 <= bucket[real & (numbers == 0)].min() <= bucket[real & (numbers == 0)].max()
    assert bucket[real & (numbers == 0)].max() < counts[0]
    second = bucket[real & (numbers == 1)]
    assert counts[0] <= second.min() and second.max() < sum(counts)
    # Most of the buckets of two hashes are used.
    assert counts[1] >= 64 and len(set(second.tolist())) > 0.4 * counts[1]


def test_factors_cover_the_buckets_with_few_columns() -> None:
    for pairs in [*range(1, 300), 4096]:
        a, b = factors(pairs)
        assert (a, b) == columns_of(pairs)
        assert 2 * a * max(2 * b, 1) >= 2 * pairs
        # Never many more than asked for, and of the order of the square root of columns.
        assert b == 0 or (4 * a * b <= 2 * pairs + 4 * a and a + b <= 2 * np.sqrt(pairs / 2) + 2)


def test_more_columns_change_no_rotation() -> None:
    of = jax.jit(rotations_of, static_argnums=(1, 2, 3, 4))
    few, many = of(KEY, 2, 3, 5, 2), of(KEY, 2, 3, 5, 9)
    np.testing.assert_array_equal(few, many[..., :2])
    assert abs(float(many.std()) - 1.0) < 0.15


def test_near_vectors_collide_more_often() -> None:
    """P[same bucket] falls with the angle; for 2 buckets it is 1 - angle / pi exactly."""
    angles = np.linspace(0.0, np.pi, 5)
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    x = np.concatenate([x, np.zeros((3, 2), np.float32)])
    real = np.arange(8) < 5
    rotation = drawn_rotations(KEY, 1, 4000, 2, 8, 4)
    bucket = np.asarray(sort(x, real, np.zeros(8), rotation, 4)[0])
    # 5 tokens in chunks of 4: one column, so two buckets.
    found = (bucket[:, :5] == bucket[:, :1]).mean(0)
    np.testing.assert_allclose(found, 1 - angles / np.pi, atol=5 * np.sqrt(0.25 / 4000))


@pytest.mark.parametrize("shared", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_memory_grows_linearly(shared: bool) -> None:
    """Temporaries of forward and backward pass, per doubling of the length."""

    def temporaries(length: int) -> int:
        # One head: how many rows are taken at a time depends on the length.
        shape = jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)

        def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            k = None if shared else k
            return reformer_lsh(q, k, v, key=KEY, chunk_size=32, num_hashes=2).sum()

        compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*[shape] * 3).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    found = [temporaries(length) for length in (4096, 8192)]
    assert found[1] <= 2.1 * found[0], found


def test_errors_say_what_is_wrong() -> None:
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
    with pytest.raises(InputError, match="chunks_after: found -1, allowed: 0 to 16"):
        reformer_lsh(q, k, v, key=KEY, chunks_after=-1)
    with pytest.raises(InputError, match="shared_qk is True, but k is given"):
        reformer_lsh(q, k, v, key=KEY, shared_qk=True)
    with pytest.raises(InputError, match="shared_qk is False, but k is None"):
        reformer_lsh(q, None, v, key=KEY, shared_qk=False)


def test_an_overflow_of_the_sort_key_is_an_error() -> None:
    def too_long(x: jax.Array) -> jax.Array:
        return reformer_lsh(x, x, x, key=KEY, chunk_size=2, num_hashes=1)

    with pytest.raises(InputError, match="40000 tokens in chunks of 2 overflow"):
        jax.eval_shape(too_long, jax.ShapeDtypeStruct((1, 40000, 1, 2), jnp.float32))


def test_a_batch_of_31_in_uneven_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four groups of 8 batch rows give what one row at a time gives, gradients of biases too."""
    q, _, v = arrays(31, 32, 2, 4, seed=31)
    rng = np.random.default_rng(31)
    bias = rng.normal(size=(31, 2, 32, 32)).astype(np.float32)
    table = rng.normal(size=(2, 7)).astype(np.float32)

    def results(most: int) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        # A row has 4 chunks of 8 queries by 24 keys.
        monkeypatch.setattr(blocks, "_CPU_NUMBERS", most * 4 * 8 * 24)

        def run(q: jax.Array, v: jax.Array, bias: jax.Array, table: jax.Array) -> jax.Array:
            return reformer_lsh(
                q, None, v, bias=bias, relative_bias=table, key=KEY, chunk_size=8, num_hashes=2
            )

        out, pull = jax.vjp(run, q, v, bias, table)
        return out, pull(jnp.cos(out))

    assert blocks.RowGroups.of(31, 2, 16).number == 4
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, results(16), results(2))


@pytest.mark.parametrize("options", [{}, {"mask_within_chunks": False}, {"combine": "mean"}])
def test_texts_of_one_chunk_are_exact_with_keys_of_their_own(options: dict) -> None:
    lsh = ATTENTIONS["reformer_lsh"]
    own = LshOptions(chunk_size=16, shared_qk=False, **options)
    assert lsh.exact_up_to is not None
    assert (lsh.exact_up_to(own), lsh.exact_up_to(LshOptions())) == (16, 0)
    for length, exact in ((9, True), (16, True), (17, False)):
        keys = jax.random.split(jax.random.key(length), 3)
        q, k, v = (2 * jax.random.normal(key, (2, length, 2, 8)) for key in keys)
        mask = jnp.arange(length) < jnp.array([[length], [length - 3]])
        found = lsh.apply(q, k, v, key_mask=mask, key=jax.random.key(1), options=own)
        expected = ATTENTIONS["sdpa"].apply(q, k, v, key_mask=mask)
        apart = jnp.abs(found - expected)[mask].max()
        # Two chunks see each other whole, but not across buckets.
        assert apart < 1e-5 if exact or options.get("mask_within_chunks") is False else apart > 0.1
