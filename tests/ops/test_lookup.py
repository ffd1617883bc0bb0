"""Sums over thousands of uses of one row, against float64, in both ways they are taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import DTypeLike

from jaxattn.ops.lookup import plus, rows_of, sums_by_row, sums_by_sorted_row, times


def numbers(kind: str, total: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    return {
        "as words": np.minimum(rng.zipf(1.3, total) - 1, rows - 1),
        "evenly": rng.integers(0, rows, total),
        "one row": np.full(total, rows - 1),
        "in order": np.sort(rng.integers(0, rows, total)),
    }[kind].astype(np.int32)


def exact(index: np.ndarray, change: jax.Array, rows: int) -> np.ndarray:
    sums = np.zeros((rows, change.shape[1]))
    np.add.at(sums, np.asarray(index), np.asarray(change, np.float64))
    return sums


@pytest.mark.parametrize("kind", ["as words", "evenly", "one row", "in order"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("total", "rows", "width"),
    [(1, 5, 3), (7, 1, 4), (100, 3, 8), (1000, 5000, 8), (5000, 30, 4), (16384, 3000, 8)],
)
def test_sums_equal_float64(kind: str, dtype: str, total: int, rows: int, width: int) -> None:
    rng = np.random.default_rng(total + rows)
    index = numbers(kind, total, rows, rng)
    change = jnp.asarray(rng.normal(size=(total, width)) + 0.3, dtype)
    wanted = exact(index, change, rows)
    for function in (sums_by_row, sums_by_sorted_row):
        sums = np.asarray(jax.jit(function, static_argnums=2)(jnp.asarray(index), change, rows))
        assert sums.dtype == np.float32
        assert np.abs(sums - wanted).max() <= 2e-5 * np.abs(wanted).max()
        assert (sums[np.bincount(index, minlength=rows) == 0] == 0).all()


def test_sums_are_float64_for_float64() -> None:
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        index = numbers("as words", 3000, 50, rng)
        change = jnp.asarray(rng.normal(size=(3000, 4)))
        sums = sums_by_sorted_row(jnp.asarray(index), change, 50)
        np.testing.assert_allclose(sums, exact(index, change, 50), rtol=1e-12, atol=1e-12)


def test_a_frequent_row_keeps_its_gradient_in_bfloat16() -> None:
    """Added up in bfloat16, 14,000 equal changes end at 256 of them."""
    table = jnp.asarray(np.random.default_rng(0).normal(size=(10, 4)), jnp.float32)
    index = jnp.asarray(np.r_[np.full(14_000, 3), np.arange(10)], jnp.int32).reshape(2, -1)

    def loss(table: jax.Array) -> jax.Array:
        return rows_of(table, index, jnp.bfloat16).astype(jnp.float32).sum()

    assert rows_of(table, index, jnp.bfloat16).dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        np.asarray(jax.grad(loss)(table)[:, 0]), [1, 1, 1, 14_001, 1, 1, 1, 1, 1, 1]
    )


def test_rows_are_those_of_the_table() -> None:
    table = jnp.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(
        rows_of(table, jnp.array([[3, 0]]), jnp.float32), [[[9, 10, 11], [0, 1, 2]]]
    )


@pytest.mark.parametrize("shape", [(8,), (50, 8), (1, 50, 8), (4000, 1, 8), (1, 1, 1)])
def test_plus_sums_the_gradient_in_float32(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(4000, 50, 8)), jnp.bfloat16)
    y = jnp.asarray(rng.normal(size=shape), jnp.float32)
    g = rng.normal(size=x.shape) + 0.5

    def loss(x: jax.Array, y: jax.Array) -> jax.Array:
        return (plus(x, y).astype(jnp.float32) * g.astype(np.float32)).sum()

    assert plus(x, y).dtype == jnp.bfloat16
    np.testing.assert_array_equal(plus(x, y), x + y.astype(jnp.bfloat16))
    dx, dy = jax.grad(loss, (0, 1))(x, y)
    rounded = np.asarray(jnp.asarray(g, jnp.bfloat16), np.float64)
    np.testing.assert_array_equal(np.asarray(dx, np.float64), rounded)
    full = (1,) * (3 - len(shape)) + shape
    axes = tuple(axis for axis, n in enumerate(full) if n < x.shape[axis])
    np.testing.assert_allclose(dy, rounded.sum(axes).reshape(shape), rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_the_gradient_of_a_kernel_is_a_sum_in_float32(dtype: DTypeLike) -> None:
    """What is summed comes out of other operations, with which XLA may fuse the product."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(32, 20, 32)) + 0.3, dtype)
    kernel = jnp.asarray(rng.normal(size=(32, 16)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(32, 20, 16)) * 0.01 + 0.3, jnp.float32)

    def total(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return (times(x, kernel).astype(jnp.float32) * weights).sum()

    y = times(x, kernel)
    np.testing.assert_array_equal(y, jnp.dot(x, kernel.astype(dtype)))
    assert y.dtype == dtype
    to_x, to_kernel = jax.jit(jax.grad(total, argnums=(0, 1)))(x, kernel)
    assert (to_x.dtype, to_kernel.dtype) == (dtype, jnp.float32)
    rounded = np.asarray(weights.astype(dtype), np.float64)
    wanted = np.tensordot(np.asarray(x, np.float64), rounded, ((0, 1), (0, 1)))
    assert np.linalg.norm(to_kernel - wanted) < 1e-3 * np.linalg.norm(wanted)
    exact = rounded @ np.asarray(kernel.astype(dtype), np.float64).T
    assert np.linalg.norm(np.asarray(to_x, np.float64) - exact) < 1e-2 * np.linalg.norm(exact)
