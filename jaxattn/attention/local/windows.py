"""Chunks of queries and the windows of keys that they see: linear memory, its own gradient.

A window is the chunk and as many neighbours as the reach asks for; pairs further apart are masked.
Logits are held transposed, keys by queries, as in `sdpa.blockwise`, and the backward pass computes
them again.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, PyTree

from jaxattn.attention.blocks import (
    RowGroups,
    even_blocks,
    neighbours,
    neighbours_sum,
    numbers_at_a_time,
)
from jaxattn.attention.inputs import (
    Arguments,
    dropped,
    finite,
    live_rows,
    pairs_at,
    relative_block,
    sum_dtype,
)

# Queries of a chunk, about. A longer one makes larger products and masks more of them.
_CHUNK = 64

# Up to this length the scores of all pairs are few enough to be one chunk.
_ONE_CHUNK = 512

# A window of very many chunks is a program of very many parts.
_MOST_BESIDE = 4


class _Plan(NamedTuple):
    """How the work is cut.

    reach: keys that a query sees to either side. chunk: positions of a chunk. beside: neighbours
    of a window to either side. blocks, chunks: so many blocks of so many chunks, one at a time.
    """

    reach: int
    chunk: int
    beside: int
    blocks: int
    chunks: int
    groups: RowGroups

    @property
    def positions(self) -> int:
        """Of all blocks together."""
        return self.blocks * self.chunks * self.chunk

    @property
    def window(self) -> int:
        """Chunks of a window."""
        return 1 + 2 * self.beside


def cut(length: int, reach: int) -> tuple[int, int]:
    """(positions of a chunk, neighbours of a window to either side)."""
    parts = min(max(1, round(reach / _CHUNK)), _MOST_BESIDE)
    chunk = max(min(_CHUNK, 16), -(-reach // parts))
    beside = -(-reach // chunk)
    if (1 + 2 * beside) * chunk >= length and length <= _ONE_CHUNK:
        return length, 0
    chunk = min(chunk, length)
    return chunk, min(beside, -(-length // chunk) - 1)


def _plan(x: Arguments, reach: int) -> _Plan:
    batch, length, heads, _ = x.q.shape
    chunk, beside = cut(length, reach)
    chunks = -(-length // chunk)
    scores = chunk * (1 + 2 * beside) * chunk
    # Half of the numbers: scores and weights are alive together.
    most = numbers_at_a_time() // (2 * scores)
    blocks, chunks = even_blocks(chunks, most)
    return _Plan(
        reach, chunk, beside, blocks, chunks, RowGroups.of(batch, heads, most // (blocks * chunks))
    )


def windowed(rate: float, reach: int, x: Arguments) -> Float[Array, "B N H V"]:
    """Attention of x.q over the keys at most `reach` positions away.

    rate: share of the weights that is dropped.
    """
    key_mask = x.seen.key_mask
    if key_mask is None:
        key_mask = jnp.ones(x.q.shape[:2], bool)
    relative = None if x.relative_bias is None else x.relative_bias[None]
    x = x._replace(relative_bias=relative, seen=x.seen._replace(key_mask=key_mask))
    return _attend(rate, _plan(x, reach), x)


class _Rows(NamedTuple):
    """One group of rows, cut in chunks; letters b, h: its batch rows and heads.

    C chunks, and of what belongs to keys as many more at both ends as windows reach beyond them.
    """

    q_bhCLK: Array
    k_bhCLK: Array
    v_bhCLV: Array
    real_bhCL: Array
    documents_bhCL: Array | None
    bias: Array | None
    relative: Array | None
    attn_mask: Array | None
    dropout_key: Array | None


def _rows(plan: _Plan, x: Arguments, group: Array | int) -> _Rows:
    """The arrays of group `group`; queries are scaled, hidden keys and values are zero."""
    take = functools.partial(plan.groups.block, index=group)
    key_mask, attn_mask, documents, dropout_key = x.seen
    assert key_mask is not None
    real_bhN = take(key_mask[:, None])

    def keys(y: Array) -> Array:
        """With chunks of zeros before and after."""
        y = _chunked(plan, y)
        ends = [(0, 0)] * y.ndim
        ends[2] = (plan.beside, plan.beside)
        return jnp.pad(y, ends)

    k, v = (jnp.where(real_bhN[..., None], plan.groups.take(y, group), 0) for y in (x.k, x.v))
    bias, relative, attn_mask = (
        None if y is None else take(y) for y in (x.bias, x.relative_bias, attn_mask)
    )
    return _Rows(
        _chunked(plan, plan.groups.take(x.q, group) * x.q.shape[-1] ** -0.5),
        keys(k),
        keys(v),
        keys(real_bhN),
        None if documents is None else keys(take(documents[:, None])),
        bias,
        relative,
        attn_mask,
        None if dropout_key is None else jax.random.fold_in(dropout_key, group),
    )


def _chunked(plan: _Plan, x_bhNX: Array) -> Array:
    """[b, h, C, L, ...] of [b, h, N, ...], filled up with zeros.

    Here, and not before the rows are cut in groups: copies of one group are small.
    """
    more = [(0, 0)] * x_bhNX.ndim
    more[2] = 0, plan.positions - x_bhNX.shape[2]
    filled = jnp.pad(x_bhNX, more)
    return filled.reshape(*x_bhNX.shape[:2], -1, plan.chunk, *x_bhNX.shape[3:])


class _Block(NamedTuple):
    """One block of c chunks: q [b, h, c, L, K], keys and values of the windows [b, h, c, W, ..].

    start: its first chunk. visible: [b or 1, h or 1, c or 1, W, L].
    """

    start: Array
    q: Array
    k: Array
    v: Array
    visible: Array


def _part(plan: _Plan, x: Array, start: Array, beyond: int = 0) -> Array:
    """The chunks of a block, and `beyond` more."""
    return jax.lax.dynamic_slice_in_dim(x, start, plan.chunks + beyond, 2)


def _block(plan: _Plan, rows: _Rows, number: Array) -> _Block:
    start = number * plan.chunks

    def windows(x: Array) -> Array:
        return neighbours(_part(plan, x, start, 2 * plan.beside), plan.window, axis=2)

    query_L, key_W = _within(plan)
    visible = jnp.abs(key_W[:, None] - query_L) <= plan.reach
    visible = visible & windows(rows.real_bhCL)[..., None]
    if rows.documents_bhCL is not None:
        own = rows.documents_bhCL[:, :, plan.beside :]
        own = _part(plan, own, start)[..., None, :]
        visible &= windows(rows.documents_bhCL)[..., None] == own
    if rows.attn_mask is not None:
        visible &= pairs_at(rows.attn_mask, *_places(plan, start))
    q = _part(plan, rows.q_bhCLK, start)
    return _Block(start, q, windows(rows.k_bhCLK), windows(rows.v_bhCLV), visible)


def _within(plan: _Plan) -> tuple[Array, Array]:
    """Positions of queries [L] and keys [W] of a window, counted from its first query."""
    key_W = jnp.arange(plan.window * plan.chunk) - plan.beside * plan.chunk
    return jnp.arange(plan.chunk), key_W


def _places(plan: _Plan, start: Array) -> tuple[Array, Array]:
    """Positions of the queries [c, L] and of the keys [c, W] of a block, some of them outside."""
    first_c1 = ((start + jnp.arange(plan.chunks)) * plan.chunk)[:, None]
    query_L, key_W = _within(plan)
    return first_c1 + query_L, first_c1 + key_W


def _extra_logits(
    plan: _Plan, bias: Array | None, relative: Array | None, start: Array, dtype: DTypeLike
) -> Array:
    """Biases of a block: five axes that broadcast to [b, h, c, W, L]."""
    extra = jnp.zeros((1, 1, 1, 1, 1), dtype)
    if bias is not None:
        extra += pairs_at(bias, *_places(plan, start)).astype(dtype)
    if relative is not None:
        keys, offset = plan.window * plan.chunk, -plan.beside * plan.chunk
        near = relative_block(relative.astype(dtype), keys, plan.chunk, offset, -1)
        extra += near[:, :, None]
    return extra


def _logits(plan: _Plan, rows: _Rows, block: _Block) -> Array:
    """Masked logits of a block, [b, h, c, W, L]."""
    dtype = sum_dtype(block.q)
    logits = jnp.einsum("bhcWK,bhcLK->bhcWL", block.k, block.q, preferred_element_type=dtype)
    if rows.bias is not None or rows.relative is not None:
        logits += _extra_logits(plan, rows.bias, rows.relative, block.start, dtype)
    return jnp.where(block.visible, logits, -jnp.inf)


def _drop(weights: Array, rate: float, rows: _Rows, block: _Block) -> Array:
    """Weights of a block after dropout."""
    if rate == 0.0 or rows.dropout_key is None:
        return weights
    return dropped(weights, rate, jax.random.fold_in(rows.dropout_key, block.start))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(rate: float, plan: _Plan, x: Arguments) -> Array:
    """`windowed`; x has a key mask, and its relative bias three axes."""
    return _forward(rate, plan, x)[0]


def _forward(
    rate: float, plan: _Plan, x: Arguments
) -> tuple[Array, tuple[Arguments, Array, Array]]:
    """And the log-normalisers of the queries, [B, H, N]."""
    q, v = x.q, x.v
    dtype = sum_dtype(q)
    batch, length, heads, _ = q.shape

    def one_group(group: Array, carry: PyTree) -> PyTree:
        rows = _rows(plan, x, group)

        def one_block(number: Array, carry: PyTree) -> PyTree:
            block = _block(plan, rows, number)
            logits = _logits(plan, rows, block)
            top = finite(logits.max(3))
            weights = jnp.exp(logits - top[..., None, :])
            total = weights.sum(3)
            safe = jnp.where(total == 0, 1.0, total)
            used = _drop(weights, rate, rows, block).astype(v.dtype)
            out = jnp.einsum("bhcWL,bhcWV->bhcLV", used, block.v, preferred_element_type=dtype)
            out = (out / safe[..., None]).astype(q.dtype)
            log_total = jnp.where(total == 0, -jnp.inf, top + jnp.log(safe))
            return tuple(
                jax.lax.dynamic_update_slice_in_dim(whole, part, block.start, 2)
                for whole, part in zip(carry, (out, log_total), strict=True)
            )

        shape = rows.q_bhCLK.shape[:4]
        begin = jnp.zeros((*shape, v.shape[-1]), q.dtype), jnp.zeros(shape, dtype)
        out, log_total = jax.lax.fori_loop(0, plan.blocks, one_block, begin)
        outs, log_totals = carry
        return (
            plan.groups.put(outs, _joined(out, length), group),
            plan.groups.replaced(log_totals, _joined(log_total, length), group),
        )

    begin = (
        jnp.zeros((batch, length, heads, v.shape[-1]), q.dtype),
        jnp.zeros((batch, heads, length), dtype),
    )
    with jax.named_scope("attend"):
        out, log_total = jax.lax.fori_loop(0, plan.groups.number, one_group, begin)
    return out, (x, out, log_total)


def _joined(x_bhCLX: Array, length: int) -> Array:
    """The first positions, [b, h, N, ...] of [b, h, C, L, ...]."""
    return x_bhCLX.reshape(*x_bhCLX.shape[:2], -1, *x_bhCLX.shape[4:])[:, :, :length]


def _backward(
    rate: float, plan: _Plan, residuals: tuple[Arguments, Array, Array], cotangent: Array
) -> tuple[Arguments]:
    x, out, log_totals = residuals
    q, k, v, *biases, _ = x
    dtype, scale = log_totals.dtype, q.shape[-1] ** -0.5
    einsum = functools.partial(jnp.einsum, preferred_element_type=dtype)
    live = live_rows(cotangent)

    def one_group(group: Array, carry: PyTree) -> PyTree:
        rows = _rows(plan, x, group)
        live_bhN1, do_bhNV = (plan.groups.take(y, group) for y in (live, cotangent))
        # The sum over the keys of weight times its gradient is out . cotangent.
        delta_bhN = einsum("bhNV,bhNV->bhN", plan.groups.take(out, group), do_bhNV)
        log_total_bhN = finite(plan.groups.block(log_totals, group))
        delta, log_total = (
            _chunked(plan, jnp.where(live_bhN1[..., 0], y, 0)) for y in (delta_bhN, log_total_bhN)
        )
        do = _chunked(plan, do_bhNV)
        rows = rows._replace(q_bhCLK=jnp.where(_chunked(plan, live_bhN1), rows.q_bhCLK, 0))

        def one_block(number: Array, carry: PyTree) -> PyTree:
            dq, dk, dv, *dbiases = carry
            block = _block(plan, rows, number)
            do_c, delta_c, log_total_c = (
                _part(plan, y, block.start) for y in (do, delta, log_total)
            )
            weights = jnp.exp(_logits(plan, rows, block) - log_total_c[..., None, :])
            dweights = _drop(einsum("bhcWV,bhcLV->bhcWL", block.v, do_c), rate, rows, block)
            ds = weights * (dweights - delta_c[..., None, :])
            if any(y is not None for y in biases):
                dbiases = _add_bias_gradients(plan, rows, dbiases, ds, group, block.start)
            used = _drop(weights, rate, rows, block).astype(v.dtype)
            ds = ds.astype(q.dtype)
            dq_c = einsum("bhcWL,bhcWK->bhcLK", ds, block.k)
            dk_c = einsum("bhcWL,bhcLK->bhcWK", ds, block.q)
            dv_c = einsum("bhcWL,bhcLV->bhcWV", used, do_c)
            dq = jax.lax.dynamic_update_slice_in_dim(dq, dq_c, block.start, 2)
            return (
                dq,
                *(
                    _add_windows(plan, whole, part, block.start)
                    for whole, part in ((dk, dk_c), (dv, dv_c))
                ),
                *dbiases,
            )

        dq, dk, dv, *dbiases = carry
        begin = tuple(jnp.zeros(y.shape, dtype) for y in (rows.q_bhCLK, rows.k_bhCLK, rows.v_bhCLV))
        begin = *begin, *dbiases
        dq_g, dk_g, dv_g, *dbiases = jax.lax.fori_loop(0, plan.blocks, one_block, begin)
        length, inner = q.shape[1], slice(plan.beside, None)
        return (
            plan.groups.put(dq, _joined(dq_g, length) * scale, group),
            plan.groups.put(dk, _joined(dk_g[:, :, inner], length), group),
            plan.groups.put(dv, _joined(dv_g[:, :, inner], length), group),
            *dbiases,
        )

    dbiases = jax.tree.map(lambda y: jnp.zeros(y.shape, dtype), biases)
    begin = jnp.zeros_like(q), jnp.zeros_like(k), jnp.zeros_like(v), *dbiases
    with jax.named_scope("attend_backward"):
        dq, dk, dv, *dbiases = jax.lax.fori_loop(0, plan.groups.number, one_group, begin)
    dbiases = jax.tree.map(lambda y, like: y.astype(like.dtype), dbiases, biases)
    return (Arguments(dq, dk, dv, *dbiases),)


_attend.defvjp(_forward, _backward)


def _add_windows(plan: _Plan, x_bhCLX: Array, part_bhcWX: Array, start: Array) -> Array:
    """`x` with what the windows of a block give to the chunks that they are made of."""
    part = neighbours_sum(part_bhcWX, plan.window, axis=2)
    if plan.blocks == 1:
        return part
    old = _part(plan, x_bhCLX, start, 2 * plan.beside)
    return jax.lax.dynamic_update_slice_in_dim(x_bhCLX, old + part, start, 2)


def _add_bias_gradients(
    plan: _Plan,
    rows: _Rows,
    dbiases: list[Array | None],
    ds: Array,
    group: Array | int,
    start: Array,
) -> list[Array | None]:
    """`dbiases` (bias, relative) with what a block adds."""
    ds = plan.groups.counted_once(ds, group)

    def extra(bias: Array | None, relative: Array | None) -> Array:
        return _extra_logits(plan, bias, relative, start, ds.dtype)

    like, pull = jax.vjp(extra, rows.bias, rows.relative)
    summed = tuple(axis for axis in range(5) if like.shape[axis] < ds.shape[axis])
    changes = pull(ds.sum(summed, keepdims=True))
    return [
        None if whole is None else plan.groups.added(whole, change, group)
        for whole, change in zip(dbiases, changes, strict=True)
    ]
