"""Choosing texts by their content: what is held out does not depend on the order of a file."""

import hashlib
from collections.abc import Sequence

import numpy as np


def text_keys(texts: Sequence[str], seed: int, purpose: str) -> np.ndarray:
    """Pseudo-random uint64 [n]; equal texts have equal keys, each purpose has keys of its own."""
    salt = hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=16).digest()
    digests = b"".join(
        hashlib.blake2b(text.encode(), digest_size=8, key=salt).digest() for text in texts
    )
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def hold_out(keys: np.ndarray, strata: Sequence[object], fraction: float) -> np.ndarray:
    """Marks about `fraction` of each stratum: the rows with the smallest keys.

    Rows of one key (copies of a text) fall on the same side. A stratum of two or more different
    keys gives at least one row and keeps at least one.

    Args:
        keys: uint64 [n].
        strata: n hashable values, such as labels.
        fraction: share to hold out, in (0, 1).

    Returns:
        bool [n].
    """
    members: dict[object, list[int]] = {}
    for row, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(row)
    held = np.zeros(len(keys), bool)
    for rows in members.values():
        own = keys[rows]
        ranked = np.sort(own)
        limit = ranked[max(1, round(fraction * len(rows))) - 1]
        held[rows] = own <= limit if limit < ranked[-1] else own < limit
    return held


def sample(keys: np.ndarray, count: int) -> np.ndarray:
    """The `count` rows with the smallest keys (all if there are fewer), in file order, int64 [m].

    Samples of one corpus are nested: a larger one holds the smaller one.
    """
    return np.sort(np.argsort(keys, kind="stable")[:count])
