"""FAVOR+ where the weight of a pair depends on its distance or its documents too.

In chunks of L positions, the keys of nearby chunks are met one by one; for those further off the
bias is that of one of the two ends, and only the document that spans the chunks between matters,
so that running sums of chunk states serve them: time and memory stay linear in the length.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxattn.attention.favor_features import log_features
from jaxattn.attention.favor_sums import SMALLEST_SUM, Draw, FeatureMap
from jaxattn.attention.inputs import sum_dtype
from jaxattn.attention.relative import relative_block

# Shortest chunk: one feature-by-value state is kept per chunk.
_SHORTEST_CHUNK = 64


def local_attention(
    feature_map: FeatureMap,
    q: Array,
    k: Array,
    v: Array,
    log_weight: Array | None,
    draw: Draw,
    relative_bias: Array | None,
    documents: Array | None,
) -> Array:
    """Attention of q [B, N, H, K] over k [B, N, H, K], v [B, N, H, V]: [B, N, H, V] in q's type.

    The weight of (i, j) is exp(b[clip(j - i, -D, D)]) phi(q_i) . phi(k_j), within documents:
    kernelised attention with relative positions (Luo et al. 2021, arXiv 2106.12566) and T5's
    clipped distances (Raffel et al. 2020), exactly.

    Args:
        feature_map: see `favor_sums`.
        q: queries; hidden ones must be finite.
        k: keys, the hidden ones finite.
        v: values, the hidden ones finite.
        log_weight: [B, N, H], -inf hides a key; None: all zero.
        draw: see `favor_sums`; its tilt is [B, N, H] here.
        relative_bias: float [H, 2 D + 1] or None.
        documents: int32 [B, N], running number of each token's document, or None.
    """
    dtype = sum_dtype(q)
    batch, length, heads, _ = q.shape
    far = 0 if relative_bias is None else relative_bias.shape[1] // 2
    # Without distances a chunk meets only itself one by one.
    reach = 0 if relative_bias is None else 1
    positions = min(max(far, _SHORTEST_CHUNK), length)
    if documents is None:
        documents = jnp.zeros((batch, length), jnp.int32)
    if log_weight is None:
        log_weight = jnp.zeros((1, 1, 1), dtype)
    log_weight = jnp.broadcast_to(log_weight, (batch, length, heads))
    tilt = None
    if draw.tilt_BH is not None:
        tilt = draw.tilt_BH[..., None]
    width = q.shape[-1]

    def logs(x: Array, of_query: bool) -> Array:
        return log_features(
            x,
            draw.projections_mK,
            feature_map.features,
            tilt,
            scale=width**-0.25,
            of_query=of_query,
        )

    with jax.named_scope("features"):
        # One stabiliser for each head of each document: it cancels there, so a document's result
        # does not depend on what it is packed with.
        log_k = logs(k, False) + log_weight[..., None]
        top_BNH = jax.lax.stop_gradient(_document_max(log_k.max(-1), documents))
        top_BNH = jnp.where(top_BNH == -jnp.inf, 0.0, top_BNH)
        k_BNHF = jnp.exp(log_k - top_BNH[..., None])
        log_q = logs(q, True)
        total_BHF = jnp.log(jnp.maximum(k_BNHF.sum(1), SMALLEST_SUM))[:, None]
        q_BNHF = jnp.exp(log_q - jax.lax.stop_gradient((log_q + total_BHF).max(-1, keepdims=True)))

    def chunked(x: Array, fill: int = 0) -> Array:
        ends = [(0, 0), (0, -length % positions)] + [(0, 0)] * (x.ndim - 2)
        x = jnp.pad(x, ends, constant_values=fill)
        return jnp.moveaxis(x.reshape(batch, -1, positions, *x.shape[2:]), 1, 0)

    # The column of ones turns the denominator into one more value.
    v_BNHV = jnp.concatenate([v.astype(dtype), jnp.ones((*v.shape[:3], 1), dtype)], axis=-1)
    q_CBLHF, k_CBLHF, v_CBLHV = chunked(q_BNHF), chunked(k_BNHF), chunked(v_BNHV)
    document_CBL = chunked(documents, fill=-1)
    if relative_bias is None:
        table_HT = jnp.zeros((heads, 1), dtype)
    else:
        table_HT = relative_bias.astype(dtype)
    # A factor per head cancels.
    table_HT -= jax.lax.stop_gradient(table_HT.max(-1, keepdims=True))

    with jax.named_scope("near"):
        near_CBLHV = _near(q_CBLHF, k_CBLHF, v_CBLHV, document_CBL, table_HT, reach)
    with jax.named_scope("far"):
        before = _far(q_CBLHF, k_CBLHF, v_CBLHV, document_CBL, reach)
        q, k, v, document = (jnp.flip(x, 0) for x in (q_CBLHF, k_CBLHF, v_CBLHV, document_CBL))
        after = jnp.flip(_far(q, k, v, document, reach, first=False), 0)
        ends_HT1 = jnp.exp(table_HT)[..., None]
        sums = near_CBLHV + ends_HT1[:, 0] * before + ends_HT1[:, -1] * after
    sums_BNHV = jnp.moveaxis(sums, 0, 1).reshape(batch, -1, heads, sums.shape[-1])[:, :length]
    out_BNHV, total_BNH1 = sums_BNHV[..., :-1], sums_BNHV[..., -1:]
    # Zero only where no key is visible.
    safe_BNH1 = jnp.where(total_BNH1 > 0, total_BNH1, 1.0)
    return jnp.where(total_BNH1 > 0, out_BNHV / safe_BNH1, 0.0).astype(q.dtype)


def _document_max(x_BNH: Array, documents_BN: Array) -> Array:
    """Maximum of x over each token's document, [B, N, H]."""

    def one_row(x_NH: Array, document_N: Array) -> Array:
        return jnp.full_like(x_NH, -jnp.inf).at[document_N].max(x_NH)[document_N]

    return jax.vmap(one_row)(x_BNH, documents_BN)


def _shifted(x_CX: Array, by: int, fill: int = 0) -> Array:
    """x[c + by] at place c, `fill` beyond the ends."""
    chunks = x_CX.shape[0]
    ends = [(max(-by, 0), max(by, 0))] + [(0, 0)] * (x_CX.ndim - 1)
    wide = jnp.pad(x_CX, ends, constant_values=fill)
    return wide[max(by, 0) : max(by, 0) + chunks]


def _near(
    q_CBLHF: Array,
    k_CBLHF: Array,
    v_CBLHV: Array,
    document_CBL: Array,
    table_HT: Array,
    reach: int,
) -> Array:
    """Weighted sums over the keys of the own chunk and `reach` neighbours: [C, B, L, H, V]."""
    positions = q_CBLHF.shape[2]
    sums = jnp.zeros((*q_CBLHF.shape[:4], v_CBLHV.shape[-1]), v_CBLHV.dtype)
    for by in range(-reach, reach + 1):
        factor_HLW = jnp.exp(relative_block(table_HT, positions, positions, by * positions, 1))

        @jax.checkpoint
        def one_chunk(args: Any, factor_HLW: Array = factor_HLW) -> Array:
            q_BLHF, k_BWHF, v_BWHV, own_BL, other_BW = args
            same_BLW = own_BL[:, :, None] == other_BW[:, None, :]
            weights_BHLW = jnp.einsum("BLHF,BWHF->BHLW", q_BLHF, k_BWHF) * factor_HLW
            weights_BHLW = jnp.where(same_BLW[:, None], weights_BHLW, 0)
            return jnp.einsum("BHLW,BWHV->BLHV", weights_BHLW, v_BWHV)

        args = (
            q_CBLHF,
            _shifted(k_CBLHF, by),
            _shifted(v_CBLHV, by),
            document_CBL,
            _shifted(document_CBL, by, fill=-2),
        )
        sums += jax.lax.map(one_chunk, args)
    return sums


def _far(
    q_CBLHF: Array,
    k_CBLHF: Array,
    v_CBLHV: Array,
    document_CBL: Array,
    reach: int,
    first: bool = True,
) -> Array:
    """Weighted sums over keys of chunks before c - reach, within documents: [C, B, L, H, V].

    Of all earlier chunks only the document that reaches the end of the last of them can go on.
    `first`: chunks come in the order of the text; else from its end on.
    """
    open_CB = document_CBL[:, :, -1 if first else 0]

    @jax.checkpoint
    def state_of(args: Any) -> Array:
        k_BLHF, v_BLHV, document_BL, open_B = args
        inside_BL = document_BL == open_B[:, None]
        v_BLHV = jnp.where(inside_BL[..., None, None], v_BLHV, 0)
        return jnp.einsum("BLHF,BLHV->BHFV", k_BLHF, v_BLHV)

    state_CBHFV = jax.lax.map(state_of, (k_CBLHF, v_CBLHV, document_CBL, open_CB))

    def carry_on(so_far_BHFV: Array, args: Any) -> tuple[Array, Array]:
        state_BHFV, open_B, last_B = args
        goes_on_B = (open_B == last_B)[:, None, None, None]
        so_far_BHFV = jnp.where(goes_on_B, so_far_BHFV, 0) + state_BHFV
        return so_far_BHFV, so_far_BHFV

    last_CB = _shifted(open_CB, -1, fill=-2)
    none = jnp.zeros_like(state_CBHFV[0])
    _, until_CBHFV = jax.lax.scan(carry_on, none, (state_CBHFV, open_CB, last_CB))

    @jax.checkpoint
    def answer(args: Any) -> Array:
        q_BLHF, until_BHFV, document_BL, open_B = args
        sums_BLHV = jnp.einsum("BLHF,BHFV->BLHV", q_BLHF, until_BHFV)
        return jnp.where((document_BL == open_B[:, None])[..., None, None], sums_BLHV, 0)

    by = -(reach + 1)
    args = q_CBLHF, _shifted(until_CBHFV, by), document_CBL, _shifted(open_CB, by, fill=-2)
    return jax.lax.map(answer, args)
