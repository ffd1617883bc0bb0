"""Angular hashing and stable bucket sort (Kitaev et al. 2020, section 2, "LSH attention").

h(x) = argmax([x R; -x R]) (Andoni et al. 2015). Of a row with n real tokens it uses
2 ceil(n / (2 chunk_size)) buckets, or one bucket when all its tokens fit in one chunk.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxattn.errors import InputError

# Positions hashed at once: all projections together would take N x N / (2 chunk_size) numbers.
_BLOCK = 1024


class Round(NamedTuple):
    """One hash round (or, with a leading axis R, several): int32 [N] each.

    order: position at each place of the sorted sequence. rank: its inverse.
    bucket, chunk: of each position.
    """

    order: Array
    rank: Array
    bucket: Array
    chunk: Array


def rotations(key: Array, heads: int, rounds: int, width: int, columns: int) -> Array:
    """Gaussian projections, float32 [H, R, K, J].

    Each column has a key of its own: a longer padded length appends columns and changes none.
    """

    # Numbered column by column, so that the numbers of the first columns do not depend on J.
    numbers = jnp.arange(columns * rounds * heads)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
    normal = jax.vmap(lambda own: jax.random.normal(own, (width,), jnp.float32))(keys)
    return jnp.transpose(normal.reshape(columns, rounds, heads, width), (2, 1, 3, 0))


def hash_rounds(
    x_NK: Array, real_N: Array, rotations_RKJ: Array, chunk_size: int, positions: int
) -> Round:
    """Sort the tokens of one row by (bucket, position), padding last: a `Round` of [R, N] arrays.

    Args:
        x_NK: vectors to hash; their lengths do not matter, and no gradient flows.
        real_N: bool, True = real token.
        rotations_RKJ: one rotation a round; a row uses as many columns as its tokens ask for.
        chunk_size: tokens per bucket on average.
        positions: positions per chunk of the sorted sequence; divides N.
    """
    length, columns = x_NK.shape[0], rotations_RKJ.shape[-1]
    padding_bucket = 2 * columns
    if (padding_bucket + 1) * length > np.iinfo(np.int32).max:
        raise InputError(
            f"reformer_lsh: {length} tokens in {padding_bucket} buckets overflow the int32 sort "
            f"key; allowed: a larger chunk_size than {chunk_size} or shorter inputs"
        )
    with jax.named_scope("hash"):
        tokens = real_N.sum(dtype=jnp.int32)
        used = (tokens + 2 * chunk_size - 1) // (2 * chunk_size)

        def bucket_of(x_K: Array) -> Array:
            projected_RJ = jnp.einsum("K,RKJ->RJ", x_K.astype(jnp.float32), rotations_RKJ)
            size_RJ = jnp.where(jnp.arange(columns) < used, jnp.abs(projected_RJ), -1.0)
            best_R1 = size_RJ.argmax(-1, keepdims=True).astype(jnp.int32)
            negative_R1 = jnp.take_along_axis(projected_RJ, best_R1, axis=-1) < 0
            return jnp.where(negative_R1, best_R1 + used, best_R1)[:, 0]

        x_NK = jax.lax.stop_gradient(x_NK)
        bucket_RN = jax.lax.map(bucket_of, x_NK, batch_size=min(_BLOCK, length)).T
        bucket_RN = jnp.where(tokens <= chunk_size, 0, bucket_RN)
        bucket_RN = jnp.where(real_N, bucket_RN, padding_bucket)
    with jax.named_scope("sort"):
        place_N = jnp.arange(length, dtype=jnp.int32)
        order_RN = jnp.argsort(bucket_RN * length + place_N, axis=-1).astype(jnp.int32)
        invert = jax.vmap(lambda order_N: jnp.zeros_like(place_N).at[order_N].set(place_N))
        rank_RN = invert(order_RN)
    return Round(order_RN, rank_RN, bucket_RN, rank_RN // positions)
