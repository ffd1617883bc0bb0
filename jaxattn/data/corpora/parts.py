"""The training split taken apart: what is learned from, and what is held out of it.

Both tasks take it apart in the same way, by the texts themselves and `data.split_seed`.
"""

import dataclasses

import numpy as np

from jaxattn.config import DataConfig
from jaxattn.data.corpora import holdout
from jaxattn.data.corpora.classes import settled, with_one_spelling
from jaxattn.data.corpora.folds import folds_of
from jaxattn.data.corpora.holdout import apart, group_names
from jaxattn.data.corpora.source import Source
from jaxattn.data.read.rows import Rows
from jaxattn.data.told import logger

TEST_FRACTION = 0.1


@dataclasses.dataclass(frozen=True)
class Parts:
    """The training split, taken apart once for both tasks.

    Attributes:
        train: what is left to learn from, rows without a label among it.
        validation: labelled rows, given or held out.
        test: labelled rows, given or held out.
    """

    train: Rows
    validation: Rows
    test: Rows


def is_labelled(rows: Rows) -> np.ndarray:
    """Which rows have a label, bool [n]."""
    return np.array([label is not None for label in rows.labels], bool)


def parts_of(source: Source, rows: Rows, data: DataConfig) -> Parts:
    """The given labelled splits, and those that are missing taken out of the training rows.

    Args:
        source: where the other splits are read from.
        rows: of the training split.
        data: the options.

    Raises:
        InputError: a split with a name of its own is missing, or a fold would be empty.
    """
    source.tell(data)
    rows = settled(with_one_spelling(rows), data.label_names, data)
    known = set(rows.labels)
    # Of cross-validation a part of the training split is the test split, whatever else there is.
    test = None if data.folds else source.read(data.test_split, ())
    if test is None and not data.folds and data.test_split != "test":
        test = source.required(data.test_split, "data.test_split")
    validation = source.validation(data)
    free = is_labelled(rows)
    given: list[Rows] = []
    for part, purpose, fraction in (
        (test, "test", TEST_FRACTION), (validation, "validation", data.validation_fraction),
    ):  # fmt: skip
        if part is not None:
            part = settled(part, data.label_names, data, known)
        labelled = None if part is None else part.take(is_labelled(part))
        if labelled:
            labelled = labelled.take(apart(labelled, given))
            given.append(labelled)
            shared = ~apart(rows, [labelled])
            if shared.any():
                logger.warning(
                    "%s: %d training rows left out whose %r is in the %s split too",
                    source.name, shared.sum(), data.group_column, purpose,
                )  # fmt: skip
            free &= ~shared
            continue
        candidates = np.flatnonzero(free)
        chosen = candidates[held_out_of(rows.take(candidates), data, purpose, fraction)]
        free[chosen] = False
        given.append(rows.take(chosen))
        if purpose == "test" and data.folds:
            continue
        if len(chosen) and (purpose == "test" or part is not None):
            logger.warning(
                "%s has no labelled %s split: %d training texts are held out instead",
                source.name, purpose, len(chosen),
            )  # fmt: skip
    kept = (free | ~is_labelled(rows)) & apart(rows, given)
    return Parts(rows.take(kept), given[1], given[0])


def held_out_of(rows: Rows, data: DataConfig, purpose: str, fraction: float) -> np.ndarray:
    """Marks rows to hold out: of each label its share, in whole groups where there are groups.

    Args:
        rows: n candidates.
        data: the options; of `data.folds` the test split is `data.fold`, whatever its share.
        purpose: "test" or "validation".
        fraction: share to hold out, in (0, 0.5].

    Returns:
        bool [n].
    """
    if purpose == "test" and data.folds:
        chosen: np.ndarray = folds_of(rows, data) == data.fold
        return chosen
    if rows.groups:
        return holdout.hold_out_groups(
            group_names(rows), rows.labels, data.split_seed, purpose, fraction
        )
    keys = holdout.text_keys(rows.texts, data.split_seed, purpose)
    return holdout.hold_out(keys, rows.labels, fraction)
