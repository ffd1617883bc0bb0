"""FAVOR+ where the weight of a pair depends on its distance or its documents too.

In chunks of L positions, the keys of nearby chunks are met one by one; for those further off the
bias is that of one of the two ends, and only the document that spans the chunks between matters,
so that running sums of chunk states serve them: time and memory stay linear in the length.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from jaxattn.attention.blocks import numbers_at_a_time
from jaxattn.attention.favor.features import log_features, log_features_gradient
from jaxattn.attention.favor.sums import Draw, FeatureMap
from jaxattn.attention.inputs import finite, relative_block, sum_dtype

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
        feature_map: see `favor.sums`.
        q: queries; hidden ones must be finite.
        k: keys, the hidden ones finite.
        v: values, the hidden ones finite.
        log_weight: [B, N, H], -inf hides a key; None: all zero.
        draw: see `favor.sums`; its tilt is [B, N, H] here.
        relative_bias: float [H, 2 D + 1] or None.
        documents: int32 [B, N], running number of each token's document, or None.
    """
    dtype = sum_dtype(q)
    batch, length, heads, _ = q.shape
    far = 0 if relative_bias is None else relative_bias.shape[1] // 2
    # Without distances a chunk meets only itself one by one.
    reach = 0 if relative_bias is None else 1
    positions = min(max(far, _SHORTEST_CHUNK), length)
    tilt = None if draw.tilt_BH is None else draw.tilt_BH[..., None]
    operand = jnp.bfloat16 if q.dtype == jnp.bfloat16 else dtype

    logs = functools.partial(_log_features, feature_map.features)
    with jax.named_scope("features"):
        # One stabiliser for each feature of each head of each document, as in `favor.sums`: a
        # document's result does not depend on what it is packed with.
        log_k = logs(False, k, draw.projections_mK, tilt)
        if log_weight is not None:
            log_k += log_weight[..., None]
        top = finite(_document_max(jax.lax.stop_gradient(log_k), documents))
        k_BNHF = jnp.exp(log_k - top).astype(operand)
        log_q = logs(True, q, draw.projections_mK, tilt) + top
        q_BNHF = jnp.exp(log_q - jax.lax.stop_gradient(log_q.max(-1, keepdims=True)))
        q_BNHF = q_BNHF.astype(operand)
    if documents is None:
        documents = jnp.zeros((batch, length), jnp.int32)

    def chunked(x_BNHX: Array) -> Array:
        """[C, B, H, L, X]."""
        x = jnp.pad(x_BNHX, ((0, 0), (0, -length % positions), (0, 0), (0, 0)))
        x = x.reshape(batch, -1, positions, heads, x.shape[-1])
        return jnp.transpose(x, (1, 0, 3, 2, 4))

    # The column of ones turns the denominator into one more value.
    ones_BNH1 = jnp.ones((*v.shape[:3], 1), operand)
    v_BNHV = jnp.concatenate([v.astype(operand), ones_BNH1], axis=-1)
    q_CBHLF, k_CBHLF, v_CBHLV = chunked(q_BNHF), chunked(k_BNHF), chunked(v_BNHV)
    document_BN = jnp.pad(documents, ((0, 0), (0, -length % positions)), constant_values=-1)
    document_CBL = jnp.swapaxes(document_BN.reshape(batch, -1, positions), 0, 1)
    if relative_bias is None:
        table_HT = jnp.zeros((heads, 1), dtype)
    else:
        table_HT = relative_bias.astype(dtype)
    # A factor per head cancels.
    table_HT -= jax.lax.stop_gradient(table_HT.max(-1, keepdims=True))

    with jax.named_scope("near"):
        near_CBHLV = _near(q_CBHLF, k_CBHLF, v_CBHLV, document_CBL, table_HT, reach)
    with jax.named_scope("far"):
        before = _far(q_CBHLF, k_CBHLF, v_CBHLV, document_CBL, reach)
        after = _far(q_CBHLF, k_CBHLF, v_CBHLV, document_CBL, reach, forwards=False)
        ends_H11T = jnp.exp(table_HT)[:, None, None]
        sums = near_CBHLV + ends_H11T[..., 0] * before + ends_H11T[..., -1] * after
    sums_BCLHV = jnp.transpose(sums, (1, 0, 3, 2, 4))
    sums_BNHV = sums_BCLHV.reshape(batch, -1, heads, sums.shape[-1])[:, :length]
    out_BNHV, total_BNH1 = sums_BNHV[..., :-1], sums_BNHV[..., -1:]
    # Zero only where no key is visible.
    safe_BNH1 = jnp.where(total_BNH1 > 0, total_BNH1, 1.0)
    return jnp.where(total_BNH1 > 0, out_BNHV / safe_BNH1, 0.0).astype(q.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _log_features(
    features: str, of_query: bool, x: Array, projections_mK: Array, tilt: Array | None
) -> Array:
    """`log_features` of queries or keys; its gradient takes products of x's type."""
    scale = x.shape[-1] ** -0.25
    return log_features(x, projections_mK, features, tilt, scale=scale, of_query=of_query)


def _log_features_forward(features, of_query, *args):  # type: ignore[no-untyped-def]
    return _log_features(features, of_query, *args), args


def _log_features_backward(features, of_query, args, dlog):  # type: ignore[no-untyped-def]
    x, projections_mK, tilt = args
    scale = x.shape[-1] ** -0.25
    dx = log_features_gradient(
        dlog, x, projections_mK, features, tilt, scale=scale, of_query=of_query
    )
    return dx.astype(x.dtype), None, None


_log_features.defvjp(_log_features_forward, _log_features_backward)


def _document_max(x_BNHF: Array, documents_BN: Array | None) -> Array:
    """Maximum of x over each token's document, [B, N, H, F]; of one document [B, 1, H, F]."""
    if documents_BN is None:
        return x_BNHF.max(1, keepdims=True)

    def larger(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
        same = (earlier[0] == later[0])[..., None, None]
        joined = jnp.maximum(later[1], jnp.where(same, earlier[1], -jnp.inf))
        return later[0], joined

    # Not a scatter: on a GPU those are slow where their order is to be the same every time.
    _, until_BNHF = jax.lax.associative_scan(larger, (documents_BN, x_BNHF), axis=1)
    last_BN = jax.vmap(functools.partial(jnp.searchsorted, side="right"))(
        documents_BN, documents_BN
    )
    return jnp.take_along_axis(until_BNHF, last_BN[..., None, None] - 1, axis=1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(axes: str, a: Array, b: Array) -> Array:
    """einsum(axes, a, b) with float32 sums. Its gradients are products of a's type as well;
    JAX's own would be products of float32 numbers, slow on a GPU."""
    return jnp.einsum(axes, a, b, preferred_element_type=jnp.promote_types(a.dtype, jnp.float32))


def _product_forward(axes: str, a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    return _product(axes, a, b), (a, b)


def _product_backward(
    axes: str, operands: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    a, b = operands
    inputs, out = axes.split("->")
    of_a, of_b = inputs.split(",")
    cotangent = cotangent.astype(a.dtype)
    da = _product(f"{out},{of_b}->{of_a}", cotangent, b)
    db = _product(f"{of_a},{out}->{of_b}", a, cotangent)
    return da.astype(a.dtype), db.astype(b.dtype)


_product.defvjp(_product_forward, _product_backward)


def _of_chunks(function: Callable[[PyTree], Array], args: PyTree, numbers: int) -> Array:
    """`function` of each chunk of `args`, [C, ...]: one by one on a CPU, where a chunk's `numbers`
    then stay in the cache, on an accelerator many at once."""
    chunks = jax.tree.leaves(args)[0].shape[0]
    at_once = 1 if jax.default_backend() == "cpu" else max(1, numbers_at_a_time() // numbers)
    if at_once >= max(2, chunks):
        return jax.vmap(function)(args)
    results: Array = jax.lax.map(function, args, batch_size=None if at_once == 1 else at_once)
    return results


def _shifted(x_CX: Array, by: int, fill: int = 0) -> Array:
    """x[c + by] at place c, `fill` beyond the ends."""
    chunks = x_CX.shape[0]
    ends = [(max(-by, 0), max(by, 0))] + [(0, 0)] * (x_CX.ndim - 1)
    wide = jnp.pad(x_CX, ends, constant_values=fill)
    return wide[max(by, 0) : max(by, 0) + chunks]


def _near(
    q_CBHLF: Array,
    k_CBHLF: Array,
    v_CBHLV: Array,
    document_CBL: Array,
    table_HT: Array,
    reach: int,
) -> Array:
    """Weighted sums over the keys of the own chunk and `reach` neighbours: [C, B, H, L, V]."""
    _, batch, heads, positions, _ = q_CBHLF.shape
    sums = jnp.zeros((*q_CBHLF.shape[:4], v_CBHLV.shape[-1]), table_HT.dtype)
    for by in range(-reach, reach + 1):
        factor_HLW = jnp.exp(relative_block(table_HT, positions, positions, by * positions, 1))

        @jax.checkpoint
        def one_chunk(args: PyTree, factor_HLW: Array = factor_HLW) -> Array:
            q_BHLF, k_BHWF, v_BHWV, own_BL, other_BW = args
            same_BLW = own_BL[:, :, None] == other_BW[:, None, :]
            weights_BHLW = _product("BHLF,BHWF->BHLW", q_BHLF, k_BHWF) * factor_HLW
            weights_BHLW = jnp.where(same_BLW[:, None], weights_BHLW, 0)
            return _product("BHLW,BHWV->BHLV", weights_BHLW.astype(v_BHWV.dtype), v_BHWV)

        args = (
            q_CBHLF,
            _shifted(k_CBHLF, by),
            _shifted(v_CBHLV, by),
            document_CBL,
            _shifted(document_CBL, by, fill=-2),
        )
        sums += _of_chunks(one_chunk, args, batch * heads * positions**2)
    return sums


def _far(
    q_CBHLF: Array,
    k_CBHLF: Array,
    v_CBHLV: Array,
    document_CBL: Array,
    reach: int,
    forwards: bool = True,
) -> Array:
    """Weighted sums over keys of chunks before c - reach, within documents: [C, B, H, L, V].

    Of all earlier chunks only the document that reaches the end of the last of them can go on.
    `forwards`: chunks come in the order of the text; else from its end on.
    """
    step = 1 if forwards else -1
    open_CB = document_CBL[:, :, -1 if forwards else 0]
    _, batch, heads, positions, features = q_CBHLF.shape
    width = v_CBHLV.shape[-1]

    @jax.checkpoint
    def state_of(args: PyTree) -> Array:
        k_BHLF, v_BHLV, document_BL, open_B = args
        inside_BL = document_BL == open_B[:, None]
        v_BHLV = jnp.where(inside_BL[:, None, :, None], v_BHLV, 0)
        return _product("BHLF,BHLV->BHFV", k_BHLF, v_BHLV)

    args = k_CBHLF, v_CBHLV, document_CBL, open_CB
    state_CBHFV = _of_chunks(state_of, args, batch * heads * features * width)
    goes_on_CB = open_CB == _shifted(open_CB, -step, fill=-2)
    until_CBHFV = _running_sums(goes_on_CB, state_CBHFV, forwards)

    @jax.checkpoint
    def answer(args: PyTree) -> Array:
        q_BHLF, until_BHFV, document_BL, open_B = args
        sums_BHLV = _product("BHLF,BHFV->BHLV", q_BHLF, until_BHFV.astype(q_BHLF.dtype))
        return jnp.where((document_BL == open_B[:, None])[:, None, :, None], sums_BHLV, 0)

    by = -step * (reach + 1)
    args = q_CBHLF, _shifted(until_CBHFV, by), document_CBL, _shifted(open_CB, by, fill=-2)
    return _of_chunks(answer, args, batch * heads * positions * width)


def _running_sums(goes_on_CB: Array, state_CBHFV: Array, forwards: bool) -> Array:
    """Sums of the states of each chunk and those before it, back to where one does not go on."""

    def join(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
        kept = jnp.where(later[0][..., None, None, None], earlier[1], 0)
        return earlier[0] & later[0], kept + later[1]

    states = goes_on_CB, state_CBHFV
    if jax.default_backend() != "cpu":
        # In a number of steps that grows with the logarithm of the number of chunks.
        scanned: tuple[Array, Array] = jax.lax.associative_scan(join, states, reverse=not forwards)
        return scanned[1]

    def carry_on(so_far: Array, chunk: tuple[Array, Array]) -> tuple[Array, Array]:
        _, so_far = join((chunk[0], so_far), chunk)
        return so_far, so_far

    none = jnp.zeros_like(state_CBHFV[0])
    sums: Array = jax.lax.scan(carry_on, none, states, reverse=not forwards)[1]
    return sums
