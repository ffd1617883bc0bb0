"""Rows that belong together: passages of one novel, articles of one publisher."""

from collections.abc import Iterable

import numpy as np

from jaxattn.data.rows import Rows


def group_names(rows: Rows) -> list[str]:
    """The group of each row; a row without one is a group of its own, by its text."""
    return [
        f"text {text}" if group is None else f"group {group}"
        for text, group in zip(rows.texts, rows.groups, strict=True)
    ]


def apart(rows: Rows, others: Iterable[Rows]) -> np.ndarray:
    """Which rows share no group with `others`, bool [n]; all of them where there are no groups."""
    taken = {group for other in others for group in other.groups} - {None}
    if not rows.groups or not taken:
        return np.ones(len(rows), bool)
    return np.array([group not in taken for group in rows.groups], bool)
