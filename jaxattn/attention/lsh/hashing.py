"""Angular hashing and bucket sort (Kitaev et al. 2020, section 2, "LSH attention").

h(x) = argmax([x R; -x R]) (Andoni et al. 2015) with J columns of R makes 2 J buckets. A document
of n tokens asks for 2 ceil(n / (2 chunk_size)) buckets; beyond 16 they come from two hashes of
fewer columns each, whose pairs are the buckets ("factorised" hashing, as in the paper's own code):
O(n^1.5) work in place of O(n^2).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxattn.errors import InputError

# Up to this many columns one hash does; at 16 buckets two would not be cheaper.
_LARGEST_SINGLE = 8


class Sorted(NamedTuple):
    """All hash rounds of the rows of a batch, int32 [B, H, R, N] each.

    order: position at each place of the sorted sequence. rank: its inverse.
    code: of each position; those of two tokens that may meet differ by the number of chunks
        between them, all others by more than a window reaches. Below 2^30.
    """

    order: Array
    rank: Array
    code: Array


class Documents(NamedTuple):
    """The documents of the rows of a batch, told at each of their tokens: int32 [B, N].

    number: running number of the document. tokens: how many real ones it has.
    first: how many real tokens all earlier documents have.
    """

    number: Array
    tokens: Array
    first: Array

    @classmethod
    def of(cls, number_BN: Array, real_BN: Array) -> "Documents":
        """Counted from the documents' numbers and the key mask."""

        def one_row(real_N: Array, number_N: Array) -> tuple[Array, Array]:
            counts = jnp.zeros_like(number_N).at[number_N].add(real_N.astype(jnp.int32))
            return counts[number_N], (jnp.cumsum(counts) - counts)[number_N]

        return cls(number_BN, *jax.vmap(one_row)(real_BN, number_BN))


def factors(pairs: int) -> tuple[int, int]:
    """Columns (a, b) of the two hashes for `pairs` pairs of buckets: 4 a b >= 2 pairs buckets.

    b = 0: one hash with a columns and 2 a buckets.
    """
    if pairs <= _LARGEST_SINGLE:
        return pairs, 0
    first = int(np.ceil(np.sqrt(pairs / 2)))
    return first, -(-pairs // (2 * first))


def _factor_table(most_pairs: int) -> np.ndarray:
    return np.array([(0, 0)] + [factors(pairs) for pairs in range(1, most_pairs + 1)], np.int32)


def rotations(key: Array, heads: int, rounds: int, width: int, columns: int) -> Array:
    """Gaussian projections, float32 [H, R, K, J].

    Each column has a key of its own: a longer padded length appends columns and changes none.
    """
    # Numbered column by column, so that the numbers of the first columns do not depend on J.
    numbers = jnp.arange(columns * rounds * heads)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
    normal = jax.vmap(lambda own: jax.random.normal(own, (width,), jnp.float32))(keys)
    return jnp.transpose(normal.reshape(columns, rounds, heads, width), (2, 1, 3, 0))


def draw(key: Array, heads: int, rounds: int, width: int, length: int, chunk_size: int) -> Array:
    """Rotations of both hashes for rows of up to `length` tokens, side by side: [H, R, K, J]."""
    first, second = _factor_table(-(-length // (2 * chunk_size))).max(0).tolist()
    own = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    parts = [
        rotations(own_key, heads, rounds, width, columns)
        for own_key, columns in zip(own, (first, second), strict=True)
        if columns
    ]
    return jnp.concatenate(parts, axis=-1)


def hash_rounds(
    x_BNHK: Array, real_BN: Array, documents: Documents, rotations_HRKJ: Array, chunk_size: int
) -> Array:
    """Bucket of every token in every round, int32 [B, H, R, N].

    Buckets are numbered through all documents of a row, so that tokens of one bucket are of one
    document too. Their count follows the real tokens of each document, never the padded length;
    padding is in bucket 2 N, which no other reaches.

    Args:
        x_BNHK: vectors to hash; their lengths do not matter, and no gradient flows.
        real_BN: bool, True = real token.
        documents: of the tokens.
        rotations_HRKJ: of `draw`.
        chunk_size: tokens per bucket on average.
    """
    length = x_BNHK.shape[1]
    table = _factor_table(-(-length // (2 * chunk_size)))
    first, second = table.max(0).tolist()
    with jax.named_scope("hash"):
        used_BN2 = jnp.asarray(table)[-(-documents.tokens // (2 * chunk_size))]
        one, two = (used_BN2[:, None, None, :, i] for i in (0, 1))
        projected = jnp.einsum(
            "BNHK,HRKJ->JBHRN", jax.lax.stop_gradient(x_BNHK).astype(jnp.float32), rotations_HRKJ
        )
        bucket = _largest(projected[:first], one)
        if second:
            bucket += jnp.where(two > 0, 2 * one * _largest(projected[first:], two), 0)
        bucket = jnp.where((documents.tokens <= chunk_size)[:, None, None], 0, bucket)
        counts_BN = 2 * used_BN2[..., 0] * jnp.maximum(2 * used_BN2[..., 1], 1)
        bucket += _of_earlier(counts_BN, documents.number)[:, None, None]
        return jnp.where(real_BN[:, None, None], bucket, 2 * length)


def _largest(projected_JBHRN: Array, used: Array) -> Array:
    """argmax of [x R; -x R] over the first `used` columns: one comparison a column.

    The first of equal values wins, as with argmax.
    """
    columns = projected_JBHRN.shape[0]
    best = jnp.abs(projected_JBHRN[0])
    bucket = jnp.where(projected_JBHRN[0] < 0, used, 0)
    for j in range(1, columns):
        size = jnp.where(j < used, jnp.abs(projected_JBHRN[j]), -1.0)
        wins = size > best
        best = jnp.where(wins, size, best)
        bucket = jnp.where(wins, jnp.where(projected_JBHRN[j] < 0, j + used, j), bucket)
    return bucket


def _of_earlier(count_BN: Array, number_BN: Array) -> Array:
    """Sum over all earlier documents of their `count`, which all tokens of one have in common."""
    starts_BN = jnp.pad(number_BN[:, 1:] != number_BN[:, :-1], ((0, 0), (1, 0)))
    previous_BN = jnp.pad(count_BN[:, :-1], ((0, 0), (1, 0)))
    return jnp.cumsum(jnp.where(starts_BN, previous_BN, 0), axis=1)


def sort_rounds(
    bucket_BHRN: Array,
    documents: Documents,
    *,
    chunk_size: int,
    reach: int,
    mask_within_chunks: bool,
) -> Sorted:
    """Sorts by (bucket, position), padding last, and numbers the chunks of each document.

    reach: the most neighbouring chunks that a query sees to one side.
    mask_within_chunks: tokens of different buckets never meet; else of different documents.

    Raises:
        InputError: the sort key or the codes overflow int32.
    """
    length = bucket_BHRN.shape[-1]
    bits = max(1, (length - 1).bit_length())
    stride = -(-length // chunk_size) + 1 + reach
    if (2 * length + 1) * 2**bits > np.iinfo(np.int32).max or (2 * length + 1) * stride > 2**30:
        raise InputError(
            f"reformer_lsh: {length} tokens in chunks of {chunk_size} overflow the int32 sort "
            "key; allowed: a larger chunk_size or shorter inputs"
        )
    with jax.named_scope("sort"):
        place_N = jnp.arange(length, dtype=jnp.int32)
        # One packed key; flattened, because XLA sorts fast on a GPU for large batches only.
        packed = ((bucket_BHRN << bits) | place_N).reshape(-1, length)
        order = jax.lax.sort(packed, dimension=1, is_stable=False) & (2**bits - 1)
        rank = jax.vmap(_inverse)(order).reshape(bucket_BHRN.shape)
        order = order.reshape(bucket_BHRN.shape)
    chunk = (rank - documents.first[:, None, None]) // chunk_size
    group = bucket_BHRN if mask_within_chunks else documents.number[:, None, None]
    return Sorted(order, rank, group * stride + chunk)


def _inverse(order_N: Array) -> Array:
    place_N = jnp.arange(order_N.shape[0], dtype=jnp.int32)
    at = jnp.zeros_like(place_N).at[order_N]
    return at.set(place_N, unique_indices=True, mode="promise_in_bounds")
