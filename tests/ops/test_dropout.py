import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.ops.dropout import dropped, keep


def key(seed: int) -> jax.Array:
    return jax.random.key(seed)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(400_000,), (50, 80, 100), (4, 10, 100, 100)])
def test_the_share_that_is_dropped_is_the_rate(rate: float, shape: tuple[int, ...]) -> None:
    shares = [1 - np.asarray(keep(key(seed), rate, shape)).mean() for seed in range(5)]
    deviation = (rate * (1 - rate) / 400_000) ** 0.5
    assert np.abs(np.array(shares) - rate).max() < 4 * deviation


def test_places_are_independent_of_each_other() -> None:
    kept = np.asarray(keep(key(3), 0.5, (512, 1024)), np.float64) * 2 - 1
    for rows, columns in [(0, 1), (0, 2), (0, 64), (1, 0), (1, 1), (2, 0), (256, 0), (0, 512)]:
        shifted = kept[rows:, columns:] * kept[: 512 - rows, : 1024 - columns]
        assert abs(shifted.mean()) < 4 / shifted.size**0.5, (rows, columns)


def test_all_patterns_of_neighbours_are_as_frequent() -> None:
    kept = np.asarray(keep(key(4), 0.5, (1 << 20,)))
    patterns = np.packbits(kept.reshape(-1, 8), axis=1)[:, 0]
    counts = np.bincount(patterns, minlength=256)
    expected = len(patterns) / 256
    # Chi-squared with 255 degrees of freedom: mean 255, deviation 22.6.
    assert 165 < ((counts - expected) ** 2 / expected).sum() < 345


def test_keys_are_independent_of_each_other() -> None:
    shape = (1 << 18,)
    root = key(0)
    keys = [key(0), key(1), *(jax.random.fold_in(root, n) for n in range(6))]
    signs = [np.asarray(keep(k, 0.5, shape), np.float64) * 2 - 1 for k in keys]
    for n, one in enumerate(signs):
        for other in signs[:n]:
            assert abs((one * other).mean()) < 5 / one.size**0.5
            # Nor is one the other moved by some places.
            overlap = np.fft.irfft(np.fft.rfft(one) * np.conj(np.fft.rfft(other)))
            assert np.abs(overlap).max() < 6.5 * one.size**0.5


def test_any_size_of_axis_counts_places_in_row_major_order() -> None:
    flat = keep(key(5), 0.3, (120,))
    for shape in [(2, 60), (1, 120), (3, 1, 40), (2, 3, 4, 5)]:
        np.testing.assert_array_equal(keep(key(5), 0.3, shape).reshape(-1), flat)


def test_dropped_numbers_are_zero_and_the_others_are_scaled() -> None:
    x = jnp.linspace(1.0, 2.0, 1000).reshape(10, 100)
    kept = keep(key(6), 0.2, x.shape)
    expected = np.where(kept, np.asarray(x) / 0.8, 0)
    np.testing.assert_allclose(dropped(x, 0.2, key(6)), expected, rtol=1e-6)
    np.testing.assert_array_equal(jax.jit(dropped, static_argnums=1)(x, 0.2, key(6)) != 0, kept)
    gradient = jax.grad(lambda x: dropped(x, 0.2, key(6)).sum())(x)
    np.testing.assert_allclose(gradient, np.where(kept, 1 / 0.8, 0), rtol=1e-6)


def test_the_type_stays_and_nothing_is_dropped_without_rate_or_key() -> None:
    x = jnp.ones((4, 4), jnp.bfloat16)
    assert dropped(x, 0.5, key(0)).dtype == jnp.bfloat16
    assert dropped(x, 0.0, key(0)) is x
    assert dropped(x, 0.5, None) is x


def test_other_kinds_of_keys() -> None:
    assert keep(jax.random.key(0, impl="rbg"), 0.5, (10,)).shape == (10,)
