"""Where a token stands: absolute tables, rotations of queries and keys, relative buckets."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxattn.errors import InputError


def sinusoidal(length: int, width: int) -> Array:
    """Table of sines and cosines, float32 [length, width] (Vaswani et al. 2017, section 3.5).

    Column 2 i is sin(p / 10000^(2 i / width)), column 2 i + 1 its cosine. The angles are computed
    in float64: at position 16384 a float32 angle is wrong in the third digit.

    Raises:
        InputError: odd width.
    """
    if width % 2:
        raise InputError(f"sinusoidal: found width {width}, allowed: an even width")
    angle = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    table = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(length, width)
    return jnp.asarray(table, jnp.float32)


def rope(x_BNHK: Array, positions: Array, base: float, scale: float) -> Array:
    """Rotate x by its position (RoFormer, Su et al. 2021, section 3.4.2): x's shape and type.

    Feature i of the first half and feature i of the second half of K are turned together by
    position / scale * base^(-2 i / K), so q . k depends only on the difference of positions.
    Computed in float32 (float64 for float64 x), from cosines and sines that are right to 2e-7 at
    every position up to 2^20 (of a position with a fraction where scale >= 1).

    Args:
        x_BNHK: queries or keys, [B, N, H, K].
        positions: int or float, [N] or [B, N].
        base: base of the frequencies.
        scale: positions are divided by this; above 1 it fits longer texts into known angles.

    Raises:
        InputError: odd K.
    """
    width = x_BNHK.shape[-1]
    if width % 2:
        raise InputError(f"rope: found head width {width}, allowed: an even width")
    dtype = jnp.promote_types(x_BNHK.dtype, jnp.float32)
    with jax.named_scope("rope"):
        frequency = base ** (-np.arange(0, width, 2) / width) / scale
        cos, sin = (x[..., None, :] for x in _cos_sin(jnp.asarray(positions), frequency, dtype))
        first, second = jnp.split(x_BNHK.astype(dtype), 2, axis=-1)
        turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x_BNHK.dtype)


def _cos_sin(positions: Array, frequency: np.ndarray, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Of positions x frequencies (float64 [F], radians): [..., F] of `dtype` each."""
    if dtype == jnp.float64:
        angle = positions.astype(dtype)[..., None] * frequency
        return jnp.cos(angle), jnp.sin(angle)
    if jnp.issubdtype(positions.dtype, jnp.integer):
        return _whole_cos_sin(positions, frequency)
    # The fraction's angle is small: float32 is enough for it.
    whole = jnp.floor(positions)
    angle = (positions - whole).astype(dtype)[..., None] * jnp.asarray(frequency, dtype)
    cos, sin = _whole_cos_sin(whole.astype(jnp.int32), frequency)
    less, more = jnp.cos(angle), jnp.sin(angle)
    return cos * less - sin * more, sin * less + cos * more


def _whole_cos_sin(positions: Array, frequency: np.ndarray) -> tuple[Array, Array]:
    """Of integer positions, in float32.

    A float32 product of position 16,383 and a frequency is wrong by 5e-4 radians. Here angles are
    fractions of a turn, as integers in units of 2^-32: products of integers wrap around where
    turns do, and nothing is rounded. Frequencies have 16 bits more, for the last carry.
    """
    turns = np.rint(frequency / (2 * np.pi) % 1.0 * 2.0**48).astype(np.uint64)
    high, low = (turns >> 16).astype(np.uint32), (turns & 0xFFFF).astype(np.uint32)
    place = positions.astype(jnp.int32)[..., None]
    tail = (place & 0xFFFF).astype(jnp.uint32) * low >> 16
    phase = place.astype(jnp.uint32) * high + (place >> 16).astype(jnp.uint32) * low + tail
    # The nearest quarter turn, and what is left: at most an eighth of a turn either way.
    quarter = phase + np.uint32(1 << 29) >> 30
    rest = (phase - (quarter << 30)).astype(jnp.int32).astype(jnp.float32)
    angle = rest * np.float32(2 * np.pi / 2**32)
    near, far = jnp.cos(angle), jnp.sin(angle)
    odd = quarter % 2 == 1
    cos, sin = jnp.where(odd, far, near), jnp.where(odd, near, far)
    cos = jnp.where((quarter == 1) | (quarter == 2), -cos, cos)
    return cos, jnp.where(quarter >= 2, -sin, sin)


def relative_bucket_table(num_buckets: int, max_distance: int) -> np.ndarray:
    """T5's bucket of every clipped distance: int32 [2 D + 1], D = max_distance.

    Entry j - i + D is the bucket of key j seen from query i (Raffel et al. 2020, section 2.1,
    bidirectional). Half of the buckets are for j <= i, half for j > i; of each half the first
    half are single distances, the others grow logarithmically, and every distance from D on is in
    the last one. So `table_HB[:, relative_bucket_table(...)]` is an exact clipped relative bias.

    Raises:
        InputError: num_buckets no positive multiple of 4, or max_distance <= num_buckets / 4.
    """
    if num_buckets < 4 or num_buckets % 4:
        raise InputError(f"num_buckets: found {num_buckets}, allowed: multiples of 4")
    if max_distance <= num_buckets // 4:
        raise InputError(
            f"max_distance: found {max_distance}, allowed: more than a quarter of num_buckets = "
            f"{num_buckets}"
        )
    side, exact = num_buckets // 2, num_buckets // 4
    offset = np.arange(-max_distance, max_distance + 1)
    distance = np.abs(offset)
    growth = np.log(np.maximum(distance, exact) / exact) / np.log(max_distance / exact)
    # Distances that are exact powers fall on a bucket's edge; rounding must not put them below it.
    logarithmic = exact + np.floor(growth * (side - exact) + 1e-9).astype(np.int64)
    bucket = np.where(distance < exact, distance, np.minimum(logarithmic, side - 1))
    bucket += side * (offset > 0)
    return bucket.astype(np.int32)


def within_segments(segment_ids_BN: jax.Array) -> jax.Array:
    """Position of each token in its run of equal ids, int32 [B, N]: as in a row of its own."""
    place_N = jnp.arange(segment_ids_BN.shape[1], dtype=jnp.int32)
    begins_BN = jnp.pad(
        segment_ids_BN[:, 1:] != segment_ids_BN[:, :-1], ((0, 0), (1, 0)), constant_values=True
    )
    return place_N - jax.lax.cummax(jnp.where(begins_BN, place_N, 0), axis=1)
