"""All rows of a batch: in groups by XLA, or in fused kernels; with a gradient of its own."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, PyTree

from jaxattn.attention.blocks import RowGroups, numbers_at_a_time
from jaxattn.attention.inputs import finite, sum_dtype
from jaxattn.attention.lsh import fused
from jaxattn.attention.lsh.chunks import Pairs, Row, Settings
from jaxattn.attention.lsh.row import row_backward, row_forward
from jaxattn.attention.lsh.windows import Windows


class Meetings(NamedTuple):
    """Which keys a query meets; it has no gradient.

    real: key mask. windows: where pairs meet. last: the key of a query that meets none, or -1.
    """

    real: Bool[Array, "B N"]
    windows: Windows
    last: Int[Array, "B _ N"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_in_windows(
    settings: Settings,
    q: Float[Array, "B N H K"],
    k: Float[Array, "B N H K"] | None,
    v: Float[Array, "B N H V"],
    pairs: Pairs,
    meetings: Meetings,
) -> Float[Array, "B N H V"]:
    """Attention of queries over the keys they meet; k None: queries serve as keys."""
    return _forward(settings, q, k, v, pairs, meetings)[0]


def normalized(x: Array) -> Array:
    """x K^1/2 / |x|, [..., K]; the epsilon keeps the gradient of a zero vector finite."""
    return jnp.multiply(x, jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-9))


def _scaled_keys(q: Array, k: Array | None) -> Array:
    """K^-1/2 k, or of the normalised queries, in q's type."""
    keys = normalized(q.astype(sum_dtype(q))) if k is None else k
    return jnp.multiply(keys, q.shape[-1] ** -0.5).astype(q.dtype)


def _kernels(settings: Settings, q: Array, v: Array, pairs: Pairs) -> fused.Shape | None:
    """What to ask of the fused kernels, None where XLA must do the work."""
    if settings.mean or any(x is not None for x in pairs):
        return None
    shape = fused.Shape(
        settings.chunk, settings.window, settings.before, settings.sees, settings.shared
    )
    return shape if fused.usable(shape, q, v) else None


def _alone(normaliser_BHN: Array, meetings: Meetings) -> Array:
    """Which queries met no key and have a last resort, [B, N, H, 1]."""
    return jnp.swapaxes((normaliser_BHN == -jnp.inf) & (meetings.last >= 0), 1, 2)[..., None]


def _fused_forward(
    shape: fused.Shape, q: Array, k: Array | None, v: Array, meetings: Meetings
) -> tuple[Array, Array]:
    out, normaliser = fused.forward(shape, meetings.windows, q, _scaled_keys(q, k), v)
    out = jnp.where(_alone(normaliser, meetings), v, out)
    return jnp.where(meetings.real[..., None, None], out, 0).astype(q.dtype), normaliser


def _fused_backward(shape: fused.Shape, residuals: "_Residuals", cotangent: Array) -> PyTree:
    q, k, v, _, meetings, out, normaliser = residuals
    dtype, scale = sum_dtype(q), q.shape[-1] ** -0.5
    real = meetings.real[..., None, None]
    delta_BHN = jnp.swapaxes((out.astype(dtype) * cotangent.astype(dtype)).sum(-1), 1, 2)
    arrays = q, _scaled_keys(q, k), v, cotangent
    dq, dk, dv = fused.backward(shape, meetings.windows, arrays, (finite(normaliser), delta_BHN))
    dv += jnp.where(_alone(normaliser, meetings), cotangent, 0)
    if k is None:
        _, pull = jax.vjp(normalized, jnp.where(real, q, 0).astype(dtype))
        dq += pull(jnp.where(real, dk * scale, 0))[0]
    dq, dv = (jnp.where(real, x, 0).astype(v.dtype) for x in (dq, dv))
    return dq, None if k is None else jnp.where(real, dk * scale, 0).astype(q.dtype), dv


def _groups(q: Array, settings: Settings) -> RowGroups:
    chunks = -(-q.shape[1] // settings.chunk)
    scores = chunks * settings.chunk**2 * settings.window
    return RowGroups.of(q.shape[0], q.shape[2], numbers_at_a_time() // scores)


def _group(
    groups: RowGroups,
    index: Array,
    q: Array,
    k: Array | None,
    v: Array,
    pairs: Pairs,
    meetings: Meetings,
) -> Row:
    """The rows of group `index`, leading axes [b, h]; padding is zero, whatever stood there."""
    block = functools.partial(groups.block, index=index)
    real_bhN = block(meetings.real[:, None])

    def take(x: Array) -> Array:
        return jnp.where(real_bhN[..., None], groups.take(x, index), 0)

    q_bhNK = take(q)
    keys = _scaled_keys(q_bhNK, None if k is None else take(k))
    windows, own_pairs = jax.tree.map(block, (meetings.windows, pairs))
    return Row(q_bhNK, keys, take(v), real_bhN, windows, block(meetings.last), own_pairs)


def _each_row(function: Callable[..., PyTree], *args: PyTree) -> PyTree:
    """`function` over the axes [b, h] of all arrays; where one has size 1, all rows share it."""
    return _over_first(_over_first(function))(*args)


def _over_first(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    def mapped(*args: PyTree) -> PyTree:
        leaves, tree = jax.tree.flatten(args)
        axes = [None if x.shape[0] == 1 else 0 for x in leaves]
        leaves = [x[0] if axis is None else x for x, axis in zip(leaves, axes, strict=True)]

        def flat(*leaves: Array) -> PyTree:
            return function(*jax.tree.unflatten(tree, leaves))

        if all(axis is None for axis in axes):
            return jax.tree.map(lambda x: x[None], flat(*leaves))
        return jax.vmap(flat, axes)(*leaves)

    return mapped


class _Residuals(NamedTuple):
    """normaliser: [B, H, N], see `row_forward`."""

    q: Array
    k: Array | None
    v: Array
    pairs: Pairs
    meetings: Meetings
    out: Array
    normaliser: Array


def _forward(
    settings: Settings, q: Array, k: Array | None, v: Array, pairs: Pairs, meetings: Meetings
) -> tuple[Array, _Residuals]:
    kernels = _kernels(settings, q, v, pairs)
    groups = _groups(q, settings)

    def one_group(index: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rows = _group(groups, index, q, k, v, pairs, meetings)
        out, normaliser = _each_row(lambda row: row_forward(row, settings), rows)
        return groups.put(carry[0], out, index), groups.replaced(carry[1], normaliser, index)

    batch, length, heads, _ = q.shape
    with jax.named_scope("attend"):
        if kernels is not None:
            out, normaliser = _fused_forward(kernels, q, k, v, meetings)
        else:
            begin = (
                jnp.zeros((batch, length, heads, v.shape[-1]), q.dtype),
                jnp.zeros((batch, heads, length), sum_dtype(q)),
            )
            out, normaliser = jax.lax.fori_loop(0, groups.number, one_group, begin)
    return out, _Residuals(q, k, v, pairs, meetings, out, normaliser)


def _backward(settings: Settings, residuals: _Residuals, cotangent: Array) -> tuple[Any, ...]:
    q, k, v, pairs, meetings, out, normaliser = residuals
    kernels = _kernels(settings, q, v, pairs)
    if kernels is not None:
        with jax.named_scope("attend_backward"):
            return *_fused_backward(kernels, residuals, cotangent), None, None
    groups = _groups(q, settings)
    dtype, scale = sum_dtype(q), q.shape[-1] ** -0.5

    def one_group(index: Array, carry: PyTree) -> PyTree:
        rows = _group(groups, index, q, k, v, pairs, meetings)
        real = rows.real_N[..., None]
        dq_g, dk_g, dv_g, *changes = _each_row(
            lambda *args: row_backward(args[0], settings, *args[1:]),
            rows,
            groups.take(out, index),
            groups.block(normaliser, index),
            jnp.where(real, groups.take(cotangent, index), 0),
        )
        dq, dk, dv, *sums = carry
        if k is None:
            _, pull = jax.vjp(normalized, rows.q_NK.astype(dk_g.dtype))
            dq_g += pull(dk_g * scale)[0]
        else:
            dk = groups.put(dk, jnp.where(real, dk_g * scale, 0), index)
        dq = groups.put(dq, jnp.where(real, dq_g, 0), index)
        dv = groups.put(dv, jnp.where(real, dv_g, 0), index)
        added = (
            None if x is None else groups.added(x, change, index)
            for x, change in zip(sums, changes, strict=True)
        )
        return dq, dk, dv, *added

    zeros = [
        None if x is None else jnp.zeros(x.shape, kind)
        for x, kind in (
            (q, q.dtype), (k, q.dtype), (v, v.dtype), (pairs.bias, dtype), (pairs.relative, dtype)
        )
    ]  # fmt: skip
    with jax.named_scope("attend_backward"):
        dq, dk, dv, *sums = jax.lax.fori_loop(0, groups.number, one_group, tuple(zeros))
    dbias, drelative = (
        None if like is None else x.astype(like.dtype)
        for x, like in zip(sums, pairs[:2], strict=True)
    )
    return dq, dk, dv, Pairs(dbias, drelative, None), None


attend_in_windows.defvjp(_forward, _backward)
