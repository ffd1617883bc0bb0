"""Random bits by a hash of each number's place: a kind of JAX keys, for dropout.

JAX's own keys run twenty rounds of a cipher (Threefry-2x32) for every number and keep what they
drew: a fifth of a training step on a CPU. What is dropped needs no cipher. With keys of this kind a
number's place and two words of the key go through one integer hash. XLA computes it where the bits
are used, in the forward and again in the backward pass, so that no mask is kept. All functions of
`jax.random` take such keys; they split and fold as JAX's own do.
"""

import jax
import jax.extend
import jax.numpy as jnp
from jax import Array

# The multipliers of lowbias32 (Wellons, "Prospecting for hash functions", 2018), whose bias is near
# that of a random permutation, and of the third step of his triple32.
_FACTORS = (0x7FEB352D, 0x846CA68B, 0x31848BAB)

_THREEFRY = "threefry2x32"


def hash_key(key: Array) -> Array:
    """A key that draws by the hash, from one of JAX's own; scalar keys of two words."""
    first_two = jax.random.bits(key, (2,), jnp.uint32)
    hashing: Array = jax.random.wrap_key_data(first_two, impl=HASH)
    return hashing


def _bits(key_2: Array, width: int, shape: tuple[int, ...]) -> Array:
    """Unsigned integers of 8, 16, 32 or 64 bits: [*shape]."""
    words = _words(key_2, shape)
    if width <= 32:
        return (words >> (32 - width)).astype(f"uint{width}")
    low = _words(_fold_in(key_2, 1), shape)
    return (words.astype(jnp.uint64) << 32) | low.astype(jnp.uint64)


def _words(key_2: Array, shape: tuple[int, ...]) -> Array:
    word: Array = _places(shape) + key_2[0]
    word = (word ^ (word >> 16)) * jnp.uint32(_FACTORS[0])
    # The second word in between: two keys never give one sequence at two offsets.
    word = (word ^ (word >> 15)) + key_2[1]
    word = (word ^ (word >> 16)) * jnp.uint32(_FACTORS[1])
    word = (word ^ (word >> 15)) * jnp.uint32(_FACTORS[2])
    word ^= word >> 16
    return word


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


def _seed(seed: Array) -> Array:
    return jax.random.key_data(jax.random.key(seed, impl=_THREEFRY))


def _split(key_2: Array, shape: tuple[int, ...]) -> Array:
    key = jax.random.wrap_key_data(key_2, impl=_THREEFRY)
    return jax.random.key_data(jax.random.split(key, shape))


def _fold_in(key_2: Array, data: Array | int) -> Array:
    key = jax.random.wrap_key_data(key_2, impl=_THREEFRY)
    return jax.random.key_data(jax.random.fold_in(key, data))


HASH = jax.extend.random.define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_bits,
    fold_in=_fold_in,
    name="jaxattn_hash",
    tag="hash",
)
"""For `impl=` of `jax.random.key` and `jax.random.wrap_key_data`."""
