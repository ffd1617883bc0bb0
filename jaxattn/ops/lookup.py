"""Look-ups, products and additions that repeat an array: gradients that add right.

The gradient of each is a sum over all places where a row was used, thousands for a frequent token.
Added up in bfloat16 such a sum stops growing at 256 times its terms, so it is taken in float32
here, whatever type is computed in.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike


def _sum_dtype(x: Array) -> DTypeLike:
    return jnp.promote_types(x.dtype, jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def rows_of(table_VD: Array, index: Array, dtype: DTypeLike) -> Array:
    """Rows `index` (int [...], each in 0 .. V - 1) of `table_VD` in `dtype`: [..., D].

    The gradient toward the table is summed in float32 (float64 for a float64 table), in an order
    that does not change from run to run.
    """
    # NumPy arrays of checkpoints have no `.at`.
    return jnp.asarray(table_VD).at[index].get(mode="promise_in_bounds").astype(dtype)


def _rows_forward(
    table_VD: Array, index: Array, dtype: DTypeLike
) -> tuple[Array, tuple[Array, Array]]:
    like_V0 = jnp.zeros((table_VD.shape[0], 0), table_VD.dtype)
    return rows_of(table_VD, index, dtype), (index, like_V0)


def _rows_backward(
    dtype: DTypeLike, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, None]:
    index, like_V0 = residuals
    width = cotangent.shape[-1]
    index_T, change_TD = index.reshape(-1), cotangent.reshape(-1, width)
    sums_VD = sums_by_row(index_T, change_TD, like_V0.shape[0])
    return sums_VD.astype(like_V0.dtype), None


rows_of.defvjp(_rows_forward, _rows_backward)


def sums_by_row(index_T: Array, change_TD: Array, rows: int) -> Array:
    """For each of `rows` rows the sum of the changes with its number: float32 [rows, D].

    On a CPU the changes are added one after the other. On an accelerator that would be a scatter of
    colliding additions: atomic ones, in another order every time and slow for what is frequent, or
    with `--xla_gpu_deterministic_ops` a sort of all T D numbers. There `sums_by_sorted_row` is
    taken.
    """
    if jax.default_backend() == "cpu":
        sums_VD = jnp.zeros((rows, change_TD.shape[1]), _sum_dtype(change_TD))
        return sums_VD.at[index_T].add(change_TD.astype(sums_VD.dtype), mode="promise_in_bounds")
    return sums_by_sorted_row(index_T, change_TD, rows)


def sums_by_sorted_row(index_T: Array, change_TD: Array, rows: int) -> Array:
    """`sums_by_row` without colliding additions, in a fixed order.

    Changes are sorted by row and cut into C blocks of L. In a block each row has a slot of its own,
    and a product of the changes with zeros and ones adds up each slot, on matrix units and exactly.
    Only the first and the last slot of a block can go on in another block: these 2 C partial sums
    are added by a second such product. Then every row is written at most once.
    """
    total, width = change_TD.shape
    dtype = _sum_dtype(change_TD)
    # The first product takes T L D multiplications, the second (2 T / L)^2 D.
    length = max(16, 1 << round(math.log2(max(total, 1)) / 2))
    blocks = -(-total // length)
    places_T = jnp.arange(blocks * length, dtype=jnp.int32)
    # What fills the last block belongs to no row: it sorts to the end and is written nowhere.
    filled_T = jnp.pad(
        index_T.astype(jnp.int32), (0, blocks * length - total), constant_values=rows
    )
    sorted_T, order_T = jax.lax.sort((filled_T, places_T), num_keys=1, is_stable=True)
    change_CLD = jnp.asarray(change_TD).at[order_T].get(mode="clip").reshape(blocks, length, width)
    row_CL = sorted_T.reshape(blocks, length)
    begins_CL = jnp.pad(row_CL[:, 1:] != row_CL[:, :-1], ((0, 0), (1, 0)))
    slot_CL = jnp.cumsum(begins_CL, axis=1, dtype=jnp.int32)
    real_CL = row_CL < rows
    slots_L = jnp.arange(length, dtype=jnp.int32)
    # [C, slot, place]
    belongs_CLL = (slot_CL[:, None, :] == slots_L[:, None]) & real_CL[:, None, :]
    sums_CLD = jnp.einsum(
        "CSL,CLD->CSD",
        belongs_CLL.astype(change_TD.dtype),
        change_CLD,
        preferred_element_type=dtype,
    )
    row_of_CS = jnp.max(jnp.where(belongs_CLL, row_CL[:, None, :], -1), axis=2)
    last_C = slot_CL[:, -1]
    inner_CS = (row_of_CS >= 0) & (slots_L > 0) & (slots_L != last_C[:, None])

    # The slots at both ends of each block, in sorted order; a block of one row has it at both.
    ends_C2 = jnp.stack([jnp.zeros_like(last_C), last_C], axis=1)
    row_E = jnp.take_along_axis(row_of_CS, ends_C2, axis=1).reshape(-1)
    part_ED = jnp.take_along_axis(sums_CLD, ends_C2[..., None], axis=1)
    twice_C1 = (last_C == 0)[:, None, None]
    part_ED = part_ED * jnp.where(twice_C1, jnp.array([[[1.0], [0.0]]], dtype), 1.0)
    part_ED = part_ED.reshape(-1, width)
    same_EE = (row_E[:, None] == row_E[None, :]).astype(dtype)
    whole_ED = jnp.einsum("EF,FD->ED", same_EE, part_ED, precision=jax.lax.Precision.HIGHEST)
    first_E = jnp.pad(row_E[1:] != row_E[:-1], (1, 0), constant_values=True) & (row_E >= 0)

    # Numbers beyond the table, one for each, say: written nowhere.
    def numbered(row: Array, written: Array) -> Array:
        flat = jnp.where(written, row, 0).reshape(-1)
        beyond = rows + jnp.arange(flat.size, dtype=jnp.int32)
        return jnp.where(written.reshape(-1), flat, beyond)

    sums_VD = jnp.zeros((rows, width), dtype)
    sums_VD = sums_VD.at[numbered(row_of_CS, inner_CS)].set(
        sums_CLD.reshape(-1, width), mode="drop", unique_indices=True
    )
    return sums_VD.at[numbered(row_E, first_E)].set(whole_ED, mode="drop", unique_indices=True)


@jax.custom_vjp
def plus(x: Array, y: Array) -> Array:
    """x + y in x's type, y repeated along the axes it lacks or has of size 1; [...] as x.

    The gradient toward y is summed over what it was repeated along in float32.
    """
    return x + y.astype(x.dtype)


def _plus_forward(x: Array, y: Array) -> tuple[Array, Array]:
    return plus(x, y), jnp.zeros((*y.shape, 0), y.dtype)


def _plus_backward(like: Array, cotangent: Array) -> tuple[Array, Array]:
    shape = like.shape[:-1]
    more = cotangent.ndim - len(shape)
    repeated = tuple(
        more + axis for axis, n in enumerate(shape) if n == 1 and cotangent.shape[more + axis] > 1
    )
    sums = cotangent.sum((*range(more), *repeated), dtype=_sum_dtype(cotangent), keepdims=False)
    return cotangent, sums.reshape(shape).astype(like.dtype)


plus.defvjp(_plus_forward, _plus_backward)


@jax.custom_vjp
def times(x: Array, kernel: Array) -> Array:
    """x W in the type of `x`: [..., in] and [in, out] -> [..., out].

    The gradient toward W is a sum over all rows. The matrix units of an accelerator add it up in
    float32 whatever type is computed in; on a CPU XLA does from jax 0.12 on add it up in bfloat16
    where it fuses the product with what is before it (26 % off for 640 rows), so it is asked for.
    """
    return jnp.dot(x, kernel.astype(x.dtype))


def _times_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    on_cpu = jax.default_backend() == "cpu"
    # With one axis of rows the product is one as it stands. With several XLA first writes a
    # transposed copy of what is summed, on a CPU a third of a training step.
    rows_TI, changes_TO = (y.reshape(-1, y.shape[-1]) for y in (x, cotangent))
    sums = jax.lax.dot_general(
        rows_TI,
        changes_TO,
        (((0,), (0,)), ((), ())),
        preferred_element_type=_sum_dtype(x) if on_cpu else None,
    )
    gradients = jnp.dot(cotangent, kernel.astype(x.dtype).T), sums.astype(kernel.dtype)
    # Together: else a CPU's XLA leaves the gradients of kernels to the end, and keeps for them what
    # remat has just computed again, of every block.
    return jax.lax.optimization_barrier(gradients) if on_cpu else gradients


times.defvjp(lambda x, kernel: (times(x, kernel), (x, kernel)), _times_backward)
