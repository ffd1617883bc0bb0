"""The attention inside the windows of all hash rounds, with its own gradient.

Rounds are taken one after the other. Combined by log-sum-exp they are one softmax over the union
of the visible pairs, so the backward pass needs only the output and the log of the *overall*
normaliser, as in ring attention (Liu et al. 2023): no output, score or weight of any round is kept.
Logits are held transposed, keys by queries, as in `sdpa_blockwise`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxattn.attention.blocks import RowGroups, even_blocks, numbers_at_a_time
from jaxattn.attention.inputs import sum_dtype
from jaxattn.attention.lsh import fused
from jaxattn.attention.lsh.windows import FAR_KEY, FAR_QUERY, Windows


class Settings(NamedTuple):
    """What a compiled program depends on.

    chunk: positions L per chunk. before, after: chunks of a window beside the own one, as many
    as are looked at. sees: how many of them a query of a lone document sees. shared: queries serve
    as keys. mean: rounds are averaged. itself: the last resort of a query is its own position.
    """

    chunk: int
    before: int
    after: int
    sees: int
    shared: bool
    mean: bool
    itself: bool

    @property
    def window(self) -> int:
        """Chunks of a window."""
        return self.before + 1 + self.after


class Pairs(NamedTuple):
    """What is told of pairs of tokens: four axes, of size 1 where it is the same for all.

    bias: float, to [B, H, N, M]. relative: float [1, H, 2 D + 1]. mask: bool, to [B, H, N, M].
    """

    bias: Array | None
    relative: Array | None
    mask: Array | None


class Seen(NamedTuple):
    """What has no gradient.

    real_BN: key mask. windows: where pairs meet. last: [B, 1 or H, N] the key of a query that meets
    none, or -1. mask: of pairs.
    """

    real_BN: Array
    windows: Windows
    last: Array
    mask: Array | None


class _Row(NamedTuple):
    """One head of one row: k [N, K] scaled by K^-1/2; the others as in `Seen`."""

    q_NK: Array
    k_NK: Array
    v_NV: Array
    real_N: Array
    windows: Windows
    last_N: Array
    pairs: Pairs


class _Window(NamedTuple):
    """A block of c chunks of one round: positions of queries [c, L] and of keys [c, W].

    visible: bool [c, W, L], in which round of several a pair meets does not matter: it counts in
    the first. first: number of the first chunk of each window, [c].
    """

    query_cL: Array
    key_cW: Array
    visible_cWL: Array
    first_c: Array


def normalized(x_NK: Array) -> Array:
    """x K^1/2 / |x|; the epsilon keeps the gradient of a zero vector finite."""
    return x_NK * jax.lax.rsqrt(jnp.square(x_NK).mean(-1, keepdims=True) + 1e-9)


def _take(x: Array, index: Array) -> Array:
    return x.at[index].get(mode="promise_in_bounds")


def _cut(settings: Settings, slots: int) -> tuple[int, int]:
    """(number, chunks each) of the blocks of chunks that are computed at a time."""
    chunks = slots // settings.chunk
    width = settings.window * settings.chunk
    return even_blocks(chunks, max(1, numbers_at_a_time() // (2 * settings.chunk * width)))


def _in_chunks(order_S: Array, chunk: int, before: int, after: int) -> Array:
    """Positions in sorted order, cut in chunks: int32 [before + C + after, L], -1 outside."""
    ends = (before, after), (0, 0)
    return jnp.pad(order_S.reshape(-1, chunk), ends, constant_values=-1)


class _Round(NamedTuple):
    """One hash round of a row, cut in chunks.

    query_CL: positions of the queries, sorted; -1 outside. key_CL: of the keys, where queries serve
    as keys with the chunks that windows reach beyond both ends. first_C: of each window, counted
    in chunks of key_CL. low, span, code: [R, N], this round's first, then the earlier ones; queries
    of later rounds are far from all keys.
    """

    query_CL: Array
    key_CL: Array
    first_C: Array
    low_RN: Array
    span_RN: Array | None
    code_RN: Array


def _round(row: _Row, settings: Settings, turn: Array, chunks: int) -> _Round:
    windows = row.windows
    query_CL = _in_chunks(windows.order_q[turn], settings.chunk, 0, 0)
    beyond = chunks - query_CL.shape[0]
    query_CL = jnp.pad(query_CL, ((0, beyond), (0, 0)), constant_values=-1)
    if windows.start is None:
        ends = settings.before, beyond + settings.after
        first_C = jnp.arange(chunks)
    else:
        ends = 0, 0
        first_C = jnp.pad(windows.start[turn], (0, beyond))
    rounds = 1 if settings.mean else windows.low.shape[0]

    def rolled(x: Array) -> Array:
        return jnp.roll(x, -turn, axis=0)[:rounds]

    number = jnp.arange(rounds)[:, None]
    earlier = (number == 0) | (number + turn >= rounds)
    return _Round(
        query_CL,
        _in_chunks(windows.order_k[turn], settings.chunk, *ends),
        first_C,
        jnp.where(earlier, rolled(windows.low), FAR_QUERY),
        None if windows.span is None else rolled(windows.span),
        rolled(windows.code),
    )


def _window(row: _Row, settings: Settings, own: _Round, start: Array, chunks: int) -> _Window:
    """The block of `chunks` chunks from chunk `start` on."""
    query_cL = jax.lax.dynamic_slice_in_dim(own.query_CL, start, chunks)
    first_c = jax.lax.dynamic_slice_in_dim(own.first_C, start, chunks)
    if row.windows.start is None:
        nearby = jax.lax.dynamic_slice_in_dim(own.key_CL, start, chunks + settings.window - 1)
        key_cW = _neighbours(nearby, settings.window)
    else:
        key_cW = _take(own.key_CL, first_c[:, None] + jnp.arange(settings.window))
        key_cW = key_cW.reshape(chunks, -1)
    inside_q, inside_k = query_cL >= 0, key_cW >= 0
    query_cL, key_cW = jnp.maximum(query_cL, 0), jnp.maximum(key_cW, 0)
    visible: Any = True
    for r in range(own.low_RN.shape[0]):
        low = jnp.where(inside_q, _take(own.low_RN[r], query_cL), FAR_QUERY)[:, None, :]
        code = jnp.where(inside_k, _take(own.code_RN[r], key_cW), FAR_KEY)[:, :, None]
        span = jnp.uint32(settings.sees)
        if own.span_RN is not None:
            span = _take(own.span_RN[r], query_cL).astype(jnp.uint32)[:, None, :]
        met = (code - low).astype(jnp.uint32) < span
        visible = met if r == 0 else visible & ~met
    if settings.shared:
        visible &= query_cL[:, None, :] != key_cW[:, :, None]
    if row.pairs.mask is not None:
        visible &= _lookup(row.pairs.mask, query_cL, key_cW)
    return _Window(query_cL, key_cW, visible, first_c)


def _neighbours(x_CX: Array, window: int) -> Array:
    """Rows c to c + window - 1 side by side along the second axis, for every c that has them."""
    chunks = x_CX.shape[0] - window + 1
    return jnp.concatenate([x_CX[i : i + chunks] for i in range(window)], axis=1)


def _summed(x_cWX: Array, window: int) -> Array:
    """The transpose of `_neighbours`: sums of what belongs to one chunk, [c + window - 1, L, X]."""
    parts = jnp.split(x_cWX, window, axis=1)
    ends = [((i, window - 1 - i), (0, 0), (0, 0)) for i in range(window)]
    return sum(jnp.pad(part, end) for part, end in zip(parts, ends, strict=True))  # type: ignore[return-value]


def _lookup(x_NM: Array, query_cL: Array, key_cW: Array) -> Array:
    """x[query, key] for every pair of a window, [c, W, L]; axes of size 1 are broadcast."""
    row_cL = jnp.minimum(query_cL, x_NM.shape[0] - 1)
    column_cW = jnp.minimum(key_cW, x_NM.shape[1] - 1)
    return x_NM[row_cL[:, None, :], column_cW[:, :, None]]


def _extra_logits(bias: Array | None, relative: Array | None, window: _Window, dtype: Any) -> Array:
    """Biases of the pairs of a window: [c, W, L], or a broadcast zero."""
    extra = jnp.zeros((1, 1, 1), dtype)
    if bias is not None:
        extra += _lookup(bias, window.query_cL, window.key_cW)
    if relative is not None:
        far = relative.shape[0] // 2
        distance = window.key_cW[:, :, None] - window.query_cL[:, None, :]
        extra += relative[jnp.clip(distance, -far, far) + far]
    return extra


def _full_extra_logits(
    bias: Array | None, relative: Array | None, window: _Window, like: Array
) -> Array:
    extra = _extra_logits(bias, relative, window, like.dtype)
    return jnp.broadcast_to(extra, like.shape)


def _logits(row: _Row, window: _Window, q_cLK: Array, k_cWK: Array) -> Array:
    dtype = sum_dtype(row.q_NK)
    logits = jnp.einsum("cWK,cLK->cWL", k_cWK, q_cLK, preferred_element_type=dtype)
    if row.pairs.bias is not None or row.pairs.relative is not None:
        logits += _extra_logits(row.pairs.bias, row.pairs.relative, window, dtype)
    return jnp.where(window.visible_cWL, logits, -jnp.inf)


def _finite(x: Array) -> Array:
    """0 for the -inf of a query that sees nothing: -inf - -inf is NaN."""
    return jnp.where(x == -jnp.inf, 0.0, x)


def _row_forward(row: _Row, settings: Settings) -> tuple[Array, Array]:
    """Output [N, V], and what the backward pass needs of the normalisers [N].

    That is their overall logarithm, or for `mean` the number of rounds that see something.
    """
    dtype = sum_dtype(row.q_NK)
    length, width = row.v_NV.shape
    number, chunks = _cut(settings, row.windows.order_q.shape[1])
    L = settings.chunk
    resort_N = row.last_N >= 0
    resort_NV = row.v_NV if settings.itself else _take(row.v_NV, jnp.maximum(row.last_N, 0))
    resort_NV = resort_NV.astype(dtype)

    def one_round(turn: Array, carry: Any) -> Any:
        own = _round(row, settings, turn, number * chunks)

        def one_block(j: Array, carry: Any) -> Any:
            window = _window(row, settings, own, j * chunks, chunks)
            q_cLK, k_cWK = _take(row.q_NK, window.query_cL), _take(row.k_NK, window.key_cW)
            logits = _logits(row, window, q_cLK, k_cWK)
            top_cL = logits.max(1)
            weights = jnp.exp(logits - _finite(top_cL)[:, None])
            out_cLV = jnp.einsum(
                "cWL,cWV->cLV",
                weights.astype(row.v_NV.dtype),
                _take(row.v_NV, window.key_cW),
                preferred_element_type=dtype,
            )
            parts = top_cL, weights.sum(1), out_cLV
            return tuple(
                jax.lax.dynamic_update_slice_in_dim(x, part, j * chunks, 0)
                for x, part in zip(carry, parts, strict=True)
            )

        zero = jnp.zeros((number * chunks, L), dtype)
        begin = zero, zero, jnp.zeros((number * chunks, L, width), dtype)
        top, total, out = jax.lax.fori_loop(0, number, one_block, begin)
        rank_N = row.windows.rank_q[turn]
        top_N, total_N = (_take(x.reshape(-1), rank_N) for x in (top, total))
        out_NV = _take(out.reshape(-1, width), rank_N)
        so_far_N, sum_N, sum_NV = carry
        if settings.mean:
            blind_N = total_N == 0
            mean_NV = out_NV / jnp.where(blind_N, 1, total_N)[:, None]
            if settings.shared:
                mean_NV = jnp.where((blind_N & resort_N)[:, None], resort_NV, mean_NV)
                blind_N &= ~resort_N
            return so_far_N, sum_N + ~blind_N, sum_NV + mean_NV
        new_N = jnp.maximum(so_far_N, top_N)
        kept_N, added_N = jnp.exp(so_far_N - _finite(new_N)), jnp.exp(top_N - _finite(new_N))
        return (
            new_N,
            sum_N * kept_N + total_N * added_N,
            sum_NV * kept_N[:, None] + out_NV * added_N[:, None],
        )

    none_N = jnp.zeros(length, dtype)
    begin = none_N - jnp.inf, none_N, jnp.zeros((length, width), dtype)
    rounds = row.windows.low.shape[0]
    top_N, sum_N, sum_NV = jax.lax.fori_loop(0, rounds, one_round, begin)
    safe_N = jnp.where(sum_N == 0, 1.0, sum_N)
    out_NV = sum_NV / safe_N[:, None]
    out_NV = jnp.where(((sum_N == 0) & resort_N)[:, None], resort_NV, out_NV)
    out_NV = jnp.where(row.real_N[:, None], out_NV, 0)
    if settings.mean:
        return out_NV, sum_N
    return out_NV, jnp.where(sum_N == 0, -jnp.inf, _finite(top_N) + jnp.log(safe_N))


def _row_backward(
    row: _Row, settings: Settings, out_NV: Array, normaliser_N: Array, do_NV: Array
) -> tuple[Array, Array, Array, Array | None, Array | None]:
    """Gradients of q, k, v, bias and relative table of one row; see `_row_forward`."""
    dtype = sum_dtype(row.q_NK)
    number, chunks = _cut(settings, row.windows.order_q.shape[1])
    own_chunks, L = number * chunks, settings.chunk
    resort_N = row.last_N >= 0
    einsum = functools.partial(jnp.einsum, preferred_element_type=dtype)
    given_NV = do_NV
    if settings.mean:
        # Each round has its share of the cotangent, and its own normaliser.
        do_NV = do_NV / jnp.maximum(normaliser_N, 1).astype(do_NV.dtype)[:, None]
        do_NV = do_NV.astype(row.v_NV.dtype)
    delta_N = (out_NV.astype(dtype) * do_NV.astype(dtype)).sum(-1)

    def one_round(turn: Array, carry: Any) -> Any:
        own = _round(row, settings, turn, own_chunks)

        def one_block(j: Array, carry: Any) -> Any:
            dq, dk, dv, seeing, dbias, drelative = carry
            window = _window(row, settings, own, j * chunks, chunks)
            q_cLK, do_cLV = (_take(x, window.query_cL) for x in (row.q_NK, do_NV))
            k_cWK, v_cWV = (_take(x, window.key_cW) for x in (row.k_NK, row.v_NV))
            logits = _logits(row, window, q_cLK, k_cWK)
            dweights = einsum("cWV,cLV->cWL", v_cWV, do_cLV)
            if settings.mean:
                weights = jnp.exp(logits - _finite(logits.max(1))[:, None])
                total_cL = weights.sum(1)
                weights /= jnp.where(total_cL == 0, 1.0, total_cL)[:, None]
                delta_cL = (weights * dweights).sum(1)
                seeing = jax.lax.dynamic_update_slice_in_dim(seeing, total_cL, j * chunks, 0)
            else:
                log_total_cL = _finite(_take(normaliser_N, window.query_cL))
                weights = jnp.exp(logits - log_total_cL[:, None])
                delta_cL = _take(delta_N, window.query_cL)
            ds = weights * (dweights - delta_cL[:, None])
            if dbias is not None or drelative is not None:
                own_logits = functools.partial(_full_extra_logits, window=window, like=ds)
                _, pull = jax.vjp(own_logits, row.pairs.bias, row.pairs.relative)
                dbias, drelative = jax.tree.map(jnp.add, (dbias, drelative), pull(ds))
            ds = ds.astype(row.q_NK.dtype)
            dq_cLK = einsum("cWL,cWK->cLK", ds, k_cWK)
            dk_cWK = einsum("cWL,cLK->cWK", ds, q_cLK)
            dv_cWV = einsum("cWL,cLV->cWV", weights.astype(row.v_NV.dtype), do_cLV)
            dq = jax.lax.dynamic_update_slice_in_dim(dq, dq_cLK, j * chunks, 0)
            dk, dv = (
                _to_keys(x, part, window, settings) for x, part in ((dk, dk_cWK), (dv, dv_cWV))
            )
            return dq, dk, dv, seeing, dbias, drelative

        dq_NK, dk_NK, dv_NV, dbias, drelative = carry
        key_chunks = own.key_CL.shape[0]
        begin = (
            jnp.zeros((own_chunks, L, dq_NK.shape[1]), dtype),
            jnp.zeros((key_chunks, L, dk_NK.shape[1]), dtype),
            jnp.zeros((key_chunks, L, dv_NV.shape[1]), dtype),
            jnp.zeros((own_chunks, L), dtype),
            dbias,
            drelative,
        )
        dq, dk, dv, seeing, dbias, drelative = jax.lax.fori_loop(0, number, one_block, begin)
        rank_q, rank_k = row.windows.rank_q[turn], row.windows.rank_k[turn]
        outside = settings.before if row.windows.start is None else 0

        def back(x: Array, rank_N: Array, skip: int) -> Array:
            return _take(x.reshape(-1, *x.shape[2:]), rank_N + skip * L)

        dv_NV += back(dv, rank_k, outside)
        if settings.mean and settings.shared:
            alone_N = (back(seeing, rank_q, 0) == 0) & resort_N
            dv_NV += jnp.where(alone_N[:, None], do_NV, 0)
        dq_NK += back(dq, rank_q, 0)
        dk_NK += back(dk, rank_k, outside)
        return dq_NK, dk_NK, dv_NV, dbias, drelative

    begin = tuple(
        None if x is None else jnp.zeros(x.shape, dtype)
        for x in (row.q_NK, row.k_NK, row.v_NV, row.pairs.bias, row.pairs.relative)
    )
    rounds = row.windows.low.shape[0]
    dq_NK, dk_NK, dv_NV, dbias, drelative = jax.lax.fori_loop(0, rounds, one_round, begin)
    alone_N = (normaliser_N == (0 if settings.mean else -jnp.inf)) & resort_N
    alone_NV = jnp.where(alone_N[:, None], given_NV, 0).astype(dtype)
    if settings.itself:
        dv_NV += alone_NV
    else:
        dv_NV = dv_NV.at[jnp.maximum(row.last_N, 0)].add(alone_NV)
    return dq_NK, dk_NK, dv_NV, dbias, drelative


def _to_keys(x_CLX: Array, part_cWX: Array, window: _Window, settings: Settings) -> Array:
    """`x` with the windows' parts added to the chunks of keys that they belong to."""
    if settings.shared:
        part_cLX = _summed(part_cWX, settings.window)
        start = window.first_c[0]
        old = jax.lax.dynamic_slice_in_dim(x_CLX, start, part_cLX.shape[0], 0)
        return jax.lax.dynamic_update_slice_in_dim(x_CLX, old + part_cLX, start, 0)
    parts = part_cWX.reshape(-1, settings.window, settings.chunk, part_cWX.shape[-1])
    return x_CLX.at[window.first_c[:, None] + jnp.arange(settings.window)].add(
        parts, mode="promise_in_bounds"
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_in_windows(
    settings: Settings,
    q: Array,
    k: Array | None,
    v: Array,
    bias: Array | None,
    relative: Array | None,
    seen: Seen,
) -> Array:
    """Attention of q [B, N, H, K] over k [B, N, H, K] (None: shared), v [B, N, H, V]."""
    return _forward(settings, q, k, v, bias, relative, seen)[0]


def _scaled_keys(q: Array, k: Array | None) -> Array:
    """K^-1/2 k, or of the normalised queries, in q's type."""
    keys = normalized(q.astype(sum_dtype(q))) if k is None else k
    return (keys * q.shape[-1] ** -0.5).astype(q.dtype)


def _kernels(
    settings: Settings, q: Array, v: Array, bias: Array | None, relative: Array | None, seen: Seen
) -> fused.Shape | None:
    """What to ask of the fused kernels, None where XLA must do the work."""
    if settings.mean or not (bias is None and relative is None and seen.mask is None):
        return None
    shape = fused.Shape(
        settings.chunk, settings.window, settings.before, settings.sees, settings.shared
    )
    return shape if fused.usable(shape, q, v) else None


def _fused_forward(
    shape: fused.Shape, q: Array, k: Array | None, v: Array, seen: Seen
) -> tuple[Array, Array]:
    out, normaliser_BHN = fused.forward(shape, seen.windows, q, _scaled_keys(q, k), v)
    alone = _by_token((normaliser_BHN == -jnp.inf) & (seen.last >= 0))
    out = jnp.where(seen.real_BN[..., None, None], jnp.where(alone, v, out), 0)
    return out.astype(q.dtype), normaliser_BHN


def _fused_backward(
    shape: fused.Shape,
    q: Array,
    k: Array | None,
    v: Array,
    seen: Seen,
    out: Array,
    normaliser_BHN: Array,
    cotangent: Array,
) -> tuple[Array, Array | None, Array]:
    dtype, scale = sum_dtype(q), q.shape[-1] ** -0.5
    real = seen.real_BN[..., None, None]
    delta_BHN = jnp.swapaxes((out.astype(dtype) * cotangent.astype(dtype)).sum(-1), 1, 2)
    arrays = q, _scaled_keys(q, k), v, cotangent
    vectors = _finite(normaliser_BHN), delta_BHN
    dq, dk, dv = fused.backward(shape, seen.windows, arrays, vectors)
    alone = _by_token((normaliser_BHN == -jnp.inf) & (seen.last >= 0))
    dv += jnp.where(alone, cotangent, 0)
    if k is None:
        _, pull = jax.vjp(normalized, jnp.where(real, q, 0).astype(dtype))
        dq += pull(jnp.where(real, dk * scale, 0))[0]
    dq, dv = (jnp.where(real, x, 0).astype(v.dtype) for x in (dq, dv))
    return dq, None if k is None else jnp.where(real, dk * scale, 0).astype(q.dtype), dv


def _by_token(x_BHN: Array) -> Array:
    return jnp.swapaxes(x_BHN, 1, 2)[..., None]


def _group(
    groups: RowGroups, index: Array, q: Array, k: Array | None, v: Array, pairs: Pairs, seen: Seen
) -> Any:
    """The rows of group `index`, leading axes [b, h]; padding is zero, whatever stood there."""
    block = functools.partial(groups.block, index=index)
    real_bhN = block(seen.real_BN[:, None])

    def take(x: Array) -> Array:
        return jnp.where(real_bhN[..., None], groups.take(x, index), 0)

    q_bhNK = take(q)
    keys = _scaled_keys(q_bhNK, None if k is None else take(k))
    windows, own_pairs = jax.tree.map(block, (seen.windows, pairs))
    return _Row(q_bhNK, keys, take(v), real_bhN, windows, block(seen.last), own_pairs)


def _each_row(function: Any, *args: Any) -> Any:
    """`function` over the axes [b, h] of all arrays; where one has size 1, all rows share it."""
    for _ in range(2):
        function = _over_first(function)
    return function(*args)


def _over_first(function: Any) -> Any:
    def mapped(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args)
        axes = [None if x.shape[0] == 1 else 0 for x in leaves]
        leaves = [x[0] if axis is None else x for x, axis in zip(leaves, axes, strict=True)]

        def flat(*leaves: Array) -> Any:
            return function(*jax.tree.unflatten(tree, leaves))

        if all(axis is None for axis in axes):
            return jax.tree.map(lambda x: x[None], flat(*leaves))
        return jax.vmap(flat, axes)(*leaves)

    return mapped


def _groups(q: Array, settings: Settings) -> RowGroups:
    chunks = -(-q.shape[1] // settings.chunk)
    scores = chunks * settings.chunk**2 * settings.window
    return RowGroups.of(q.shape[0], q.shape[2], numbers_at_a_time() // scores)


def _forward(settings, q, k, v, bias, relative, seen):  # type: ignore[no-untyped-def]
    kernels = _kernels(settings, q, v, bias, relative, seen)
    if kernels is not None:
        with jax.named_scope("attend"):
            out, normaliser = _fused_forward(kernels, q, k, v, seen)
        return out, (q, k, v, bias, relative, seen, out, normaliser)
    groups = _groups(q, settings)
    pairs = Pairs(bias, relative, seen.mask)

    def one_group(index: Array, carry: Any) -> Any:
        rows = _group(groups, index, q, k, v, pairs, seen)
        out, normaliser = _each_row(lambda row: _row_forward(row, settings), rows)
        return groups.put(carry[0], out, index), groups.replaced(carry[1], normaliser, index)

    batch, length, heads, _ = q.shape
    begin = (
        jnp.zeros((batch, length, heads, v.shape[-1]), q.dtype),
        jnp.zeros((batch, heads, length), sum_dtype(q)),
    )
    with jax.named_scope("attend"):
        out, normaliser = jax.lax.fori_loop(0, groups.number, one_group, begin)
    return out, (q, k, v, bias, relative, seen, out, normaliser)


def _backward(settings, residuals, cotangent):  # type: ignore[no-untyped-def]
    q, k, v, bias, relative, seen, out, normaliser = residuals
    kernels = _kernels(settings, q, v, bias, relative, seen)
    if kernels is not None:
        with jax.named_scope("attend_backward"):
            grads = _fused_backward(kernels, q, k, v, seen, out, normaliser, cotangent)
        return *grads, None, None, None
    groups = _groups(q, settings)
    pairs = Pairs(bias, relative, seen.mask)
    scale = q.shape[-1] ** -0.5

    def one_group(index: Array, carry: Any) -> Any:
        rows = _group(groups, index, q, k, v, pairs, seen)
        real = rows.real_N[..., None]
        dq_g, dk_g, dv_g, dbias_g, drelative_g = _each_row(
            lambda *args: _row_backward(args[0], settings, *args[1:]),
            rows,
            groups.take(out, index),
            groups.block(normaliser, index),
            jnp.where(real, groups.take(cotangent, index), 0),
        )
        dq, dk, dv, dbias, drelative = carry
        if k is None:
            _, pull = jax.vjp(normalized, rows.q_NK.astype(dk_g.dtype))
            dq_g += pull(dk_g * scale)[0]
        else:
            dk = groups.put(dk, jnp.where(real, dk_g * scale, 0), index)
        dq = groups.put(dq, jnp.where(real, dq_g, 0), index)
        dv = groups.put(dv, jnp.where(real, dv_g, 0), index)
        if bias is not None:
            dbias = groups.added(dbias, dbias_g, index)
        if relative is not None:
            drelative = groups.added(drelative, drelative_g, index)
        return dq, dk, dv, dbias, drelative

    zeros = [
        None if x is None else jnp.zeros(x.shape, dtype)
        for x, dtype in (
            (q, q.dtype),
            (k, q.dtype),
            (v, v.dtype),
            (bias, sum_dtype(q)),
            (relative, sum_dtype(q)),
        )
    ]
    with jax.named_scope("attend_backward"):
        grads = jax.lax.fori_loop(0, groups.number, one_group, tuple(zeros))
    dq, dk, dv, dbias, drelative = grads
    dbias = None if bias is None else dbias.astype(bias.dtype)
    drelative = None if relative is None else drelative.astype(relative.dtype)
    return dq, dk, dv, dbias, drelative, None


attend_in_windows.defvjp(_forward, _backward)
