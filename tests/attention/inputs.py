"""Random queries, keys and values."""

import numpy as np
from numpy.typing import DTypeLike

Inputs = tuple[np.ndarray, np.ndarray, np.ndarray]


def arrays(
    batch: int,
    queries: int,
    keys: int,
    heads: int,
    width: int,
    value_width: int,
    seed: int = 0,
    *,
    std: float = 1.0,
    dtype: DTypeLike = np.float32,
) -> Inputs:
    """q [B, N, H, K] and k [B, M, H, K] of this standard deviation, v [B, M, H, V] of 1."""
    rng = np.random.default_rng(seed)
    q = std * rng.normal(size=(batch, queries, heads, width))
    k = std * rng.normal(size=(batch, keys, heads, width))
    v = rng.normal(size=(batch, keys, heads, value_width))
    return q.astype(dtype), k.astype(dtype), v.astype(dtype)
