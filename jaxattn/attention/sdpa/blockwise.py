"""Exact attention in blocks of queries and keys: memory linear in length, its own gradient.

The running softmax of Milakov and Gimelshein 2018 and the recomputing backward pass of Dao et al.
2022 (FlashAttention, algorithms 1 and 4), in XLA operations. Scores are held transposed, keys by
queries: sums over the keys then run along whole vectors, and every product has the layout that
CPUs multiply fastest.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, PyTree

from jaxattn.attention.blocks import (
    RowGroups,
    add_block,
    block,
    even_blocks,
    numbers_at_a_time,
    transposed,
)
from jaxattn.attention.inputs import (
    Arguments,
    Visibility,
    dropped,
    finite,
    live_rows,
    relative_block,
    sum_dtype,
)

# Longest blocks; measured on a CPU, where larger ones leave the cache.
_QUERIES, _KEYS = 512, 1024

# On an accelerator, where every block is a dozen kernels, and sums are carried through memory.
_ACCELERATOR_BLOCK = 2048

# With packed documents; small ones are passed over more often where documents do not meet.
_PACKED_QUERIES, _PACKED_KEYS = 128, 256


class _Plan(NamedTuple):
    """How the work is cut: block lengths and numbers, and groups of rows."""

    queries: int
    query_blocks: int
    keys: int
    key_blocks: int
    groups: RowGroups


def _plan(q: Array, k: Array, packed: bool) -> _Plan:
    longest_queries, longest_keys = _QUERIES, _KEYS
    if packed:
        longest_queries, longest_keys = _PACKED_QUERIES, _PACKED_KEYS
    elif jax.default_backend() != "cpu":
        longest_queries = longest_keys = _ACCELERATOR_BLOCK
    query_blocks, queries = even_blocks(q.shape[1], longest_queries)
    key_blocks, keys = even_blocks(k.shape[1], longest_keys)
    # Half of the numbers: scores and weights are alive together.
    most = numbers_at_a_time() // (2 * queries * keys)
    if packed and jax.default_backend() == "cpu":
        # Batch rows are packed differently: together they would pass over fewer blocks.
        most = min(most, q.shape[2])
    groups = RowGroups.of(q.shape[0], q.shape[2], most)
    return _Plan(queries, query_blocks, keys, key_blocks, groups)


def blockwise(rate: float, x: Arguments) -> Float[Array, "B N H V"]:
    """As `dense.dense`, with O(N + M) memory; dropout draws other numbers."""
    q, k, v, bias, relative_bias, seen = x
    plan = _plan(q, k, packed=seen.documents is not None)
    length, keys = q.shape[1], k.shape[1]
    # Where blocks do not divide a length, the last one is filled up with hidden keys.
    more_q = plan.queries * plan.query_blocks - length
    more_k = plan.keys * plan.key_blocks - keys
    key_mask, documents = seen.key_mask, seen.documents
    if more_k and key_mask is None:
        key_mask = jnp.ones((q.shape[0], keys), bool)
    if documents is not None:
        documents = jnp.pad(documents, ((0, 0), (0, max(more_q, more_k))), mode="edge")
    filled = Arguments(
        _filled(q, {1: more_q}),
        _filled(k, {1: more_k}),
        _filled(v, {1: more_k}),
        _filled(bias, {2: more_q, 3: more_k}),
        None if relative_bias is None else relative_bias[None],
        Visibility(
            _filled(key_mask, {1: more_k}),
            _filled(seen.attn_mask, {2: more_q, 3: more_k}),
            documents,
            seen.dropout_key,
        ),
    )
    return _attend(rate, plan, filled)[:, :length]


def _filled(x: Array | None, more: dict[int, int]) -> PyTree:
    """`x` with `more` zeros at the end of axes that are not broadcast (of size 1)."""
    if x is None:
        return None
    widths = [(0, more.get(axis, 0) if n > 1 else 0) for axis, n in enumerate(x.shape)]
    return jnp.pad(x, widths) if any(after for _, after in widths) else x


class _Rows(NamedTuple):
    """Arrays of one group of rows; letters b, h: batch rows and heads of the group.

    bias: [b or 1, h or 1, ..]. relative: [1, h, 2 D + 1].
    """

    k_bhMK: Array
    v_bhMV: Array
    bias: Array | None
    relative: Array | None
    key_mask: Array | None
    attn_mask: Array | None
    documents: Array | None
    dropout_key: Array | None

    @property
    def biased(self) -> bool:
        return self.bias is not None or self.relative is not None


def _rows(plan: _Plan, x: Arguments, group: Array) -> _Rows:
    """The arrays of group `group`; hidden keys and values are zero, whatever stood there."""
    take = functools.partial(plan.groups.block, index=group)
    key_mask, attn_mask, documents, dropout_key = x.seen
    key_mask, documents = (None if y is None else take(y[:, None]) for y in (key_mask, documents))
    bias, relative, attn_mask = (
        None if y is None else take(y) for y in (x.bias, x.relative_bias, attn_mask)
    )
    k_bhMK, v_bhMV = plan.groups.take(x.k, group), plan.groups.take(x.v, group)
    if key_mask is not None:
        k_bhMK = jnp.where(key_mask[..., None], k_bhMK, 0)
        v_bhMV = jnp.where(key_mask[..., None], v_bhMV, 0)
    key = None if dropout_key is None else jax.random.fold_in(dropout_key, group)
    return _Rows(k_bhMK, v_bhMV, bias, relative, key_mask, attn_mask, documents, key)


def _part(x: Array, number: Array, size: int, axis: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, number * size, size, axis)


def _placed(x: Array, part: Array, number: Array, axis: int) -> Array:
    start = number * part.shape[axis]
    return jax.lax.dynamic_update_slice_in_dim(x, part, start, axis)


def _extra_logits(
    plan: _Plan, bias: Array | None, relative: Array | None, i: Array, j: Array, dtype: DTypeLike
) -> Array:
    """Biases of query block i and key block j, transposed: four axes, broadcast to [b, h, M, N]."""
    extra = jnp.zeros((1, 1, 1, 1), dtype)
    if bias is not None:
        extra += jnp.swapaxes(_pairs(plan, bias, i, j), 2, 3).astype(dtype)
    if relative is not None:
        offset = j * plan.keys - i * plan.queries
        extra += relative_block(relative.astype(dtype), plan.keys, plan.queries, offset, -1)
    return extra


def _pairs(plan: _Plan, x: Array, i: Array, j: Array) -> Array:
    """Block (i, j) of what is told of pairs."""
    starts = (0, 0, i * plan.queries, j * plan.keys)
    return block(x, starts, (*x.shape[:2], plan.queries, plan.keys))


def _logits(plan: _Plan, rows: _Rows, qT_bhKn: Array, i: Array, j: Array) -> Array:
    """Masked logits of block (i, j), [b, h, m, n]; `qT` is scaled by K^-1/2 already."""
    dtype = sum_dtype(qT_bhKn)
    k_bhmK = _part(rows.k_bhMK, j, plan.keys, 2)
    logits = jnp.einsum("bhmK,bhKn->bhmn", k_bhmK, qT_bhKn, preferred_element_type=dtype)
    if rows.biased:
        logits += _extra_logits(plan, rows.bias, rows.relative, i, j, dtype)
    visible = []
    if rows.key_mask is not None:
        visible.append(_part(rows.key_mask, j, plan.keys, 2)[..., None])
    if rows.documents is not None:
        own = _part(rows.documents, i, plan.queries, 2)[:, :, None, :]
        visible.append(_part(rows.documents, j, plan.keys, 2)[..., None] == own)
    if rows.attn_mask is not None:
        visible.append(jnp.swapaxes(_pairs(plan, rows.attn_mask, i, j), 2, 3))
    for part in visible:
        logits = jnp.where(part, logits, -jnp.inf)
    return logits


def _reach(plan: _Plan, rows: _Rows) -> tuple[Array, Array] | None:
    """Which blocks share a document, where documents are packed; None: all blocks count.

    Documents are runs, so the key blocks that matter to a query block are neighbours, and so are
    the query blocks that matter to a key block.

    Returns:
        int [query_blocks, 2] and int [key_blocks, 2], first and one past the last block of the
        other side that shares a document in any row of the group.
    """
    if rows.documents is None:
        return None
    b = rows.documents.shape[0]
    of_q = rows.documents[:, :, : plan.queries * plan.query_blocks]
    of_k = rows.documents[:, :, : plan.keys * plan.key_blocks]
    of_q = of_q.reshape(b, plan.query_blocks, 1, plan.queries)
    of_k = of_k.reshape(b, 1, plan.key_blocks, plan.keys)
    meet = ((of_q.max(-1) >= of_k.min(-1)) & (of_q.min(-1) <= of_k.max(-1))).any(0)

    def ends(meet: Array) -> Array:
        return jnp.stack([meet.argmax(1), meet.shape[1] - meet[:, ::-1].argmax(1)], 1)

    return ends(meet), ends(meet.T)


def _drop(weights: Array, rate: float, plan: _Plan, rows: _Rows, i: Array, j: Array) -> Array:
    """Weights of block (i, j) after dropout."""
    if rate == 0.0 or rows.dropout_key is None:
        return weights
    key = jax.random.fold_in(rows.dropout_key, i * plan.key_blocks + j)
    return dropped(weights, rate, key)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(rate: float, plan: _Plan, x: Arguments) -> Array:
    """`blockwise` for lengths that are multiples of the blocks'."""
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
        qT = transposed(plan.groups.take(q, group) * q.shape[-1] ** -0.5)
        vT = transposed(rows.v_bhMV)
        reach = _reach(plan, rows)

        def query_block(i: Array, carry: PyTree) -> PyTree:
            first, end = (0, plan.key_blocks) if reach is None else reach[0][i]
            qT_i = _part(qT, i, plan.queries, 3)

            def key_block(j: Array, carry: PyTree) -> PyTree:
                top, total, outT = carry
                logits = _logits(plan, rows, qT_i, i, j)
                new_top = jnp.maximum(top, logits.max(2))
                weights = jnp.exp(logits - finite(new_top)[:, :, None])
                kept = jnp.exp(top - finite(new_top))
                used = _drop(weights, rate, plan, rows, i, j).astype(v.dtype)
                add = jnp.einsum(
                    "bhVm,bhmn->bhVn",
                    _part(vT, j, plan.keys, 3),
                    used,
                    preferred_element_type=dtype,
                )
                return new_top, total * kept + weights.sum(2), outT * kept[:, :, None] + add

            none = jnp.zeros((*qT.shape[:2], plan.queries), dtype)
            begin = none - jnp.inf, none, jnp.zeros((*vT.shape[:3], plan.queries), dtype)
            top, total, outT = jax.lax.fori_loop(first, end, key_block, begin)
            safe = jnp.where(total == 0, 1.0, total)
            outT = (outT / safe[:, :, None]).astype(q.dtype)
            log_total = jnp.where(total == 0, -jnp.inf, finite(top) + jnp.log(safe))
            return _placed(carry[0], outT, i, 3), _placed(carry[1], log_total, i, 2)

        begin = jnp.zeros((*vT.shape[:3], length), q.dtype), jnp.zeros((*qT.shape[:2], length))
        begin = begin[0], begin[1].astype(dtype)
        outT, log_total = jax.lax.fori_loop(0, plan.query_blocks, query_block, begin)
        out, log_totals = carry
        return (
            plan.groups.put(out, jnp.swapaxes(outT, 2, 3), group),
            plan.groups.replaced(log_totals, log_total, group),
        )

    begin = (
        jnp.zeros((batch, length, heads, v.shape[-1]), q.dtype),
        jnp.zeros((batch, heads, length), dtype),
    )
    with jax.named_scope("attend"):
        out, log_total = jax.lax.fori_loop(0, plan.groups.number, one_group, begin)
    return out, (x, out, log_total)


def _backward(
    rate: float, plan: _Plan, residuals: tuple[Arguments, Array, Array], cotangent: Array
) -> tuple[Arguments]:
    x, out, log_totals = residuals
    q, k, v, *biases, _ = x
    dtype = log_totals.dtype
    einsum = functools.partial(jnp.einsum, preferred_element_type=dtype)
    live = live_rows(cotangent)
    # The sum over the keys of weight times its gradient is out . cotangent.
    deltas = jnp.einsum("BNHV,BNHV->BHN", out, cotangent, preferred_element_type=dtype)
    scale = q.shape[-1] ** -0.5

    def one_group(group: Array, carry: PyTree) -> PyTree:
        rows = _rows(plan, x, group)
        live_bhN1 = plan.groups.take(live, group)
        q_bhNK = jnp.where(live_bhN1, plan.groups.take(q, group) * scale, 0)
        do_bhNV = plan.groups.take(cotangent, group)
        log_total = jnp.where(live_bhN1[..., 0], plan.groups.block(log_totals, group), 0)
        log_total = finite(log_total)
        delta = jnp.where(live_bhN1[..., 0], plan.groups.block(deltas, group), 0)
        qT, doT = transposed(q_bhNK), transposed(do_bhNV)
        reach = _reach(plan, rows)

        def key_block(j: Array, carry: PyTree) -> PyTree:
            first, end = (0, plan.query_blocks) if reach is None else reach[1][j]
            v_bhmV = _part(rows.v_bhMV, j, plan.keys, 2)
            kT_bhKm = transposed(_part(rows.k_bhMK, j, plan.keys, 2))

            def query_block(i: Array, carry: PyTree) -> PyTree:
                dqT, dk_j, dv_j, *dbiases = carry
                logits = _logits(plan, rows, _part(qT, i, plan.queries, 3), i, j)
                weights = jnp.exp(logits - _part(log_total, i, plan.queries, 2)[:, :, None])
                dweights = einsum("bhmV,bhVn->bhmn", v_bhmV, _part(doT, i, plan.queries, 3))
                dweights = _drop(dweights, rate, plan, rows, i, j)
                ds = weights * (dweights - _part(delta, i, plan.queries, 2)[:, :, None])
                used = _drop(weights, rate, plan, rows, i, j).astype(v.dtype)
                dv_j += einsum("bhmn,bhnV->bhmV", used, _part(do_bhNV, i, plan.queries, 2))
                if rows.biased:
                    dbiases = _add_bias_gradients(plan, rows, dbiases, ds, group, i, j)
                ds = ds.astype(q.dtype)
                dk_j += einsum("bhmn,bhnK->bhmK", ds, _part(q_bhNK, i, plan.queries, 2))
                dqT_i = _part(dqT, i, plan.queries, 3) + einsum("bhKm,bhmn->bhKn", kT_bhKm, ds)
                return _placed(dqT, dqT_i, i, 3), dk_j, dv_j, *dbiases

            dqT, dk, dv, *dbiases = carry
            none_k, none_v = jnp.zeros(kT_bhKm.shape, dtype), jnp.zeros(v_bhmV.shape, dtype)
            begin = dqT, jnp.swapaxes(none_k, 2, 3), none_v, *dbiases
            dqT, dk_j, dv_j, *dbiases = jax.lax.fori_loop(first, end, query_block, begin)
            put = functools.partial(plan.groups.put, index=group, first=j * plan.keys)
            return dqT, put(dk, rows_bhNX=dk_j), put(dv, rows_bhNX=dv_j), *dbiases

        dq, dk, dv, *dbiases = carry
        begin = jnp.zeros(qT.shape, dtype), dk, dv, *dbiases
        dqT, dk, dv, *dbiases = jax.lax.fori_loop(0, plan.key_blocks, key_block, begin)
        dq = plan.groups.put(dq, jnp.swapaxes(dqT, 2, 3) * scale, group)
        return dq, dk, dv, *dbiases

    dbiases = jax.tree.map(lambda x: jnp.zeros(x.shape, dtype), biases)
    begin = jnp.zeros_like(q), jnp.zeros_like(k), jnp.zeros_like(v), *dbiases
    with jax.named_scope("attend_backward"):
        dq, dk, dv, *dbiases = jax.lax.fori_loop(0, plan.groups.number, one_group, begin)
    dbiases = jax.tree.map(lambda x, like: x.astype(like.dtype), dbiases, biases)
    return (Arguments(dq, dk, dv, *dbiases),)


_attend.defvjp(_forward, _backward)


def _add_bias_gradients(
    plan: _Plan, rows: _Rows, dbiases: list[Any], ds: Array, group: Array, i: Array, j: Array
) -> list[Any]:
    """`dbiases` (bias, relative) with what block (i, j) of group `group` adds."""
    dbias, drelative = dbiases
    ds = plan.groups.counted_once(ds, group)
    if rows.bias is not None:
        starts = (*plan.groups.start(group), i * plan.queries, j * plan.keys)
        dbias = add_block(dbias, jnp.swapaxes(ds, 2, 3), starts)
    if rows.relative is not None:
        logits = functools.partial(_extra_logits, plan, None, i=i, j=j, dtype=ds.dtype)
        _, pull = jax.vjp(logits, rows.relative)
        drelative = plan.groups.added(drelative, pull(ds.sum(0, keepdims=True))[0], group)
    return [dbias, drelative]
