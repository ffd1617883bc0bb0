"""Dropout by a hash of each number's place.

`jax.random.bernoulli` runs twenty rounds of a cipher for every number and keeps the result: a
fifth of a training step on a CPU. What may be dropped needs no cipher. Here a number's place and
two words of the key go through one integer hash, a few operations that XLA computes where the
mask is used, in the forward and again in the backward pass, so that no mask is kept.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

# The multipliers of lowbias32 (Wellons, "Prospecting for hash functions", 2018), whose bias is near
# that of a random permutation, and of its third step in triple32.
_FACTORS = (0x7FEB352D, 0x846CA68B, 0x31848BAB)


def dropped(x: Float[Array, "..."], rate: float, key: Array | None) -> Float[Array, "..."]:
    """`x` with a share of `rate` of its numbers zero and the others divided by 1 - rate: [...].

    key: a typed PRNG key; the same key and shape give the same choice, on every device. A rate of
    0 or no key: `x` as it is.
    """
    if rate == 0.0 or key is None:
        return x
    return jnp.where(keep(key, rate, x.shape), x / (1.0 - rate), jnp.zeros((), x.dtype))


def keep(key: Array, rate: float, shape: tuple[int, ...]) -> Array:
    """True with probability 1 - rate (to 2^-32), independently for each place: bool [*shape]."""
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    word = _places(shape) + first
    word = (word ^ (word >> 16)) * jnp.uint32(_FACTORS[0])
    # A second word between: two keys never give one sequence at two offsets.
    word = (word ^ (word >> 15)) + second
    word = (word ^ (word >> 16)) * jnp.uint32(_FACTORS[1])
    word = (word ^ (word >> 15)) * jnp.uint32(_FACTORS[2])
    word ^= word >> 16
    return word >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def _places(shape: tuple[int, ...]) -> Array:
    """The number of each place in row-major order, modulo 2^32: uint32 [*shape]."""
    places = jnp.zeros(shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(len(shape))):
        if shape[axis] > 1:
            along = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
            places += along * jnp.uint32(stride % 2**32)
        stride *= shape[axis]
    return places
