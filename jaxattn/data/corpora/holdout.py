"""Choosing texts by their content: what is held out does not depend on the order of a file."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from jaxattn.data.read.rows import Rows


def text_keys(texts: Iterable[str], seed: int, purpose: str) -> np.ndarray:
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


def nothing_to_hold_out(rows: Rows, column: str) -> str:
    """Why no text of `rows` can be held out: each class has a single one; "" if that is not so."""
    text_of: dict[object, str] = {}
    labelled = 0
    for text, label in zip(rows.texts, rows.labels, strict=True):
        if label is not None:
            labelled += 1
            if text_of.setdefault(label, text) != text:
                return ""
    if not labelled:
        return ""
    copies = "" if labelled == len(text_of) else ", copies aside"
    return (
        f"every class has one text only{copies} ({labelled:,} texts, {len(text_of):,} different "
        f"labels in {column!r}), so that none can be held out; name the column that holds the "
        "classes in data.label_column, put labels such as scores together into a few classes, or "
        "give more texts of each class"
    )


def sample(keys: np.ndarray, count: int) -> np.ndarray:
    """The `count` rows with the smallest keys (all if there are fewer), in file order, int64 [m].

    Samples of one corpus are nested: a larger one holds the smaller one.
    """
    return np.sort(np.argsort(keys, kind="stable")[:count])


def hold_out_groups(
    groups: Sequence[str], labels: Sequence[object], seed: int, purpose: str, fraction: float
) -> np.ndarray:
    """Marks about `fraction` of the rows of each label, in whole groups.

    A group belongs to its most frequent label. For each label groups are taken in a pseudo-random
    order as long as they fit; where none does (an author of two novels, a tenth wanted), the
    smallest is taken. A label whose groups are fewer than two keeps all. Nothing depends on the
    order of the rows.

    Args:
        groups: n names.
        labels: n hashable values.
        seed: of the order.
        purpose: each has an order of its own.
        fraction: share to hold out, in (0, 0.5].

    Returns:
        bool [n].
    """
    counts = labels_of_groups(groups, labels)
    members: dict[object, list[str]] = {}
    for group, found in counts.items():
        members.setdefault(most_frequent(found), []).append(group)
    held: set[str] = set()
    for names in members.values():
        if len(names) < 2:
            continue
        key = dict(zip(names, text_keys(names, seed, purpose).tolist(), strict=True))
        size = {name: counts[name].total() for name in names}
        room = max(1, round(fraction * sum(size.values())))
        fitting: set[str] = set()
        for name in sorted(names, key=lambda name: (key[name], name)):
            if size[name] <= room:
                fitting.add(name)
                room -= size[name]
        held |= fitting or {min(names, key=lambda name: (size[name], key[name], name))}
    return np.array([group in held for group in groups], bool)


def labels_of_groups(groups: Sequence[str], labels: Sequence[object]) -> dict[str, Counter[object]]:
    """Group -> how many of its rows have each label, in the order of the rows."""
    counts: dict[str, Counter[object]] = {}
    for group, label in zip(groups, labels, strict=True):
        counts.setdefault(group, Counter())[label] += 1
    return counts


def most_frequent(counts: Counter[object]) -> object:
    """The label of a group: its most frequent one, of equals the first by name."""
    return min(counts, key=lambda value: (-counts[value], str(value)))


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
