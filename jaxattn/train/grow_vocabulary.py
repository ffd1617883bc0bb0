"""Parameters for a vocabulary that has grown: new rows from old ones, old rows as they were."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def grown(params: Any, origins: Sequence[Sequence[int]]) -> Any:
    """`params` with a row more of the token embeddings, and of the MLM's bias, per new token.

    A new embedding is the mean of those of the pieces that the token was split into before, and
    its output bias the mean of theirs: at first the model takes a new word for a blend of its
    pieces, about as likely as they are (cf. Hewitt 2021, "Initializing new word embeddings").

    Args:
      params: nested dicts with encoder/embeddings/tokens/embedding [V, D], and output_bias [V]
        where there is an MLM head.
      origins: for each new token the rows, below V, of its pieces.

    Returns:
      A new tree; all arrays but these two are the same objects, rows below V the same bits.
    """
    if not origins:
        return params
    encoder = params["encoder"]
    tokens = encoder["embeddings"]["tokens"]
    tokens = {**tokens, "embedding": _more_rows(tokens["embedding"], origins)}
    embeddings = {**encoder["embeddings"], "tokens": tokens}
    result = {**params, "encoder": {**encoder, "embeddings": embeddings}}
    if "output_bias" in params:
        result["output_bias"] = _more_rows(params["output_bias"], origins)
    return result


def _more_rows(table: Any, origins: Sequence[Sequence[int]]) -> np.ndarray:
    old = np.asarray(table)
    new = np.stack([old[list(rows)].mean(axis=0, dtype=np.float64) for rows in origins])
    return np.concatenate([old, new.astype(old.dtype)])
