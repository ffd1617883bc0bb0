"""Attention and its gradients in float64 NumPy, written from the papers and not from the package.

Queries, keys, values and cotangents are [B, N, H, K]; what is returned are the output and the
gradients of sum(output * cotangent).
"""

import functools
import math
from typing import NamedTuple

import numpy as np

_einsum = functools.partial(np.einsum, optimize=True)


class Gradients(NamedTuple):
    """Output and gradients; k is None where queries serve as keys."""

    out: np.ndarray
    q: np.ndarray
    k: np.ndarray | None
    v: np.ndarray


def relative_error(found: object, wanted: np.ndarray) -> float:
    """|found - wanted| / |wanted|; inf where anything found is not finite."""
    values = np.asarray(found, np.float64)
    if not np.isfinite(values).all():
        return math.inf
    return float(np.linalg.norm(values - wanted) / max(float(np.linalg.norm(wanted)), 1e-30))


def softmax(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, cotangent: np.ndarray, visible: np.ndarray
) -> Gradients:
    """Exact attention (Vaswani et al. 2017, 3.2.1); `visible`: bool, broadcast to [B, H, N, M].

    A query that sees nothing gets zeros.
    """
    q, k, v, cotangent = (np.asarray(x, np.float64) for x in (q, k, v, cotangent))
    scale = q.shape[-1] ** -0.5
    logits = np.where(visible, _einsum("bnhk,bmhk->bhnm", q, k) * scale, -np.inf)
    top = logits.max(-1, keepdims=True)
    weights = np.exp(logits - np.where(np.isfinite(top), top, 0))
    total = weights.sum(-1, keepdims=True)
    weights = weights / np.where(total > 0, total, 1)
    d_weights = _einsum("bnhv,bmhv->bhnm", cotangent, v)
    d_logits = weights * (d_weights - (weights * d_weights).sum(-1, keepdims=True))
    return Gradients(
        _einsum("bhnm,bmhv->bnhv", weights, v),
        _einsum("bhnm,bmhk->bnhk", d_logits, k) * scale,
        _einsum("bhnm,bnhk->bmhk", d_logits, q) * scale,
        _einsum("bhnm,bnhv->bmhv", weights, cotangent),
    )


def favor(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    cotangent: np.ndarray,
    projections: np.ndarray,
    key_mask: np.ndarray,
) -> Gradients:
    """FAVOR+ with positive features (Choromanski et al. 2021, lemma 1); projections [m, K].

    phi(x) = m^-1/2 exp(w x - |x|^2 / 2) of x scaled by K^-1/4. A factor of a query's features, or
    of one feature of all keys and queries, cancels; so the largest exponents are taken out.
    """
    q, k, v, cotangent, w = (np.asarray(x, np.float64) for x in (q, k, v, cotangent, projections))
    scale = q.shape[-1] ** -0.25
    y = k * scale
    log_q = _einsum("bnhk,mk->bnhm", q * scale, w)
    log_k = _einsum("bnhk,mk->bnhm", y, w) - 0.5 * (y**2).sum(-1, keepdims=True)
    log_k = np.where(key_mask[:, :, None, None], log_k, -np.inf)
    per_feature = log_k.max(1, keepdims=True)
    phi_k = np.exp(log_k - per_feature)
    log_q = log_q + per_feature
    phi_q = np.exp(log_q - log_q.max(-1, keepdims=True))
    state, total = _einsum("bmhf,bmhv->bhfv", phi_k, v), phi_k.sum(1)
    below = _einsum("bnhf,bhf->bnh", phi_q, total)[..., None]
    out = _einsum("bnhf,bhfv->bnhv", phi_q, state) / below
    d_above = cotangent / below
    d_below = -(d_above * out).sum(-1, keepdims=True)
    d_phi_q = _einsum("bnhv,bhfv->bnhf", d_above, state) + d_below * total[:, None]
    d_state = _einsum("bnhf,bnhv->bhfv", phi_q, d_above)
    d_total = _einsum("bnhf,bnhi->bhf", phi_q, d_below)
    d_phi_k = _einsum("bmhv,bhfv->bmhf", v, d_state) + d_total[:, None]
    d_log_q, d_log_k = d_phi_q * phi_q, d_phi_k * phi_k
    d_k = _einsum("bnhf,fk->bnhk", d_log_k, w) - d_log_k.sum(-1, keepdims=True) * y
    return Gradients(
        out,
        _einsum("bnhf,fk->bnhk", d_log_q, w) * scale,
        d_k * scale,
        _einsum("bmhf,bhfv->bmhv", phi_k, d_state),
    )


def lsh(
    q: np.ndarray, v: np.ndarray, cotangent: np.ndarray, meetings: np.ndarray, key_mask: np.ndarray
) -> Gradients:
    """LSH attention (Kitaev et al. 2020, section 2) whose queries serve as keys.

    Softmax attention over the pairs that met in a round (`meetings` of `lsh_meetings`), keys being
    queries of length K^1/2; a token sees itself only where it sees nothing else.
    """
    q = np.asarray(q, np.float64)
    length = np.sqrt((q**2).mean(-1, keepdims=True) + 1e-9)
    k = q / length
    itself = np.eye(q.shape[1], dtype=bool)
    visible = (meetings > 0) & ~itself
    blind = ~visible.any(-1, keepdims=True)
    visible |= blind & itself & key_mask[:, None, :, None]
    found = softmax(q, k, v, cotangent, visible)
    assert found.k is not None
    through_k = (found.k - k * (found.k * k).mean(-1, keepdims=True)) / length
    return found._replace(q=found.q + through_k, k=None)


def lsh_meetings(
    q: np.ndarray,
    key_mask: np.ndarray,
    rotations: np.ndarray,
    chunk_size: int,
    mask_within_chunks: bool,
) -> np.ndarray:
    """How many rounds a query meets a key in, int [B, H, N, N].

    A row of n real tokens has 2 ceil(n / (2 chunk_size)) buckets, beyond 16 from two hashes; it is
    sorted by bucket, then position, and a chunk sees itself and both neighbours.

    Args:
      q: [B, N, H, K], in the type that is hashed.
      key_mask: bool [B, N].
      rotations: [H, R, K, J], the columns of the first hash in front.
      chunk_size: tokens of a chunk.
      mask_within_chunks: tokens of other buckets in the window are hidden.
    """
    batch, length, heads, _ = q.shape
    x = np.asarray(q, np.float32).astype(np.float64)
    most = -(-length // (2 * chunk_size))
    split = max(_columns(pairs)[0] for pairs in range(1, most + 1))
    met = np.zeros((batch, heads, length, length), np.int32)
    for row in range(batch):
        real = np.flatnonzero(key_mask[row])
        first, second = _columns(-(-len(real) // (2 * chunk_size)))
        for head in range(heads):
            for rotation in rotations[head].astype(np.float64):
                tokens = x[row, real, head]
                bucket = _largest(tokens @ rotation[:, :first])
                if second:
                    other = _largest(tokens @ rotation[:, split : split + second])
                    bucket = bucket + 2 * first * other
                if len(real) <= chunk_size:
                    bucket[:] = 0
                rank = np.empty(len(real), int)
                rank[np.argsort(bucket, kind="stable")] = np.arange(len(real))
                chunk = rank // chunk_size
                seen = np.abs(chunk[:, None] - chunk) <= 1
                if mask_within_chunks:
                    seen &= bucket[:, None] == bucket
                met[row, head][np.ix_(real, real)] += seen
    return met


def _columns(pairs: int) -> tuple[int, int]:
    """Columns of both hashes for so many pairs of opposite buckets."""
    if pairs <= 8:
        return pairs, 0
    first = math.ceil(math.sqrt(pairs / 2))
    return first, math.ceil(pairs / (2 * first))


def _largest(projected: np.ndarray) -> np.ndarray:
    """argmax of [x R; -x R]."""
    return np.argmax(np.concatenate([projected, -projected], axis=1), axis=1)
