"""Slow, obvious float64 references for the attention tests."""

import numpy as np
import pytest


def _softmax_attention(
    scores_BHNM: np.ndarray, v_BMHV: np.ndarray, mask_BHNM: np.ndarray
) -> np.ndarray:
    """Softmax over the visible keys; rows that see nothing give zeros."""
    scores_BHNM = np.where(mask_BHNM, scores_BHNM, -np.inf)
    top = scores_BHNM.max(-1, keepdims=True)
    weights = np.exp(scores_BHNM - np.where(np.isfinite(top), top, 0.0))
    total = weights.sum(-1, keepdims=True)
    weights = weights / np.where(total > 0, total, 1.0)
    return np.einsum("bhnm,bmhv->bnhv", weights, v_BMHV)


def _scores(
    q: np.ndarray,
    k: np.ndarray,
    bias: np.ndarray | None = None,
    relative_bias: np.ndarray | None = None,
) -> np.ndarray:
    """q k^T K^-1/2 + bias, [B, H, N, M], with the relative bias filled in pair by pair."""
    q, k = np.asarray(q, np.float64), np.asarray(k, np.float64)
    scores = np.einsum("bnhk,bmhk->bhnm", q, k) / np.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + np.asarray(bias, np.float64)
    if relative_bias is not None:
        scores = scores + _relative_matrix(relative_bias, q.shape[1])
    return scores


def _relative_matrix(relative_bias: np.ndarray, length: int) -> np.ndarray:
    far = relative_bias.shape[1] // 2
    matrix = np.zeros((relative_bias.shape[0], length, length))
    for i in range(length):
        for j in range(length):
            matrix[:, i, j] = relative_bias[:, min(max(j - i, -far), far) + far]
    return matrix


class Reference:
    """The reference functions, as one fixture."""

    softmax_attention = staticmethod(_softmax_attention)
    scores = staticmethod(_scores)
    relative_matrix = staticmethod(_relative_matrix)


@pytest.fixture
def reference() -> type[Reference]:
    return Reference
