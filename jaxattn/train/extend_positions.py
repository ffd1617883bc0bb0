"""Learned positions for longer texts than those they were learned on."""

from typing import Any

import numpy as np


def tiled(params: Any, length: int) -> Any:
    """`params` with a table of `length` learned positions: the old one again and again.

    Position i begins as position i mod n of the n there were, so that every stretch of n tokens
    looks to the model like a text (Beltagy et al. 2020, "Longformer", 5: copies of BERT's 512
    positions). Where the table is as long already, or there is none, nothing changes.

    Args:
      params: nested dicts with encoder/embeddings, and position_table [n, D] in it if learned.
      length: at least n.

    Returns:
      A new tree; all arrays but this one are the same objects, its rows below n the same bits.
    """
    encoder = params["encoder"]
    embeddings = encoder["embeddings"]
    if "position_table" not in embeddings:
        return params
    old = np.asarray(embeddings["position_table"])
    if len(old) == length:
        return params
    longer = old[np.arange(length) % len(old)]
    return {
        **params,
        "encoder": {**encoder, "embeddings": {**embeddings, "position_table": longer}},
    }
