"""The windows of all hash rounds in three fused GPU kernels (Pallas, Triton).

XLA writes the scores of every window to memory, several times over; here they stay in registers.
A program of a kernel takes one chunk of one round of one head, gathers its rows and those of its
window by position, and writes its part of the result at their positions: [R, B, N, H, X] in all,
which XLA then sums over the rounds. Scores, normalisers and sums are float32, operands of products
have the inputs' type, and so have the parts.

Nothing is added to memory by two programs, so a result is the same in every run. The gradients of
keys and values come from a kernel of their own, by chunks of keys.
"""

import logging
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
from jaxattn.attention.inputs import finite
from jaxattn.attention.lsh.windows import FAR_KEY, FAR_QUERY, Windows
from jaxattn.attention.probes import Ref

_LOW = -1e30

_WARPS = 4

# Set in tests: kernels run as ordinary programs on a CPU.
_INTERPRET = False


class Shape(NamedTuple):
    """What the kernels are compiled for.

    chunk: positions L per chunk. window: chunks of keys that a chunk of queries looks at, the first
    of them `before` chunks before its own unless `Windows.start` says. sees: as in `Settings`.
    shared: queries serve as keys.
    """

    chunk: int
    window: int
    before: int
    sees: int
    shared: bool


def usable(shape: Shape, q: Array, v: Array) -> bool:
    """Whether the kernels can take these: on a GPU with matrix units for half precision.

    They need powers of two, and one device: XLA cannot divide them among several.
    """
    if _INTERPRET:
        return True
    if probes.triton() is None or jax.default_backend() != "gpu" or jax.device_count() > 1:
        return False
    if not probes.is_recent(jax.devices()[0]):
        return False
    sizes = shape.chunk, q.shape[-1], v.shape[-1]
    half = q.dtype in (jnp.bfloat16, jnp.float16) and v.dtype == q.dtype
    if not (half and all(16 <= n <= 128 and n & (n - 1) == 0 for n in sizes)):
        return False
    obstacle = _probe(shape, q.dtype.name, q.shape[-1], v.shape[-1])
    if obstacle is not None:
        probes.say_once(f"LSH without fused kernels: {obstacle}", logging.WARNING)
    return obstacle is None


def _trial(shape: Shape, dtype: str, width: int, values: int) -> str | None:
    """Compares the kernels with all pairs written out, on one round of one window, results and
    gradients: None, or what is wrong."""
    chunks = shape.window
    position = jnp.arange(chunks * shape.chunk, dtype=jnp.int32)[None, None, None]
    number = position // shape.chunk
    span = start = None
    # A query sees its own chunk, so that none sees nothing.
    low = number - min(shape.before, shape.sees - 1)
    if not shape.shared:
        low, span = jnp.zeros_like(position), jnp.full_like(position, position.size)
        number, start = position, jnp.zeros((1, 1, 1, chunks), jnp.int32)
    windows = Windows(position, position, position, position, low, number, span, start)
    distance = number[0, 0, 0] - low[0, 0, 0][:, None]
    seen = (distance >= 0) & (distance < (position.size if span is not None else shape.sees))
    if shape.shared:
        seen &= ~jnp.eye(position.size, dtype=bool)
    rng = np.random.default_rng(0)
    sizes = (width, width, values, values)
    q, k, v, do = (jnp.asarray(rng.normal(size=(1, position.size, 1, n)), dtype) for n in sizes)
    k = (k * width**-0.5).astype(dtype)

    def fused(q: Array, k: Array, v: Array) -> PyTree:
        out, normaliser = forward(shape, windows, q, k, v)
        delta = (out * do.astype(jnp.float32)).sum(-1).swapaxes(1, 2)
        return out, *backward(shape, windows, (q, k, v, do), (normaliser, delta))

    def written_out(q: Array, k: Array, v: Array) -> PyTree:
        def attend(q: Array, k: Array, v: Array) -> Array:
            logits = jnp.where(seen, jnp.einsum("bnhk,bmhk->bhnm", q, k), -jnp.inf)
            return jnp.einsum("bhnm,bmhv->bnhv", jax.nn.softmax(logits), v)

        out, pull = jax.vjp(attend, *(x.astype(jnp.float32) for x in (q, k, v)))
        return out, *pull(do.astype(jnp.float32))

    pairs = zip(jax.jit(fused)(q, k, v), jax.jit(written_out)(q, k, v), strict=True)
    errors = [
        float(jnp.linalg.norm((x - y).ravel()) / jnp.linalg.norm(y.ravel())) for x, y in pairs
    ]
    return probes.wrong_numbers(errors)


_probe = probes.Probe(_trial)


def _load(ref: Ref, index: Any, mask: Array, other: int) -> Array:
    x: Array
    if _INTERPRET:
        safe = tuple(jnp.where(mask, i, 0) if getattr(i, "ndim", 0) else i for i in index)
        x = ref[safe]
        return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 1)), x, other)
    at = ref.at[index]
    if len(at.shape) > 1:
        mask = jnp.broadcast_to(mask[:, None], at.shape)
    x = probes.triton().load(at, mask=mask, other=other)
    return x


def _store(ref: Ref, index: Any, x: Array, mask: Array) -> None:
    if _INTERPRET:
        rows = jnp.where(mask, index[0], ref.shape[0])
        ref[...] = ref[...].at[rows].set(x.astype(ref.dtype), mode="drop")
        return
    at = ref.at[index]
    if x.ndim > 1:
        mask = jnp.broadcast_to(mask[:, None], x.shape)
    probes.triton().store(at, x.astype(ref.dtype), mask=mask)


def _dot(x: Array, y: Array) -> Array:
    return jnp.dot(x, y, preferred_element_type=jnp.float32)


class _Places(NamedTuple):
    """References to what says where pairs meet: [S], [S], [R, N] each; span may be None.

    turn: this program's round.
    """

    order_q: Ref
    order_k: Ref
    low: Ref
    code: Ref
    span: Ref
    turn: Ref


def _visible(places: _Places, shape: Shape, q_index: Array, k_index: Array) -> Array:
    """Which pairs meet in this round and in no earlier one: bool [Lq, Lk]."""

    def met(r: Any) -> Array:
        low = _load(places.low, (r, q_index), q_index >= 0, FAR_QUERY)
        code = _load(places.code, (r, k_index), k_index >= 0, FAR_KEY)
        distance: Array = code[None, :] - low[:, None]
        reach: Array | int = shape.sees
        if places.span is not None:
            reach = _load(places.span, (r, q_index), q_index >= 0, 0)[:, None]
        return (distance >= 0) & (distance < reach)

    none = jnp.zeros((q_index.size, k_index.size), bool)
    earlier = jax.lax.fori_loop(0, places.turn, lambda r, so_far: so_far | met(r), none)
    visible: Array = met(places.turn) & ~earlier
    return visible & (q_index[:, None] != k_index[None, :]) if shape.shared else visible


def _chunk(ref: Ref, shape: Shape, number: Any) -> Array:
    positions: Array = ref[pl.ds(number * shape.chunk, shape.chunk)]
    return positions


def _window(shape: Shape, start_ref: Ref, places: _Places) -> tuple[Array, Array]:
    """First and one past the last chunk of keys that this program's queries look at."""
    c = pl.program_id(3)
    if start_ref is not None:
        first = start_ref[c]
        return first, first + shape.window
    chunks = places.order_k.shape[0] // shape.chunk
    first = c - shape.before
    return jnp.maximum(first, 0), jnp.minimum(first + shape.window, chunks)


def _forward_kernel(shape, places, start, q_ref, k_ref, v_ref, out_ref, lse_ref):  # type: ignore[no-untyped-def]
    q_index = _chunk(places.order_q, shape, pl.program_id(3))
    q = _load(q_ref, (q_index, slice(None)), q_index >= 0, 0)

    def body(g: Any, carry: PyTree) -> PyTree:
        top, total, out = carry
        k_index = _chunk(places.order_k, shape, g)
        k = _load(k_ref, (k_index, slice(None)), k_index >= 0, 0)
        v = _load(v_ref, (k_index, slice(None)), k_index >= 0, 0)
        visible = _visible(places, shape, q_index, k_index)
        logits = jnp.where(visible, _dot(q, k.T), _LOW)
        new = jnp.maximum(top, logits.max(1))
        weights = jnp.where(visible, jnp.exp(logits - new[:, None]), 0)
        kept = jnp.exp(top - new)
        total = total * kept + weights.sum(1)
        return new, total, out * kept[:, None] + _dot(weights.astype(v.dtype), v)

    L = shape.chunk
    begin = (
        jnp.full((L,), _LOW, jnp.float32),
        jnp.zeros((L,), jnp.float32),
        jnp.zeros((L, v_ref.shape[1]), jnp.float32),
    )
    top, total, out = jax.lax.fori_loop(*_window(shape, start, places), body, begin)
    safe = jnp.where(total == 0, 1.0, total)
    _store(out_ref, (q_index, slice(None)), out / safe[:, None], q_index >= 0)
    lse = jnp.where(total == 0, -jnp.inf, top + jnp.log(safe))
    _store(lse_ref, (q_index,), lse, q_index >= 0)


def _queries_kernel(shape, places, start, q_ref, k_ref, v_ref, do_ref, lse_ref, delta_ref, dq_ref):  # type: ignore[no-untyped-def]
    q_index = _chunk(places.order_q, shape, pl.program_id(3))
    seen_q = q_index >= 0
    q, do = (_load(x, (q_index, slice(None)), seen_q, 0) for x in (q_ref, do_ref))
    lse, delta = (_load(x, (q_index,), seen_q, 0) for x in (lse_ref, delta_ref))

    def body(g: Any, dq: PyTree) -> PyTree:
        k_index = _chunk(places.order_k, shape, g)
        k = _load(k_ref, (k_index, slice(None)), k_index >= 0, 0)
        v = _load(v_ref, (k_index, slice(None)), k_index >= 0, 0)
        visible = _visible(places, shape, q_index, k_index)
        weights = jnp.where(visible, jnp.exp(_dot(q, k.T) - lse[:, None]), 0)
        ds = weights * (_dot(do, v.T) - delta[:, None])
        return dq + _dot(ds.astype(k.dtype), k)

    begin = jnp.zeros((shape.chunk, q.shape[1]), jnp.float32)
    dq = jax.lax.fori_loop(*_window(shape, start, places), body, begin)
    _store(dq_ref, (q_index, slice(None)), dq, seen_q)


def _keys_kernel(  # type: ignore[no-untyped-def]
    shape, places, reach, q_ref, k_ref, v_ref, do_ref, lse_ref, delta_ref, dk_ref, dv_ref
):
    g = pl.program_id(3)
    k_index = _chunk(places.order_k, shape, g)
    k, v = (_load(x, (k_index, slice(None)), k_index >= 0, 0) for x in (k_ref, v_ref))

    def body(c: Any, carry: PyTree) -> PyTree:
        dk, dv = carry
        q_index = _chunk(places.order_q, shape, c)
        seen_q = q_index >= 0
        q, do = (_load(x, (q_index, slice(None)), seen_q, 0) for x in (q_ref, do_ref))
        lse, delta = (_load(x, (q_index,), seen_q, 0) for x in (lse_ref, delta_ref))
        visible = _visible(places, shape, q_index, k_index)
        weights = jnp.where(visible, jnp.exp(_dot(q, k.T) - lse[:, None]), 0)
        ds = weights * (_dot(do, v.T) - delta[:, None])
        dk += _dot(ds.astype(q.dtype).T, q)
        return dk, dv + _dot(weights.astype(do.dtype).T, do)

    if reach is not None:
        first, last = reach[0, g], reach[1, g]
    else:
        chunks = places.order_q.shape[0] // shape.chunk
        first = jnp.maximum(g + shape.before + 1 - shape.window, 0)
        last = jnp.minimum(g + shape.before + 1, chunks)
    begin = tuple(jnp.zeros((shape.chunk, x.shape[1]), jnp.float32) for x in (k, v))
    dk, dv = jax.lax.fori_loop(first, last, body, begin)
    _store(dk_ref, (k_index, slice(None)), dk, k_index >= 0)
    _store(dv_ref, (k_index, slice(None)), dv, k_index >= 0)


def _call(
    kernel: Callable[..., None],
    shape: Shape,
    windows: Windows,
    extra: Array | None,
    arrays: tuple[Array, ...],
    vectors: tuple[Array, ...],
    outputs: list[tuple[DTypeLike, int | None]],
    chunks: int,
) -> PyTree:
    """One kernel over all chunks of all rounds.

    extra: [B, H, R, ..] or None. arrays: [B, N, H, X]. vectors: float32 [B, H, N].
    outputs: types and last axes of the results, [R, B, N, H, X], or [R, B, H, N] where X is None.
    """
    batch, length, heads, _ = arrays[0].shape
    rounds = windows.low.shape[2]

    def spec(sizes: tuple[int | None, ...], index: Any) -> pl.BlockSpec:
        return pl.BlockSpec(sizes, index)

    def of_round(x: Array) -> pl.BlockSpec:
        rest = x.shape[3:]
        return spec((None, None, None, *rest), lambda b, h, r, c: (b, h, r, *[0] * len(rest)))

    all_rounds = spec((None, None, rounds, length), lambda b, h, r, c: (b, h, 0, 0))
    # Kernels take no None: what is missing is left out and put back inside.
    optional = (windows.span, extra)
    inputs = [windows.order_q, windows.order_k, windows.low, windows.code]
    specs = [of_round(windows.order_q), of_round(windows.order_k), all_rounds, all_rounds]
    if windows.span is not None:
        inputs, specs = [*inputs, windows.span], [*specs, all_rounds]
    if extra is not None:
        inputs, specs = [*inputs, extra], [*specs, of_round(extra)]
    for x in arrays:
        inputs.append(x)
        specs.append(spec((None, length, None, x.shape[3]), lambda b, h, r, c: (b, 0, h, 0)))
    for x in vectors:
        inputs.append(x)
        specs.append(spec((None, None, length), lambda b, h, r, c: (b, h, 0)))
    shapes, out_specs = [], []
    for dtype, width in outputs:
        if width is None:
            shapes.append(jax.ShapeDtypeStruct((rounds, batch, heads, length), dtype))
            out_specs.append(spec((None, None, None, length), lambda b, h, r, c: (r, b, h, 0)))
        else:
            shapes.append(jax.ShapeDtypeStruct((rounds, batch, length, heads, width), dtype))
            out_specs.append(
                spec((None, None, length, None, width), lambda b, h, r, c: (r, b, 0, h, 0))
            )

    def body(*refs: Ref) -> None:
        order_q, order_k, low, code, *rest = refs
        span, own = (None if x is None else rest.pop(0) for x in optional)
        kernel(shape, _Places(order_q, order_k, low, code, span, pl.program_id(2)), own, *rest)

    return pl.pallas_call(
        body,
        grid=(batch, heads, rounds, chunks),
        in_specs=specs,
        out_specs=out_specs,
        out_shape=shapes,
        name=kernel.__name__.strip("_"),
        **probes.how_compiled(_INTERPRET, _WARPS, 1),
    )(*inputs)


def forward(shape: Shape, windows: Windows, q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """Softmax over all keys that meet each query: [B, N, H, V] and log-normalisers [B, H, N].

    k is scaled by K^-1/2. What stands at padding is not defined; a normaliser of a query that meets
    no key is -inf, and its output 0.
    """
    chunks = windows.order_q.shape[-1] // shape.chunk
    parts, lse = _call(
        _forward_kernel, shape, windows, windows.start, (q, k, v), (),
        [(q.dtype, v.shape[-1]), (jnp.float32, None)], chunks,
    )  # fmt: skip
    top_BHN = lse.max(0)
    safe_BHN = finite(top_BHN)
    shares_RBHN = jnp.exp(lse - safe_BHN)
    total_BHN = shares_RBHN.sum(0)
    shares_RBHN /= jnp.where(total_BHN == 0, 1, total_BHN)
    shares = jnp.swapaxes(shares_RBHN, 2, 3)[..., None]
    out = (shares * parts.astype(jnp.float32)).sum(0)
    return out, safe_BHN + jnp.log(total_BHN)


def backward(
    shape: Shape, windows: Windows, arrays: tuple[Array, ...], vectors: tuple[Array, Array]
) -> tuple[Array, Array, Array]:
    """Gradients of q, k and v, float32; what stands at padding is not defined.

    arrays: q, k, v and the cotangent [B, N, H, X]. vectors: overall log-normaliser (finite) and
    sum of output times cotangent of each query, float32 [B, H, N].
    """
    q, k, v, _ = arrays
    chunks_q = windows.order_q.shape[-1] // shape.chunk
    chunks_k = windows.order_k.shape[-1] // shape.chunk
    (dq,) = _call(
        _queries_kernel, shape, windows, windows.start, arrays, vectors,
        [(q.dtype, q.shape[-1])], chunks_q,
    )  # fmt: skip
    reach = None if windows.start is None else _looking(shape, windows, chunks_k)
    dk, dv = _call(
        _keys_kernel, shape, windows, reach, arrays, vectors,
        [(k.dtype, k.shape[-1]), (v.dtype, v.shape[-1])], chunks_k,
    )  # fmt: skip
    dq, dk, dv = (x.astype(jnp.float32).sum(0) for x in (dq, dk, dv))
    return dq, dk, dv


def _looking(shape: Shape, windows: Windows, chunks: int) -> Array:
    """First and one past the last chunk of queries that look at each chunk of keys.

    int32 [B, H, R, 2, chunks]. Windows begin in rising order; chunks without a query come last.
    """
    start = windows.start
    assert start is not None
    filled = (windows.order_q.reshape(*start.shape, shape.chunk) >= 0).any(-1)
    start = jnp.where(filled, start, chunks)
    chunk = jnp.arange(chunks, dtype=jnp.int32)

    def one(start_C: Array) -> Array:
        first = jnp.searchsorted(start_C, chunk - shape.window, side="right")
        return jnp.stack([first, jnp.searchsorted(start_C, chunk, side="right")]).astype(jnp.int32)

    flat = jax.vmap(one)(start.reshape(-1, start.shape[-1]))
    return flat.reshape(*start.shape[:3], 2, chunks)
