"""FAVOR+ with positive features in fused kernels (Pallas Triton), for NVIDIA GPUs.

The sums of `favor.sums`, with the same stabilisers. The features live in registers only: nothing
of size N x F is written. Where the batch has few rows, the keys of a row (and, backwards, its
queries) are split among several programs, whose sums are joined afterwards.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import pallas as pl
from jax.typing import DTypeLike
from jaxtyping import PyTree

from jaxattn.attention import probes
from jaxattn.attention.favor.sums import Draw, FeatureMap, linear_attention
from jaxattn.attention.inputs import sum_dtype
from jaxattn.attention.probes import Ref

# Positions of a tile, and of a block of queries where the length allows.
_TILE, _BLOCK = 64, 128

# Programs that keep an H100's 132 multiprocessors busy, two on each.
_PROGRAMS = 264

# Stands for minus infinity, whose differences are not NaN.
_LOW = -1e30

# Most numbers of a head's state, features by values: it is held in registers.
_LARGEST_STATE = 128 * 128

_WIDTHS = (16, 32, 64, 128)

_FEATURES = (16, 32, 64, 128, 256)

# Warps and stages of the kernels: chosen so that ptxas spills next to nothing for sm_90a.
_WARPS = {"keys": 8, "queries": 8, "queries_backward": 8, "keys_backward": 4, "join": 8}

_STAGES = {"keys": 2, "queries": 2, "queries_backward": 1, "keys_backward": 2, "join": 1}


def fused_attention(
    q: Array,
    k: Array,
    v: Array,
    weight: Array | None,
    projections_mK: Array,
    *,
    interpret: bool = False,
) -> Array:
    """Attention of q [B, N, H, K] over k [B, M, H, K], v [B, M, H, V]: [B, N, H, V] in q's type.

    Args:
        q: queries.
        k: keys.
        v: values.
        weight: [B or 1, M, H or 1], True where a key is visible, or its log weight as in
            `favor.sums`; None: all are visible.
        projections_mK: float32 [m, K].
        interpret: emulate the kernels on any device, for tests.
    """
    length, keys = q.shape[1], k.shape[1]
    more = -keys % _TILE
    if more and weight is None:
        weight = jnp.ones((1, keys, 1), bool)
    if more and weight is not None:
        hidden = False if weight.dtype == bool else -jnp.inf
        weight = jnp.pad(weight, ((0, 0), (0, more), (0, 0)), constant_values=hidden)
    q, k, v = (_filled(x) for x in (q, k, v))
    return _attend(interpret, q, k, v, weight, projections_mK)[:, :length]


def _filled(x_BNHX: Array) -> Array:
    more = -x_BNHX.shape[1] % _TILE
    return jnp.pad(x_BNHX, ((0, 0), (0, more), (0, 0), (0, 0))) if more else x_BNHX


def _power_of_two(most: int) -> int:
    """The largest power of two up to `most`, at least 1: Triton's blocks have such sizes."""
    return 1 << max(0, most.bit_length() - 1)


class _Plan(NamedTuple):
    """How the rows of a sequence are divided: `splits` programs of at most `tiles` tiles each."""

    batch: int
    heads: int
    splits: int
    tiles: int
    tiles_in_all: int

    @classmethod
    def of(cls, x_BNHX: Array) -> "_Plan":
        batch, length, heads, _ = x_BNHX.shape
        tiles = length // _TILE
        splits = _power_of_two(min(tiles, _PROGRAMS // (batch * heads)))
        return cls(batch, heads, splits, -(-tiles // splits), tiles)

    @property
    def grid(self) -> tuple[int, int, int]:
        return self.batch, self.heads, self.splits

    def loop(self, body: Callable[[PyTree, PyTree], PyTree], begin: PyTree) -> PyTree:
        """`body` over the tiles of this program; the last programs may have fewer, or none."""
        own: Array | int = self.tiles
        if self.tiles * self.splits > self.tiles_in_all:
            own = jnp.minimum(own, self.tiles_in_all - pl.program_id(2) * self.tiles)
        return jax.lax.fori_loop(0, own, body, begin)


def _call(kernel: Callable[..., None], name: str, interpret: bool, **how: Any) -> PyTree:
    how |= probes.how_compiled(interpret, _WARPS[name], _STAGES[name])
    return pl.pallas_call(kernel, name=f"favor_{name}", **how)


def _rows(x_BNHX: Array | jax.ShapeDtypeStruct, size: int) -> pl.BlockSpec:
    """`size` positions of one head."""
    return pl.BlockSpec((None, size, None, x_BNHX.shape[3]), lambda b, h, i: (b, i, h, 0))


def _head(x_BHX: Array) -> pl.BlockSpec:
    """What belongs to one head."""
    rest = x_BHX.shape[2:]
    return pl.BlockSpec((None, None, *rest), lambda b, h, i: (b, h, *[0] * len(rest)))


def _split(x_BHSX: jax.ShapeDtypeStruct) -> pl.BlockSpec:
    """What belongs to one split of one head."""
    rest = x_BHSX.shape[3:]
    return pl.BlockSpec((None, None, None, *rest), lambda b, h, i: (b, h, i, *[0] * len(rest)))


def _weights(weight: Array | jax.ShapeDtypeStruct | None, size: int) -> list[pl.BlockSpec]:
    if weight is None:
        return []
    batch, _, heads = weight.shape
    return [
        pl.BlockSpec(
            (None, size, None), lambda b, h, i: (b if batch > 1 else 0, i, h if heads > 1 else 0)
        )
    ]


def _whole(x: Array) -> pl.BlockSpec:
    return pl.BlockSpec(x.shape, lambda b, h, i: (0,) * x.ndim)


def _dot(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, preferred_element_type=sum_dtype(a))


def _projections(w_ref: Ref, like: Array) -> Array:
    """With the scale of queries and keys, in their type."""
    w: Array = w_ref[...] * like.shape[-1] ** -0.25
    return w.astype(like.dtype)


def _log_keys(k: Array, w: Array, seen: Array | None, added: Array | None) -> Array:
    """log phi(k) without the factor that all features share, [L, F]."""
    scale = k.shape[1] ** -0.25
    square = jnp.sum(jnp.square(k.astype(sum_dtype(k))), axis=1)
    log_k = _dot(k, w.T) - (0.5 * scale**2) * square[:, None]
    if added is not None:
        log_k += added[:, None]
    return log_k if seen is None else jnp.where(seen, log_k, _LOW)


def _visible(weight: Array | None, dtype: DTypeLike) -> tuple[Array | None, Array | None]:
    """(which keys are visible [L, 1], their log weights [L]) of a tile's weights."""
    if weight is None:
        return None, None
    if weight.dtype == bool:
        return weight[:, None], None
    seen = weight > -jnp.inf
    return seen[:, None], jnp.where(seen, weight, 0.0).astype(dtype)


def _hide(seen: Array | None, x: Array) -> Array:
    return x if seen is None else jnp.where(seen, x, jnp.zeros_like(x))


def _keys_kernel(plan: _Plan, weighed: bool, *refs: Ref) -> None:
    """log z [F] and mean [F, V] of the keys of one split."""
    k_ref, v_ref, *weight_ref, w_ref, log_total_ref, mean_ref = refs
    w = _projections(w_ref, k_ref)
    dtype = sum_dtype(k_ref)

    def body(i: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        top, total, state = sums
        rows = pl.ds(i * _TILE, _TILE)
        seen, added = _visible(weight_ref[0][rows] if weighed else None, dtype)
        k, v = _hide(seen, k_ref[rows, :]), _hide(seen, v_ref[rows, :])
        log_k = _log_keys(k, w, seen, added)
        new = jnp.maximum(top, jnp.max(log_k, axis=0))
        phi = _hide(seen, jnp.exp(log_k - new[None]))
        kept = jnp.exp(top - new)
        total = total * kept + jnp.sum(phi, axis=0)
        state = state * kept[:, None] + _dot(phi.astype(k.dtype).T, v)
        return new, total, state

    features, width = w.shape[0], v_ref.shape[1]
    begin = (
        jnp.full((features,), _LOW, dtype),
        jnp.zeros((features,), dtype),
        jnp.zeros((features, width), dtype),
    )
    top, total, state = plan.loop(body, begin)
    safe = jnp.where(total == 0, 1.0, total)
    log_total_ref[...] = top + jnp.log(safe)
    mean_ref[...] = (state / safe[:, None]).astype(mean_ref.dtype)


def _query_features(q: Array, w: Array, log_total: Array) -> tuple[Array, Array]:
    """As in `favor.sums`: [L, F], and their sums [L, 1]."""
    log_q = _dot(q, w.T) + log_total[None]
    phi = jnp.exp(log_q - jnp.max(log_q, axis=1)[:, None])
    return phi, jnp.sum(phi, axis=1)[:, None]


def _join_kernel(means: bool, numbers_ref: Ref, states_ref: Ref, *out_refs: Ref) -> None:
    """Of the splits [S, f] and [S, f, V]: log z and means of all keys, or plain sums."""
    numbers, states = numbers_ref[...], states_ref[...]
    number_ref, state_ref = out_refs
    if means:
        top = jnp.max(numbers, axis=0)
        share = jnp.exp(numbers - top[None])
        total = jnp.sum(share, axis=0)
        number_ref[...] = top + jnp.log(total)
        state = jnp.sum(states * (share / total[None])[:, :, None], axis=0)
    else:
        number_ref[...] = jnp.sum(numbers, axis=0)
        state = jnp.sum(states, axis=0)
    state_ref[...] = state.astype(state_ref.dtype)


def _join(
    numbers: Array, states: Array, dtype: DTypeLike, interpret: bool, *, means: bool
) -> tuple[Array, Array]:
    """[B, H, S, F] and [B, H, S, F, V] without the splits; the states in `dtype`."""
    batch, heads, splits, features, width = states.shape
    if splits == 1:
        return numbers[:, :, 0], states[:, :, 0]
    own = min(features, _power_of_two(_LARGEST_STATE // (splits * width)))
    shapes = [
        jax.ShapeDtypeStruct((batch, heads, features), numbers.dtype),
        jax.ShapeDtypeStruct((batch, heads, features, width), dtype),
    ]
    joined: tuple[Array, Array] = _call(
        functools.partial(_join_kernel, means),
        "join",
        interpret,
        grid=(batch, heads, features // own),
        in_specs=[
            pl.BlockSpec((None, None, splits, own), lambda b, h, i: (b, h, 0, i)),
            pl.BlockSpec((None, None, splits, own, width), lambda b, h, i: (b, h, 0, i, 0)),
        ],
        out_specs=[
            pl.BlockSpec((None, None, own), lambda b, h, i: (b, h, i)),
            pl.BlockSpec((None, None, own, width), lambda b, h, i: (b, h, i, 0)),
        ],
        out_shape=shapes,
    )(numbers, states)
    return joined


def _queries_kernel(
    q_ref: Ref, w_ref: Ref, log_total_ref: Ref, mean_ref: Ref, out_ref: Ref
) -> None:
    q, mean = q_ref[...], mean_ref[...]
    phi, total = _query_features(q, _projections(w_ref, q_ref), log_total_ref[...])
    out_ref[...] = (_dot(phi.astype(mean.dtype), mean) / total).astype(out_ref.dtype)


def _queries_backward_kernel(plan: _Plan, *refs: Ref) -> None:
    q_ref, do_ref, w_ref, log_total_ref, mean_ref, dq_ref, dlog_total_ref, dmean_ref = refs
    w, log_total, mean = _projections(w_ref, q_ref), log_total_ref[...], mean_ref[...]

    def body(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        dlog_total, dmean = sums
        rows = pl.ds(i * _TILE, _TILE)
        q, do = q_ref[rows, :], do_ref[rows, :]
        # Queries that no loss depends on may hold anything.
        live = jnp.sum(jnp.where(do != 0, 1, 0), axis=1) > 0
        q = _hide(live[:, None], q)
        phi, total = _query_features(q, w, log_total)
        do = (do.astype(total.dtype) / total).astype(q.dtype)
        toward = _dot(do, mean.T)
        average = jnp.sum(phi * toward, axis=1)[:, None] / total
        dlog = phi * (toward - average)
        dq_ref[rows, :] = _dot(dlog.astype(q.dtype), w).astype(dq_ref.dtype)
        dlog_total += jnp.sum(dlog, axis=0)
        dmean += _dot(phi.astype(q.dtype).T, do)
        return dlog_total, dmean

    begin = jnp.zeros(log_total.shape, log_total.dtype), jnp.zeros(mean.shape, log_total.dtype)
    dlog_total, dmean = plan.loop(body, begin)
    dlog_total_ref[...] = dlog_total
    dmean_ref[...] = dmean.astype(dmean_ref.dtype)


def _keys_backward_kernel(weighed: bool, weighs: bool, *refs: Ref) -> None:
    k_ref, v_ref, *others = refs
    weight_ref, others = others[:weighed], others[weighed:]
    w_ref, log_total_ref, mean_ref, dlog_total_ref, dmean_ref, *changes = others
    dk_ref, dv_ref, *dweight_ref = changes
    w, dmean = _projections(w_ref, k_ref), dmean_ref[...]
    dtype = sum_dtype(k_ref)
    seen, added = _visible(weight_ref[0][...] if weighed else None, dtype)
    k, v = _hide(seen, k_ref[...]), _hide(seen, v_ref[...])
    phi = _hide(seen, jnp.exp(_log_keys(k, w, seen, added) - log_total_ref[...][None]))
    dv_ref[...] = _dot(phi.astype(k.dtype), dmean).astype(dv_ref.dtype)
    average = jnp.sum(dmean.astype(dtype) * mean_ref[...].astype(dtype), axis=1)
    dlog = phi * (_dot(v, dmean.T) + (dlog_total_ref[...] - average)[None])
    change = jnp.sum(dlog, axis=1)
    scale = k.shape[1] ** -0.25
    dk = _dot(dlog.astype(k.dtype), w) - scale**2 * change[:, None] * k.astype(dtype)
    dk_ref[...] = dk.astype(dk_ref.dtype)
    if weighs:
        dweight_ref[0][...] = change.astype(dweight_ref[0].dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
    interpret: bool, q: Array, k: Array, v: Array, weight: Array | None, projections_mK: Array
) -> Array:
    """`fused_attention` for lengths that are multiples of the tile."""
    return _forward(interpret, q, k, v, weight, projections_mK)[0]


class _Residuals(NamedTuple):
    """Arguments of `fused_attention`, and log z and means of all keys."""

    q: Array
    k: Array
    v: Array
    weight: Array | None
    projections: Array
    log_total: Array
    mean: Array


def _forward(
    interpret: bool, q: Array, k: Array, v: Array, weight: Array | None, w: Array
) -> tuple[Array, _Residuals]:
    plan, dtype = _Plan.of(k), sum_dtype(q)
    features, width = w.shape[0], v.shape[3]
    given = [] if weight is None else [weight]
    own = plan.tiles * _TILE
    shapes = [
        jax.ShapeDtypeStruct((*plan.grid, features), dtype),
        # Of several splits, means are joined before they are rounded.
        jax.ShapeDtypeStruct((*plan.grid, features, width), q.dtype if plan.splits == 1 else dtype),
    ]
    log_total, mean = _call(
        functools.partial(_keys_kernel, plan, weight is not None),
        "keys",
        interpret,
        grid=plan.grid,
        in_specs=[_rows(k, own), _rows(v, own), *_weights(weight, own), _whole(w)],
        out_specs=[_split(x) for x in shapes],
        out_shape=shapes,
    )(k, v, *given, w)
    log_total, mean = _join(log_total, mean, q.dtype, interpret, means=True)
    block = _BLOCK if q.shape[1] % _BLOCK == 0 else _TILE
    out_shape = jax.ShapeDtypeStruct((*q.shape[:3], width), q.dtype)
    out = _call(
        _queries_kernel,
        "queries",
        interpret,
        grid=(plan.batch, plan.heads, q.shape[1] // block),
        in_specs=[_rows(q, block), _whole(w), _head(log_total), _head(mean)],
        out_specs=_rows(out_shape, block),
        out_shape=out_shape,
    )(q, w, log_total, mean)
    return out, _Residuals(q, k, v, weight, w, log_total, mean)


def _backward(interpret: bool, residuals: _Residuals, do: Array) -> tuple[Array | None, ...]:
    q, k, v, weight, w, log_total, mean = residuals
    plan = _Plan.of(q)
    own = plan.tiles * _TILE
    dtype = log_total.dtype
    shapes = [
        jax.ShapeDtypeStruct(q.shape, q.dtype),
        jax.ShapeDtypeStruct((*plan.grid, *log_total.shape[2:]), dtype),
        jax.ShapeDtypeStruct((*plan.grid, *mean.shape[2:]), q.dtype if plan.splits == 1 else dtype),
    ]
    heads = [_whole(w), _head(log_total), _head(mean)]
    dq, dlog_total, dmean = _call(
        functools.partial(_queries_backward_kernel, plan),
        "queries_backward",
        interpret,
        grid=plan.grid,
        in_specs=[_rows(q, own), _rows(do, own), *heads],
        out_specs=[_rows(q, own), *(_split(x) for x in shapes[1:])],
        out_shape=shapes,
    )(q, do, w, log_total, mean)
    dlog_total, dmean = _join(dlog_total, dmean, q.dtype, interpret, means=False)
    given = [] if weight is None else [weight]
    # A mask has no gradient.
    weighs = weight is not None and weight.dtype != bool
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (k, v)]
    specs = [_rows(x, _TILE) for x in (k, v)]
    of_keys = [*specs, *_weights(weight, _TILE)]
    if weighs:
        per_head = jax.ShapeDtypeStruct(k.shape[:3], dtype)
        shapes, specs = [*shapes, per_head], [*specs, *_weights(per_head, _TILE)]
    dk, dv, *dweight = _call(
        functools.partial(_keys_backward_kernel, weight is not None, weighs),
        "keys_backward",
        interpret,
        grid=(plan.batch, plan.heads, k.shape[1] // _TILE),
        in_specs=[*of_keys, *heads, _head(dlog_total), _head(dmean)],
        out_specs=specs,
        out_shape=shapes,
    )(k, v, *given, w, log_total, mean, dlog_total, dmean)
    if weight is None or not dweight:
        return dq, dk, dv, None, None
    alike = tuple(axis for axis in (0, 2) if weight.shape[axis] == 1)
    return dq, dk, dv, dweight[0].sum(alike, keepdims=True).astype(weight.dtype), None


_attend.defvjp(_forward, _backward)


def why_not_fused(
    features: str, dtype: DTypeLike, widths: tuple[int, int], count: int, plain: bool
) -> str | None:
    """Why the fused kernels cannot serve on the default device; None if they can.

    Args:
        features: the feature map.
        dtype: of queries, keys and values.
        widths: of queries and of values.
        count: number of features.
        plain: no relative bias, no segments, nothing that depends on the query.
    """
    if jax.default_backend() != "gpu":
        return "the device is no CUDA GPU"
    if probes.triton() is None:
        return f"JAX {jax.__version__} has no Pallas for Triton"
    if not plain:
        return "relative biases, segments and dense masks are left to xla"
    if features != "positive":
        return f"features {features!r} are left to xla"
    if dtype != jnp.bfloat16:
        return f"the kernels take bfloat16, not {jnp.dtype(dtype).name}"
    if not set(widths) <= set(_WIDTHS):
        return f"the kernels take head widths of {_WIDTHS}, not {widths}"
    if count not in _FEATURES or count * max(widths) > _LARGEST_STATE:
        return (
            f"the kernels take {_FEATURES} features, and at most {_LARGEST_STATE} features times "
            f"head width, not {count} of width {max(widths)}"
        )
    if jax.device_count() > 1:
        return "several devices: the compiler cannot divide the kernels among them"
    return _probe(*widths, count)


def _trial(width: int, values: int, count: int, interpret: bool = False) -> str | None:
    """Compares the kernels with `favor.sums` once on a small input, results and gradients: None,
    or what is wrong. `interpret`: for tests on any device."""
    rng = np.random.default_rng(0)
    shapes = [(2, 200, 2, n) for n in (width, width, values, values)]
    arrays = [rng.normal(size=shape).astype(jnp.bfloat16) for shape in shapes]
    mask = rng.random((2, 200, 1)) < 0.8
    w = rng.normal(size=(count, width)).astype(np.float32)

    def by_xla(q: Array, k: Array, v: Array) -> Array:
        log_weight = jnp.broadcast_to(jnp.where(mask, 0.0, -jnp.inf), k.shape[:3])
        draw = Draw(jnp.asarray(w), None)
        return linear_attention(FeatureMap("positive", count), q, k, v, log_weight, draw)

    def fused(q: Array, k: Array, v: Array) -> Array:
        return fused_attention(q, k, v, jnp.asarray(mask), jnp.asarray(w), interpret=interpret)

    def results(attend: Callable[..., Array]) -> list[np.ndarray]:
        def both(q: Array, k: Array, v: Array, do: Array) -> PyTree:
            out, pull = jax.vjp(attend, q, k, v)
            return out, *pull(do)

        return [np.asarray(x, np.float32) for x in jax.jit(both)(*arrays)]

    pairs = list(zip(results(fused), results(by_xla), strict=True))
    errors = [float(np.linalg.norm(x - y) / np.linalg.norm(y)) for x, y in pairs]
    return probes.wrong_numbers(errors)


_probe = probes.Probe(_trial)
