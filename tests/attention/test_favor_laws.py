"""The laws of random features, by simulation: mean and variance of estimates of exp(x . y).

With z = x + y and m independent projections, one sample is exp(x . y - |z|^2 / 2) times exp(w . z)
(positive), cosh(w . z) (hyperbolic), or (1 - 4 A)^(K/2) exp(2 A |w|^2 + (1 - 4 A)^1/2 w . z)
(optimal). Gaussian moments give the variances below; lemma 2 of Choromanski et al. 2021 and
theorem 3 of Likhosherstov et al. 2022 say the same.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.attention.favor.features import draw_projections, log_features, optimal_tilt

KEY = jax.random.key(3)
WIDTH = 8
X, Y = np.random.default_rng(11).normal(size=(2, WIDTH)) * 0.4
draw = jax.jit(draw_projections, static_argnums=(1, 2, 3))


def predicted(features: str, x: np.ndarray, y: np.ndarray, tilt: float = 0.0) -> float:
    """Variance of the estimate from one projection."""
    s = np.square(x + y).sum()
    if features == "positive":
        ratio = np.exp(s) - 1
    elif features == "hyperbolic":
        ratio = 0.5 * (1 - np.exp(-s)) ** 2 * np.exp(s)
    else:
        width = len(x)
        factor = (1 - 4 * tilt) ** width * (1 - 8 * tilt) ** (-width / 2)
        ratio = factor * np.exp(2 * (1 - 4 * tilt) / (1 - 8 * tilt) * s - s) - 1
    return np.exp(2 * x @ y) * ratio


def best(x: np.ndarray, y: np.ndarray) -> float:
    return float(optimal_tilt(jnp.float32(np.square(x + y).sum()), len(x)))


@functools.cache
def samples(
    features: str, size: float, tilt: float = 0.0, count: int = 2**18
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Independent estimates of exp(x . y), one per projection, for x, y of `size` times X, Y."""
    w = draw(KEY, count, WIDTH, False)
    x, y = size * X, size * Y
    own = jnp.float32(tilt) if features == "optimal" else None
    logs = [log_features(jnp.float32(z), w, features, own) for z in (x, y)]
    terms = np.exp(np.float64(logs[0] + logs[1])) * count
    if features == "hyperbolic":
        terms = terms[:count] + terms[count:]
    return terms, x, y


def variance(found: np.ndarray) -> tuple[float, float]:
    """The sample variance and its standard error."""
    centred = np.square(found - found.mean())
    return centred.mean(), centred.std() / np.sqrt(len(found))


CASES = [
    (features, size, tilt)
    for size in (0.3, 0.5, 0.8)
    for features, tilt in (("positive", 0), ("hyperbolic", 0), ("optimal", None), ("optimal", -0.2))
]


@pytest.mark.parametrize("features, size, tilt", CASES)
def test_mean_and_variance_are_the_predicted_ones(
    features: str, size: float, tilt: float | None
) -> None:
    tilt = best(size * X, size * Y) if tilt is None else tilt
    found, x, y = samples(features, size, tilt)
    truth = np.exp(x @ y)
    error = 4 * found.std() / np.sqrt(len(found))
    assert abs(found.mean() - truth) < error < 0.02 * truth
    measured, error = variance(found)
    assert abs(measured - predicted(features, x, y, tilt)) < 4 * error
    assert 4 * error < 0.15 * measured


@pytest.mark.parametrize("size", [0.3, 0.5, 0.8])
def test_hyperbolic_variance_is_the_predicted_factor_smaller(size: float) -> None:
    """(1 - e^-|x + y|^2) / 2 of the positive one, for as many projections."""
    positive, x, y = samples("positive", size)
    hyperbolic, _, _ = samples("hyperbolic", size)
    (one, one_error), (other, other_error) = variance(positive), variance(hyperbolic)
    factor = (1 - np.exp(-np.square(x + y).sum())) / 2
    relative = one_error / one + other_error / other
    assert abs(other / one - factor) < 4 * relative * factor
    assert other <= one and factor <= 0.5 and 4 * relative < 0.25


@pytest.mark.parametrize("size", [0.3, 0.5, 0.8])
def test_optimal_variance_is_the_least(size: float) -> None:
    x, y = size * X, size * Y
    tilt = best(x, y)
    assert tilt < -0.001
    least = predicted("optimal", x, y, tilt)
    for other in (1.05 * tilt, 0.95 * tilt, 1.5 * tilt, 0.5 * tilt, 0.0):
        assert least < predicted("optimal", x, y, other)
    # By simulation, too: less than at A = 0 by more than the errors.
    (one, one_error), (other, other_error) = (
        variance(samples("optimal", size, a)[0]) for a in (tilt, 0.0)
    )
    assert one + 2 * one_error < other - 2 * other_error


def test_tilt_is_the_paper_s_and_never_positive() -> None:
    """A = (1 - 1 / rho) / 8 with rho of theorem 3."""
    for width in (4, 64):
        for f in (0.0, 1e-6, 0.1, 3.0, 40.0, 1e4):
            root = np.sqrt((2 * f + width) ** 2 + 8 * width * f)
            rho = (root - 2 * f - width) / (4 * f) if f > 1e-3 else 1.0
            found = float(optimal_tilt(jnp.float32(f), width))
            assert found <= 0
            np.testing.assert_allclose(found, (1 - 1 / rho) / 8, rtol=1e-3, atol=1e-6)


def test_no_tilt_gives_positive_features() -> None:
    x = np.float32(np.random.default_rng(0).normal(size=(3, WIDTH)))
    w = draw(KEY, 9, WIDTH, True)
    both = (
        log_features(x, w, each, tilt)
        for each, tilt in (("positive", None), ("optimal", jnp.float32(0.0)))
    )
    np.testing.assert_allclose(*both, rtol=0, atol=1e-6)


@functools.cache
def estimates(
    features: str, orthogonal: bool, same: bool = False, draws: int = 20000, count: int = WIDTH
) -> tuple[np.ndarray, float]:
    """Estimates of exp(x . y) for one pair, one per draw of the projections; and the truth."""
    x, y = (X / 2, X / 2) if same else (X, Y)
    tilt = jnp.float32(best(x, y)) if features == "optimal" else None

    def estimate(key: jax.Array) -> jax.Array:
        w = draw_projections(key, count, len(x), orthogonal)
        logs = [log_features(jnp.float32(z), w, features, tilt) for z in (x, y)]
        return jnp.exp(logs[0] + logs[1]).sum()

    keys = jax.random.split(jax.random.key(5), draws)
    return np.asarray(jax.jit(jax.vmap(estimate))(keys), np.float64), np.exp(x @ y)


@pytest.mark.parametrize("features", ["positive", "hyperbolic", "optimal"])
def test_orthogonal_projections_keep_the_estimate_unbiased(features: str) -> None:
    found, truth = estimates(features, True)
    half_width = 3.5 * found.std() / np.sqrt(len(found))
    assert half_width < 0.03 * truth
    assert abs(found.mean() - truth) < half_width


@pytest.mark.parametrize("features", ["hyperbolic", "optimal"])
def test_other_features_have_no_larger_variance_when_orthogonal(features: str) -> None:
    positive, _ = estimates("positive", True)
    other, _ = estimates(features, True)
    assert other.var() < positive.var()


@pytest.mark.parametrize("features", ["positive", "hyperbolic", "optimal"])
def test_orthogonal_projections_have_no_larger_variance(features: str) -> None:
    """Choromanski et al. 2021, theorem 2; the gain grows with x . y, so take y = x."""
    orthogonal, _ = estimates(features, True, same=True)
    independent, _ = estimates(features, False, same=True)
    assert orthogonal.var() < (0.97 if features == "positive" else 1.0) * independent.var()


def test_projections_are_orthogonal_in_blocks_with_chi_norms() -> None:
    width, blocks = 6, 2000
    w = np.asarray(draw(KEY, width * blocks, width, True), np.float64)
    block = w.reshape(blocks, width, width)
    gram = np.einsum("bik,bjk->bij", block, block)
    off = gram[:, ~np.eye(width, dtype=bool)]
    assert np.abs(off).max() < 1e-4
    # Squared norms are chi-square with K degrees of freedom: mean K, variance 2 K.
    squares = np.diagonal(gram, axis1=1, axis2=2).ravel()
    assert abs(squares.mean() - width) < 5 * np.sqrt(2 * width / len(squares))
    assert abs(squares.var() / (2 * width) - 1) < 0.1
    # Each coordinate alone is standard normal, the first row's first one too (the sign fix).
    first = w[::width, 0]
    assert abs(first.mean()) < 5 / np.sqrt(blocks) and abs(first.var() - 1) < 0.2


def test_part_of_a_block_is_the_start_of_the_whole() -> None:
    whole, part = draw(KEY, 12, 6, True), draw(KEY, 8, 6, True)
    np.testing.assert_array_equal(whole[:8], part)
