"""One head of one row over all hash rounds: its output, and the gradients of its arguments.

Rounds are taken one after the other. Combined by log-sum-exp they are one softmax over the union
of the visible pairs, so the backward pass needs only the output and the log of the *overall*
normaliser, as in ring attention (Liu et al. 2023): no output, score or weight of any round is kept.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from jaxattn.attention.blocks import neighbours_sum
from jaxattn.attention.inputs import finite, sum_dtype
from jaxattn.attention.lsh.chunks import (
    Row,
    Settings,
    Window,
    cut,
    extra_logits,
    logits_of,
    round_of,
    take,
    window_of,
)


def row_forward(row: Row, settings: Settings) -> tuple[Array, Array]:
    """Output [N, V], and what the backward pass needs of the normalisers [N].

    That is their overall logarithm, or for `mean` the number of rounds that see something.
    """
    dtype = sum_dtype(row.q_NK)
    length, width = row.v_NV.shape
    number, chunks = cut(settings, row.windows.order_q.shape[1])
    L = settings.chunk
    resort_N = row.last_N >= 0
    resort_NV = row.v_NV if settings.itself else take(row.v_NV, jnp.maximum(row.last_N, 0))
    resort_NV = resort_NV.astype(dtype)

    def one_round(turn: Array, carry: PyTree) -> PyTree:
        own = round_of(row, settings, turn, number * chunks)

        def one_block(j: Array, carry: PyTree) -> PyTree:
            window = window_of(row, settings, own, j * chunks, chunks)
            q_cLK, k_cWK = take(row.q_NK, window.query_cL), take(row.k_NK, window.key_cW)
            logits = logits_of(row, window, q_cLK, k_cWK)
            top_cL = logits.max(1)
            weights = jnp.exp(logits - finite(top_cL)[:, None])
            out_cLV = jnp.einsum(
                "cWL,cWV->cLV",
                weights.astype(row.v_NV.dtype),
                take(row.v_NV, window.key_cW),
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
        top_N, total_N = (take(x.reshape(-1), rank_N) for x in (top, total))
        out_NV = take(out.reshape(-1, width), rank_N)
        so_far_N, sum_N, sum_NV = carry
        if settings.mean:
            blind_N = total_N == 0
            mean_NV = out_NV / jnp.where(blind_N, 1, total_N)[:, None]
            if settings.shared:
                mean_NV = jnp.where((blind_N & resort_N)[:, None], resort_NV, mean_NV)
                blind_N &= ~resort_N
            return so_far_N, sum_N + ~blind_N, sum_NV + mean_NV
        new_N = jnp.maximum(so_far_N, top_N)
        kept_N, added_N = jnp.exp(so_far_N - finite(new_N)), jnp.exp(top_N - finite(new_N))
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
    return out_NV, jnp.where(sum_N == 0, -jnp.inf, finite(top_N) + jnp.log(safe_N))


def row_backward(
    row: Row, settings: Settings, out_NV: Array, normaliser_N: Array, do_NV: Array
) -> tuple[Array, Array, Array, Array | None, Array | None]:
    """Gradients of q, k, v, bias and relative table of one row; see `row_forward`."""
    dtype = sum_dtype(row.q_NK)
    number, chunks = cut(settings, row.windows.order_q.shape[1])
    own_chunks, L = number * chunks, settings.chunk
    resort_N = row.last_N >= 0
    einsum = functools.partial(jnp.einsum, preferred_element_type=dtype)
    given_NV = do_NV
    if settings.mean:
        # Each round has its share of the cotangent, and its own normaliser.
        do_NV = do_NV / jnp.maximum(normaliser_N, 1).astype(do_NV.dtype)[:, None]
        do_NV = do_NV.astype(row.v_NV.dtype)
    delta_N = (out_NV.astype(dtype) * do_NV.astype(dtype)).sum(-1)

    def one_round(turn: Array, carry: PyTree) -> PyTree:
        own = round_of(row, settings, turn, own_chunks)

        def one_block(j: Array, carry: PyTree) -> PyTree:
            dq, dk, dv, seeing, dbias, drelative = carry
            window = window_of(row, settings, own, j * chunks, chunks)
            q_cLK, do_cLV = (take(x, window.query_cL) for x in (row.q_NK, do_NV))
            k_cWK, v_cWV = (take(x, window.key_cW) for x in (row.k_NK, row.v_NV))
            logits = logits_of(row, window, q_cLK, k_cWK)
            dweights = einsum("cWV,cLV->cWL", v_cWV, do_cLV)
            if settings.mean:
                weights = jnp.exp(logits - finite(logits.max(1))[:, None])
                total_cL = weights.sum(1)
                weights /= jnp.where(total_cL == 0, 1.0, total_cL)[:, None]
                delta_cL = (weights * dweights).sum(1)
                seeing = jax.lax.dynamic_update_slice_in_dim(seeing, total_cL, j * chunks, 0)
            else:
                log_total_cL = finite(take(normaliser_N, window.query_cL))
                weights = jnp.exp(logits - log_total_cL[:, None])
                delta_cL = take(delta_N, window.query_cL)
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
            return take(x.reshape(-1, *x.shape[2:]), rank_N + skip * L)

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


def _full_extra_logits(
    bias: Array | None, relative: Array | None, window: Window, like: Array
) -> Array:
    extra = extra_logits(bias, relative, window, like.dtype)
    return jnp.broadcast_to(extra, like.shape)


def _to_keys(x_CLX: Array, part_cWX: Array, window: Window, settings: Settings) -> Array:
    """`x` with the windows' parts added to the chunks of keys that they belong to."""
    if settings.shared:
        part_cLX = neighbours_sum(part_cWX, settings.window, axis=0)
        start = window.first_c[0]
        old = jax.lax.dynamic_slice_in_dim(x_CLX, start, part_cLX.shape[0], 0)
        return jax.lax.dynamic_update_slice_in_dim(x_CLX, old + part_cLX, start, 0)
    parts = part_cWX.reshape(-1, settings.window, settings.chunk, part_cWX.shape[-1])
    return x_CLX.at[window.first_c[:, None] + jnp.arange(settings.window)].add(
        parts, mode="promise_in_bounds"
    )
