"""What the classes of a corpus will do to a classifier: told before it is trained."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxattn.console import listed
from jaxattn.data.corpora.holdout import text_keys
from jaxattn.data.corpora.splits import Examples, LabelledCorpus

FEW_EXAMPLES = 10
"""Training texts of a class below which it is told how many there are."""

DOMINATING = 0.9
"""Share of the training texts from which a class is told to leave little to the others."""

_MANY_SCORES, _MANY_FRACTIONS = 20, 10
"""More whole numbers, or more numbers with decimals, than ratings in stars have."""

_FEW_OF_A_SCORE = 5

SPLITS: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")
"""Of a labelled corpus."""


def class_warnings(corpus: LabelledCorpus) -> list[str]:
    """Sentences on absent, rare and dominating classes, and on labels that are no classes."""
    names, counts = corpus.label_names, class_counts(corpus)
    train = counts[:, 0]
    return [
        *_absent(names, counts),
        *_rare(names, train, counts.min(axis=1) > 0),
        *_dominating(names, train),
        *_scores(names, train),
    ]


def order_warnings(train: Examples) -> list[str]:
    """Whether the training rows come class by class."""
    changes = int(np.count_nonzero(np.diff(train.labels)))
    classes = len(np.unique(train.labels))
    if classes < 2 or changes != classes - 1 or len(train.labels) < FEW_EXAMPLES * classes:
        return []
    return [
        "the training rows are in the order of their classes: every epoch shuffles them, but "
        "whatever takes the first rows alone (data.streaming with data.max_examples) meets one "
        "class only"
    ]


def copy_warnings(corpus: LabelledCorpus) -> list[str]:
    """How many texts of validation and test, character by character, are trained on too."""
    learned = text_keys(corpus.train.texts, 0, "duplicates")
    warnings = []
    for name, examples in (("validation", corpus.validation), ("test", corpus.test)):
        copies = int(np.isin(text_keys(examples.texts, 0, "duplicates"), learned).sum())
        if copies:
            are = "are" if copies > 1 else "is"
            warnings.append(
                f"{copies:,} of {len(examples.texts):,} {name} texts {are} in the training split "
                "too: the score counts them as if they had been understood"
            )
    return warnings


def class_counts(corpus: LabelledCorpus) -> np.ndarray:
    """Texts of each class in each of `SPLITS`, int [classes, 3]."""
    size = len(corpus.label_names)
    splits = (corpus.train, corpus.validation, corpus.test)
    return np.stack([np.bincount(split.labels, minlength=size) for split in splits], axis=1)


def _absent(names: Sequence[str], counts: np.ndarray) -> list[str]:
    without: dict[str, list[str]] = {}
    for name, row in zip(names, counts.tolist(), strict=True):
        missing = [split for split, count in zip(SPLITS, row, strict=True) if not count]
        if missing:
            without.setdefault(" and ".join(missing), []).append(name)
    return [
        f"class {listed(some)} has no text in {where}"
        if len(some) == 1
        else f"{len(some):,} classes have no text in {where}: {listed(some)}"
        for where, some in without.items()
    ]


def _rare(names: Sequence[str], train: np.ndarray, present: np.ndarray) -> list[str]:
    """Classes of few training texts; those that lack a split are told for that."""
    few = {
        name: int(count)
        for name, count, here in zip(names, train, present, strict=True)
        if 0 < count < FEW_EXAMPLES and (here or count == 1)
    }
    if not few:
        return []
    if len(few) == 1:
        ((name, count),) = few.items()
        texts = "one training text" if count == 1 else f"{count} training texts"
        return [f"class {listed([name])} has {texts} only"]
    single = [name for name, count in few.items() if count == 1]
    others = {name: count for name, count in few.items() if count > 1}
    said = []
    if single:
        has = "class {} has" if len(single) == 1 else f"{len(single):,} classes have"
        rest = "" if len(single) == 1 else f": {listed(single)}"
        said.append(f"{has.format(listed(single))} one training text only{rest}")
    if others:
        fewest = min(others.values())
        has = (
            f"class {listed(others)} has {fewest} training texts only"
            if len(others) == 1
            else f"{len(others):,} classes have fewer than {FEW_EXAMPLES} training texts (the "
            f"fewest {fewest}): {listed(others)}"
        )
        said.append(has)
    return said


def _dominating(names: Sequence[str], train: np.ndarray) -> list[str]:
    most, total = int(train.argmax()), int(train.sum())
    share = train[most] / total
    if share < DOMINATING or len(names) < 2:
        return []
    return [
        f"{share:.1%} of the training texts are of class {listed([names[most]])}: to predict "
        f"nothing else is right so often; judge by macro-F1, and see finetune.class_weights"
    ]


def _scores(names: Sequence[str], train: np.ndarray) -> list[str]:
    """Whether the labels look like numbers to be predicted, not like names or numbers of classes.

    Class numbers count from 0 or 1 without gaps and have more than a few texts each.
    """
    try:
        values = np.sort(np.array([float(name) for name in names]))
    except ValueError:
        return []
    if not np.isfinite(values).all():
        return []
    whole = bool((values == np.round(values)).all())
    if len(values) <= (_MANY_SCORES if whole else _MANY_FRACTIONS):
        return []
    counted = whole and values[0] in (0, 1) and bool((np.diff(values) == 1).all())
    if counted and np.median(train) > _FEW_OF_A_SCORE:
        return []
    return [
        f"the labels look like numbers to be predicted ({len(values):,} different ones from "
        f"{values[0]:g} to {values[-1]:g}): a classifier knows no order among them and takes each "
        "as a class of its own; put them together into a few classes"
    ]
