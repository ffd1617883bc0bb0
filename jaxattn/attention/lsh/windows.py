"""Which pairs of tokens meet in a round: windows of keys for chunks of sorted queries.

Where queries serve as keys, chunk c of the sorted row meets chunk c and its neighbours. Keys of
their own fill other buckets than the queries do, so their windows are placed by bucket: the middle
query of a chunk, standing at a share t of the queries of its bucket, points to the share t of the
keys of that bucket, or to the gap between its neighbours where the bucket holds no key. With equal
queries and keys both rules are one.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxattn.attention.lsh.hashing import Documents, Sorted

FAR_QUERY, FAR_KEY = 2**30 + 2**29, -(2**29)
"""Codes of padding: no real token's code is near, and padding's are not near each other."""


class Windows(NamedTuple):
    """All rounds of the rows of a batch, int32, leading axes [B, H, R].

    Query i and key j meet where 0 <= code[j] - low[i] < span[i].

    order_q, order_k: [.., S] position at each place of the sorted sequences, -1 where none is.
    rank_q, rank_k: [.., N] place of each position. low, code: [.., N].
    span: [.., N], or None: the number of chunks that a window has.
    start: [.., S / chunk_size] first chunk of keys of the window of each chunk of queries, never
        less than that of the chunk before; or None: as many before its own as the settings say.
    """

    order_q: Array
    order_k: Array
    rank_q: Array
    rank_k: Array
    low: Array
    code: Array
    span: Array | None
    start: Array | None


def of_shared(ordered: Sorted, real_BN: Array, chunk_size: int, before: int) -> Windows:
    """Queries that serve as keys; a window has `before` chunks before its own."""
    real = real_BN[:, None, None]
    low = jnp.where(real, ordered.code - before, FAR_QUERY)
    code = jnp.where(real, ordered.code, FAR_KEY)
    # Padding comes last in every round.
    tokens = real_BN.sum(1)[:, None, None, None]
    order = jnp.where(jnp.arange(real_BN.shape[1]) < tokens, ordered.order, -1)
    beyond = (0, -real_BN.shape[1] % chunk_size)
    order = jnp.pad(order, ((0, 0), (0, 0), (0, 0), beyond), constant_values=-1)
    return Windows(order, order, ordered.rank, ordered.rank, low, code, None, None)


def by_bucket(
    buckets: tuple[Array, Array],
    ordered: tuple[Sorted, Sorted],
    documents: Documents,
    real_BN: Array,
    *,
    chunk_size: int,
    chunks: tuple[int, int],
    packed: bool,
    mask_within_chunks: bool,
) -> Windows:
    """Windows of keys of their own.

    A query sees the keys of its bucket (or document) in its window; where the window holds none of
    its bucket, all keys of its document that the window holds.

    Args:
        buckets: of queries and keys, [B, H, R, N].
        ordered: both sorted.
        documents: of the tokens.
        real_BN: bool, True = real token.
        chunk_size: positions per chunk.
        chunks: of a window: before the place its chunk points to, and in all.
        packed: there may be several documents in a row.
        mask_within_chunks: only keys of the query's bucket count, if there are any.
    """
    length = real_BN.shape[1]
    first_BN, tokens_BN = documents.first, documents.tokens
    slot_BN, slots = first_BN, -(-length // chunk_size) * chunk_size
    if packed:
        slot_BN, slots = _aligned(documents, chunk_size)

    def one_round(bucket_q, bucket_k, order_q, order_k, rank_q, rank_k, row):  # type: ignore[no-untyped-def]
        real_N, first_N, tokens_N, slot_N = row
        here_q, here_k = (
            jnp.where(real_N, rank - first_N + slot_N, slots) for rank in (rank_q, rank_k)
        )
        places_q, places_k = (_placed(here, slots) for here in (here_q, here_k))
        sorted_q, sorted_k = bucket_q[order_q], bucket_k[order_k]
        # A chunk's middle query; all real ones stand at its beginning.
        filled_C = (places_q.reshape(-1, chunk_size) >= 0).sum(1)
        chunk_C = jnp.arange(filled_C.size)
        middle_C = jnp.maximum(places_q[chunk_C * chunk_size + filled_C // 2], 0)
        bucket_C = bucket_q[middle_C]
        begin_q, end_q = _range(sorted_q, bucket_C)
        begin_k, end_k = _range(sorted_k, bucket_C)
        # No overflow: `sort_rounds` takes less than 2^15 tokens.
        passed_C = (rank_q[middle_C] - begin_q) * (end_k - begin_k)
        target_C = begin_k + passed_C // jnp.maximum(end_q - begin_q, 1) - first_N[middle_C]
        target_C = slot_N[middle_C] + jnp.clip(target_C, 0, jnp.maximum(tokens_N[middle_C] - 1, 0))
        # A window does not reach beyond its document while that has more keys on the other side.
        lowest_C = slot_N[middle_C] // chunk_size
        end_C = -(-(slot_N[middle_C] + tokens_N[middle_C]) // chunk_size)
        highest_C = jnp.maximum(lowest_C, end_C - chunks[1])
        start_C = jnp.clip(target_C // chunk_size - chunks[0], lowest_C, highest_C)
        # What a query sees, [low, high).
        window_N = start_C[jnp.minimum(here_q, slots - 1) // chunk_size] * chunk_size
        low_N = jnp.maximum(window_N, slot_N)
        high_N = jnp.minimum(window_N + chunks[1] * chunk_size, slot_N + tokens_N)
        whole_N = tokens_N <= chunk_size
        low_N = jnp.where(whole_N, slot_N, low_N)
        high_N = jnp.where(whole_N, slot_N + tokens_N, high_N)
        if mask_within_chunks:
            bounds = (x - first_N + slot_N for x in _range(sorted_k, bucket_q))
            begin_N, end_N = next(bounds), next(bounds)
            begin_N, end_N = jnp.maximum(begin_N, low_N), jnp.minimum(end_N, high_N)
            some_N = begin_N < end_N
            low_N, high_N = jnp.where(some_N, begin_N, low_N), jnp.where(some_N, end_N, high_N)
        if packed:
            # A chunk of whole documents sees its neighbours: each of those is in at most two.
            alone_C = tokens_N[middle_C] <= chunk_size
            start_C = jnp.where(alone_C, jnp.maximum(chunk_C - 1, 0), start_C)
            start_C = jnp.minimum(start_C, max(0, filled_C.size - max(3, chunks[1])))
            # Chunks that hold no query come last.
            start_C = jax.lax.cummax(jnp.where(filled_C > 0, start_C, 0))
        else:
            start_C = jax.lax.cummax(start_C)
        return Windows(
            places_q,
            places_k,
            jnp.where(real_N, here_q, 0),
            jnp.where(real_N, here_k, 0),
            jnp.where(real_N, low_N, FAR_QUERY),
            jnp.where(real_N, here_k, FAR_KEY),
            jnp.where(real_N, high_N - low_N, 0),
            start_C,
        )

    over_rounds = jax.vmap(one_round, (0,) * 6 + (None,))
    over_heads = jax.vmap(over_rounds, (0,) * 6 + (None,))
    over_rows: Callable[..., Windows] = jax.vmap(over_heads)
    with jax.named_scope("windows"):
        return over_rows(
            *buckets,
            *(each.order for each in ordered),
            *(each.rank for each in ordered),
            (real_BN, first_BN, tokens_BN, slot_BN),
        )


def _range(sorted_N: Array, bucket: Array) -> tuple[Array, Array]:
    """First place of `bucket` and of all larger ones."""
    ends = jnp.searchsorted(sorted_N, jnp.stack([bucket, bucket + 1]))
    return ends[0].astype(jnp.int32), ends[1].astype(jnp.int32)


def _placed(slot_N: Array, slots: int) -> Array:
    """Position at each slot, -1 where none is; slot `slots` is none."""
    position_N = jnp.arange(slot_N.size, dtype=jnp.int32)
    return jnp.full(slots, -1, jnp.int32).at[slot_N].set(position_N, mode="drop")


def _aligned(documents: Documents, chunk_size: int) -> tuple[Array, int]:
    """(first slot of each token's document [B, N], slots) in a row in which no chunk has tokens of
    a long document beside another's.

    First come the documents of at most chunk_size tokens, one after the other; then the others,
    each from the beginning of a chunk on. n > chunk_size tokens fill at most 2 n / (chunk_size + 1)
    chunks.
    """
    number_BN, tokens_BN, length = documents.number, documents.tokens, documents.number.shape[1]
    starts_BN = jnp.pad(
        number_BN[:, 1:] != number_BN[:, :-1], ((0, 0), (1, 0)), constant_values=True
    )
    short_BN = tokens_BN <= chunk_size
    filled_BN = -(-tokens_BN // chunk_size) * chunk_size
    own_short_BN = jnp.where(starts_BN & short_BN, tokens_BN, 0)
    own_long_BN = jnp.where(starts_BN & ~short_BN, filled_BN, 0)
    all_short_B = own_short_BN.sum(1, keepdims=True)
    after_short_B = -(-all_short_B // chunk_size) * chunk_size
    slot_BN = jnp.where(
        short_BN,
        jnp.cumsum(own_short_BN, 1) - tokens_BN,
        after_short_B + jnp.cumsum(own_long_BN, 1) - filled_BN,
    )
    chunks = 2 * length // (chunk_size + 1) + 1
    return slot_BN, chunks * chunk_size
