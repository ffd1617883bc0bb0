import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.ops.hash_prng import HASH, hash_key


def key(seed: int) -> jax.Array:
    return hash_key(jax.random.key(seed))


def kept(key: jax.Array, rate: float, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(jax.random.bernoulli(key, 1 - rate, shape))


def signs(key: jax.Array, shape: tuple[int, ...]) -> np.ndarray:
    return kept(key, 0.5, shape) * 2.0 - 1.0


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(400_000,), (50, 80, 100), (4, 10, 100, 100)])
def test_the_share_that_is_dropped_is_the_rate(rate: float, shape: tuple[int, ...]) -> None:
    shares = [1 - kept(key(seed), rate, shape).mean() for seed in range(5)]
    deviation = (rate * (1 - rate) / 400_000) ** 0.5
    assert np.abs(np.array(shares) - rate).max() < 4 * deviation


def test_places_are_independent_of_each_other() -> None:
    one = signs(key(3), (512, 1024))
    for rows, columns in [(0, 1), (0, 2), (0, 64), (1, 0), (1, 1), (2, 0), (256, 0), (0, 512)]:
        product = one[rows:, columns:] * one[: 512 - rows, : 1024 - columns]
        assert abs(product.mean()) < 4 / product.size**0.5, (rows, columns)


def test_all_patterns_of_neighbours_are_as_frequent() -> None:
    patterns = np.packbits(kept(key(4), 0.5, (1 << 17, 8)), axis=1)[:, 0]
    counts = np.bincount(patterns, minlength=256)
    expected = len(patterns) / 256
    # Chi-squared with 255 degrees of freedom: mean 255, deviation 22.6.
    assert 165 < ((counts - expected) ** 2 / expected).sum() < 345


def test_every_bit_of_a_number_is_as_often_set() -> None:
    numbers = np.asarray(jax.random.bits(key(5), (1 << 18,), jnp.uint32))
    share = np.unpackbits(numbers.view(np.uint8).reshape(-1, 4), axis=1).mean(0)
    assert np.abs(share - 0.5).max() < 4.5 * 0.5 / numbers.size**0.5


def test_keys_are_independent_of_each_other() -> None:
    shape = (1 << 18,)
    root = key(0)
    keys = [root, key(1), *jax.random.split(root, 3)]
    keys += [jax.random.fold_in(root, n) for n in range(10, 14)]
    drawn = [signs(k, shape) for k in keys]
    for n, one in enumerate(drawn):
        for other in drawn[:n]:
            # Nor is one the other moved by some places.
            overlap = np.fft.irfft(np.fft.rfft(one) * np.conj(np.fft.rfft(other)))
            assert np.abs(overlap).max() < 6.5 * one.size**0.5


def test_any_shape_counts_places_in_row_major_order() -> None:
    flat = jax.random.bits(key(5), (120,))
    for shape in [(2, 60), (1, 120), (3, 1, 40), (2, 3, 4, 5)]:
        np.testing.assert_array_equal(jax.random.bits(key(5), shape).reshape(-1), flat)
    assert jax.random.bits(key(5), ()).shape == ()


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.uint16, jnp.uint32])
def test_smaller_numbers_are_the_upper_bits(dtype: jnp.dtype) -> None:
    width = jnp.iinfo(dtype).bits
    drawn = jax.random.bits(key(6), (1000,), dtype)
    assert drawn.dtype == dtype
    np.testing.assert_array_equal(drawn, jax.random.bits(key(6), (1000,)) >> (32 - width))


def test_numbers_of_64_bits() -> None:
    with jax.enable_x64(True):
        drawn = np.asarray(jax.random.bits(key(6), (1000,), jnp.uint64))
        assert len(set(drawn >> 32)) > 990 < len(set(drawn & 0xFFFFFFFF))
        assert 0.4 < jax.random.uniform(key(7), (1000,), jnp.float64).mean() < 0.6


def test_compiled_mapped_and_from_a_seed() -> None:
    draw = lambda k: jax.random.bits(k, (3, 5))  # noqa: E731
    np.testing.assert_array_equal(jax.jit(draw)(key(8)), draw(key(8)))
    several = jax.random.split(key(9), 4)
    np.testing.assert_array_equal(jax.vmap(draw)(several), [draw(k) for k in several])
    assert draw(jax.random.key(3, impl=HASH)).shape == (3, 5)
    assert hash_key(jax.random.key(0, impl="rbg")).shape == ()
