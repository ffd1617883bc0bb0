"""Cross-validation: which fold each row is in."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from jaxattn.config import DataConfig
from jaxattn.data.corpora.holdout import (
    group_names,
    labels_of_groups,
    most_frequent,
    text_keys,
)
from jaxattn.data.read.rows import Rows
from jaxattn.errors import InputError


def folds_of(rows: Rows, data: DataConfig) -> np.ndarray:
    """The fold of each row by `data.split_seed`, int [n]; InputError where one would be empty."""
    if rows.groups:
        numbers = group_fold_numbers(group_names(rows), rows.labels, data.split_seed, data.folds)
    else:
        keys = text_keys(rows.texts, data.split_seed, "folds")
        numbers = fold_numbers(keys, rows.labels, data.folds)
    if len(np.unique(numbers)) < data.folds:
        what = "groups" if rows.groups else "different texts"
        raise InputError(
            f"data.folds: found {data.folds}, but the {len(rows):,} labelled training rows have "
            f"fewer {what}; take fewer folds"
        )
    return numbers


def fold_numbers(keys: np.ndarray, strata: Sequence[object], folds: int) -> np.ndarray:
    """The fold of each row for cross-validation, int [n], 0..folds-1: stratified.

    The different keys of a stratum are dealt out one by one, in their order; the next stratum goes
    on where the one before has stopped. Rows of one key (copies of a text) are in one fold, and
    nothing depends on the order of the rows.

    Args:
        keys: uint64 [n].
        strata: n hashable values, such as labels.
        folds: how many.
    """
    first: dict[int, str] = {}
    for key, stratum in zip(keys.tolist(), map(str, strata), strict=True):
        first[key] = min(stratum, first.get(key, stratum))
    dealt = sorted(first, key=lambda key: (first[key], key))
    fold = {key: place % folds for place, key in enumerate(dealt)}
    return np.array([fold[key] for key in keys.tolist()], int)


def group_fold_numbers(
    groups: Sequence[str], labels: Sequence[object], seed: int, folds: int
) -> np.ndarray:
    """As `fold_numbers`, in whole groups: largest first, each into the fold that lacks it most.

    A group belongs to its most frequent label; it goes to the fold with the fewest rows of groups
    of that label, of equals to the one with the fewest rows, of equals to the first.
    """
    counts = labels_of_groups(groups, labels)
    names = list(counts)
    key = dict(zip(names, text_keys(names, seed, "folds").tolist(), strict=True))
    rows, of_label = [0] * folds, Counter[tuple[object, int]]()
    fold: dict[str, int] = {}
    for name in sorted(names, key=lambda name: (-counts[name].total(), key[name], name)):
        found = counts[name]
        label = most_frequent(found)
        best = min(range(folds), key=lambda at: (of_label[label, at], rows[at], at))
        fold[name] = best
        rows[best] += found.total()
        of_label[label, best] += found.total()
    return np.array([fold[group] for group in groups], int)
