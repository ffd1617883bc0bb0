"""Positions against published formulas and values."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import DTypeLike

from jaxattn.errors import InputError
from jaxattn.model.positions import relative_bucket_table, rope, sinusoidal


def test_sinusoidal_values() -> None:
    table = sinusoidal(16384, 6)
    assert table.shape == (16384, 6) and table.dtype == jnp.float32
    np.testing.assert_array_equal(table[0], [0, 1, 0, 1, 0, 1])
    for position, column in ((1, 0), (7, 2), (16383, 4), (16383, 1)):
        angle = position / 10000 ** ((column - column % 2) / 6)
        wanted = np.cos(angle) if column % 2 else np.sin(angle)
        assert abs(float(table[position, column]) - wanted) < 1e-7


def test_rope_is_the_rotation_of_the_paper() -> None:
    """Each pair (i, i + K/2) as a complex number times exp(i angle)."""
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 8))
    positions = np.array([0, 1, 4, 9, 31])
    out = rope(jnp.float32(x), jnp.asarray(positions), 100.0, 2.0)
    angle = positions[:, None] / 2.0 * 100.0 ** (-2 * np.arange(4) / 8)
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angle)[:, None, :]
    np.testing.assert_allclose(out, np.concatenate([turned.real, turned.imag], -1), atol=1e-5)


def turned(
    positions: np.ndarray, base: float, scale: float, dtype: DTypeLike = np.float32
) -> float:
    """Cosines and sines of 64 features: what rope makes of ones and zeros."""
    x = np.zeros((1, positions.shape[-1], 1, 64), dtype)
    x[..., :32] = 1
    x = np.broadcast_to(x, (*np.atleast_2d(positions).shape, 1, 64))
    found = jax.jit(lambda x, p: rope(x, p, base, scale))(x, positions)[:, :, 0]
    assert found.dtype == dtype
    angle = np.float64(positions)[..., None] / scale * base ** (-np.arange(0, 64, 2) / 64)
    wanted = np.concatenate([np.cos(angle), np.sin(angle)], -1)
    return np.abs(np.float64(found) - wanted).max()


@pytest.mark.parametrize("base", [10000.0, 500000.0])
@pytest.mark.parametrize("scale", [1.0, 4.0, 0.3])
def test_rope_is_right_at_every_position(base: float, scale: float) -> None:
    """Float32 products of positions and frequencies are 4e-4 off at the last one."""
    places = np.arange(16384)
    rows = np.stack([places, places[::-1]])
    for positions in (places, rows, np.float32(places), places.astype(np.uint16)):
        assert turned(positions, base, scale) < 2e-7
    far = np.array([-1, -16383, 2**16 - 1, 2**16, 2**20])
    assert turned(far, base, scale) < 2e-7
    if scale >= 1:
        halves = np.float32([0.5, 7.25, 16382.75, -3.5])
        assert turned(halves, base, scale) < 3e-7
    with jax.enable_x64(True):
        for positions in (places, places + 0.125):
            assert turned(positions, base, scale, np.float64) < 2e-11
        assert turned(places, base, scale) < 2e-7


def test_rope_takes_one_program_of_any_length() -> None:
    length = jax.export.symbolic_shape("n")[0]
    of_any = jax.export.export(jax.jit(lambda x: rope(x, jnp.arange(x.shape[1]), 1e4, 1.0)))(
        jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
    )
    for n in (1, 7, 300):
        x = np.random.default_rng(n).normal(size=(1, n, 2, 8)).astype(np.float32)
        np.testing.assert_allclose(
            of_any.call(x), rope(x, jnp.arange(n), 1e4, 1.0), rtol=0, atol=1e-6
        )


def test_rope_keeps_norms_and_depends_on_differences_only() -> None:
    rng = np.random.default_rng(1)
    q, k = (jnp.float32(rng.normal(size=(1, 40, 2, 16))) for _ in range(2))

    def scores(shift: int) -> jax.Array:
        positions = jnp.arange(40) + shift
        turned = (rope(x, positions, 10000.0, 1.0) for x in (q, k))
        return jnp.einsum("bnhk,bmhk->bhnm", *turned)

    norms = jnp.linalg.norm(rope(q, jnp.arange(40), 10000.0, 1.0), axis=-1)
    np.testing.assert_allclose(norms, jnp.linalg.norm(q, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(scores(0), scores(37), atol=2e-4)
    assert float(jnp.abs(scores(0) - jnp.einsum("bnhk,bmhk->bhnm", q, k)).max()) > 1.0


def test_rope_positions_by_row_and_type() -> None:
    x = jnp.ones((2, 3, 1, 4), jnp.bfloat16)
    positions = jnp.array([[0, 1, 2], [5, 6, 7]])
    out = rope(x, positions, 10000.0, 1.0)
    assert out.dtype == jnp.bfloat16
    for row in range(2):
        np.testing.assert_array_equal(out[row], rope(x, positions[row], 10000.0, 1.0)[row])


def test_t5_buckets_have_their_published_values() -> None:
    """T5 (32 buckets, distance 128), values of `_relative_position_bucket`, bidirectional."""
    table = relative_bucket_table(32, 128)
    known = {
        0: 0, -1: 1, -7: 7, -8: 8, -11: 8, -12: 9, -15: 9, -16: 10, -22: 10, -23: 11, -31: 11,
        -32: 12, -45: 12, -46: 13, -63: 13, -64: 14, -90: 14, -91: 15, -128: 15,
        1: 17, 7: 23, 8: 24, 12: 25, 16: 26, 23: 27, 32: 28, 46: 29, 64: 30, 91: 31, 128: 31,
    }  # fmt: skip
    assert table.shape == (257,)
    assert {offset: int(table[offset + 128]) for offset in known} == known


@pytest.mark.parametrize("buckets, distance", [(4, 2), (8, 3), (32, 9), (32, 128), (64, 1000)])
def test_buckets_grow_with_distance_and_end_in_the_last(buckets: int, distance: int) -> None:
    table = relative_bucket_table(buckets, distance)
    before, after = table[: distance + 1][::-1], table[distance + 1 :]
    assert (np.diff(before) >= 0).all() and (np.diff(after) >= 0).all()
    assert before[0] == 0 and before[-1] == buckets // 2 - 1
    assert after[-1] == buckets - 1 and (after == before[1:] + buckets // 2).all()


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match="width 3"):
        sinusoidal(4, 3)
    with pytest.raises(InputError, match="head width 5"):
        rope(jnp.ones((1, 2, 1, 5)), jnp.arange(2), 10000.0, 1.0)
    with pytest.raises(InputError, match="num_buckets: found 6"):
        relative_bucket_table(6, 10)
    with pytest.raises(InputError, match="max_distance: found 8"):
        relative_bucket_table(32, 8)


def test_rope_under_jit_takes_traced_positions() -> None:
    x = jnp.ones((1, 3, 1, 4))
    out = jax.jit(lambda x, p: rope(x, p, 10000.0, 1.0))(x, jnp.arange(3))
    np.testing.assert_allclose(out, rope(x, jnp.arange(3), 10000.0, 1.0), atol=1e-6)
