"""One head of one row in one hash round: chunks of sorted queries, and the keys each of them meets.

Logits are held transposed, keys by queries, as in `sdpa.blockwise`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jaxattn.attention.blocks import even_blocks, neighbours, numbers_at_a_time
from jaxattn.attention.inputs import pairs_at, sum_dtype
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


class Row(NamedTuple):
    """One head of one row: k [N, K] scaled by K^-1/2; the others as in `rounds.Meetings`."""

    q_NK: Array
    k_NK: Array
    v_NV: Array
    real_N: Array
    windows: Windows
    last_N: Array
    pairs: Pairs


class Window(NamedTuple):
    """A block of c chunks of one round: positions of queries [c, L] and of keys [c, W].

    visible: bool [c, W, L], in which round of several a pair meets does not matter: it counts in
    the first. first: number of the first chunk of each window, [c].
    """

    query_cL: Array
    key_cW: Array
    visible_cWL: Array
    first_c: Array


class Round(NamedTuple):
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


def take(x: Array, index: Array) -> Array:
    """x[index] along the first axis, all indices in range."""
    return x.at[index].get(mode="promise_in_bounds")


def cut(settings: Settings, slots: int) -> tuple[int, int]:
    """(number, chunks each) of the blocks of chunks that are computed at a time."""
    chunks = slots // settings.chunk
    width = settings.window * settings.chunk
    return even_blocks(chunks, max(1, numbers_at_a_time() // (2 * settings.chunk * width)))


def _in_chunks(order_S: Array, chunk: int, before: int, after: int) -> Array:
    """Positions in sorted order, cut in chunks: int32 [before + C + after, L], -1 outside."""
    ends = (before, after), (0, 0)
    return jnp.pad(order_S.reshape(-1, chunk), ends, constant_values=-1)


def round_of(row: Row, settings: Settings, turn: Array, chunks: int) -> Round:
    """Round `turn`, filled up to `chunks` chunks."""
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
    return Round(
        query_CL,
        _in_chunks(windows.order_k[turn], settings.chunk, *ends),
        first_C,
        jnp.where(earlier, rolled(windows.low), FAR_QUERY),
        None if windows.span is None else rolled(windows.span),
        rolled(windows.code),
    )


def window_of(row: Row, settings: Settings, own: Round, start: Array, chunks: int) -> Window:
    """The block of `chunks` chunks from chunk `start` on."""
    query_cL = jax.lax.dynamic_slice_in_dim(own.query_CL, start, chunks)
    first_c = jax.lax.dynamic_slice_in_dim(own.first_C, start, chunks)
    if row.windows.start is None:
        nearby = jax.lax.dynamic_slice_in_dim(own.key_CL, start, chunks + settings.window - 1)
        key_cW = neighbours(nearby, settings.window, axis=0)
    else:
        key_cW = take(own.key_CL, first_c[:, None] + jnp.arange(settings.window))
        key_cW = key_cW.reshape(chunks, -1)
    inside_q, inside_k = query_cL >= 0, key_cW >= 0
    query_cL, key_cW = jnp.maximum(query_cL, 0), jnp.maximum(key_cW, 0)
    visible = jnp.array(True)
    for r in range(own.low_RN.shape[0]):
        low = jnp.where(inside_q, take(own.low_RN[r], query_cL), FAR_QUERY)[:, None, :]
        code = jnp.where(inside_k, take(own.code_RN[r], key_cW), FAR_KEY)[:, :, None]
        span = jnp.uint32(settings.sees)
        if own.span_RN is not None:
            span = take(own.span_RN[r], query_cL).astype(jnp.uint32)[:, None, :]
        met = (code - low).astype(jnp.uint32) < span
        visible = met if r == 0 else visible & ~met
    if settings.shared:
        visible &= query_cL[:, None, :] != key_cW[:, :, None]
    if row.pairs.mask is not None:
        visible &= pairs_at(row.pairs.mask, query_cL, key_cW)
    return Window(query_cL, key_cW, visible, first_c)


def extra_logits(
    bias: Array | None, relative: Array | None, window: Window, dtype: DTypeLike
) -> Array:
    """Biases of the pairs of a window: [c, W, L], or a broadcast zero."""
    extra = jnp.zeros((1, 1, 1), dtype)
    if bias is not None:
        extra += pairs_at(bias, window.query_cL, window.key_cW)
    if relative is not None:
        far = relative.shape[0] // 2
        distance = window.key_cW[:, :, None] - window.query_cL[:, None, :]
        extra += relative[jnp.clip(distance, -far, far) + far]
    return extra


def logits_of(row: Row, window: Window, q_cLK: Array, k_cWK: Array) -> Array:
    """Logits of the pairs of a window with their biases, -inf where they do not meet: [c, W, L]."""
    dtype = sum_dtype(row.q_NK)
    logits = jnp.einsum("cWK,cLK->cWL", k_cWK, q_cLK, preferred_element_type=dtype)
    if row.pairs.bias is not None or row.pairs.relative is not None:
        logits += extra_logits(row.pairs.bias, row.pairs.relative, window, dtype)
    return jnp.where(window.visible_cWL, logits, -jnp.inf)
