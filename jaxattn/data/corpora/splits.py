"""The corpora: labelled splits for classification, and texts for the MLM.

A corpus is read from files (`data.path`), from the Hugging Face hub (`data.hub`), or is the
built-in one (`data.name` = pydocs). Splits that are missing are held out of the training split by
the texts themselves and `data.split_seed`, in the same way for both tasks. With
`data.group_column` whole groups are held out, and no group is in two splits.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from jaxattn.config import DataConfig
from jaxattn.data.corpora import holdout
from jaxattn.data.corpora.classes import Classes, settled
from jaxattn.data.corpora.holdout import apart, nothing_to_hold_out
from jaxattn.data.corpora.parts import held_out_of, is_labelled, parts_of
from jaxattn.data.corpora.sources import open_source
from jaxattn.data.read.formats import FORMATS, refuse_format
from jaxattn.data.read.lines import ending_of
from jaxattn.data.read.rows import Rows, joined, read_file
from jaxattn.data.read.tables import require_column
from jaxattn.data.told import logger
from jaxattn.errors import InputError, listed

MAX_MLM_VALIDATION = 2000


@dataclasses.dataclass(frozen=True)
class Examples:
    """Labelled texts: n strings and int32 [n]."""

    texts: Sequence[str]
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class LabelledCorpus:
    """The three splits of a classification task, and the name of each class."""

    train: Examples
    validation: Examples
    test: Examples
    label_names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class TextCorpus:
    """Texts for the MLM; no text is in both lists."""

    train: Sequence[str]
    validation: Sequence[str]


def load_labelled(data: DataConfig) -> LabelledCorpus:
    """The corpus for classification.

    Without a validation split, `data.validation_fraction` of each class of the training split is
    held out; without a labelled test split, 10 % before that. Rows without a label are left out.

    Raises:
        InputError: nothing is found, or a file, column, text or label is not as it must be.
    """
    source = open_source(data)
    rows = source.required(data.train_split, "data.train_split")
    if not data.label_column:
        raise InputError(
            "data.label_column: found '', classification needs the column of the label"
        )
    if rows.label_columns is not None:
        require_column(
            data.label_column, rows.label_columns, source.name, "data.label_column", rows.hint
        )
    _require_other_column(data)
    parts = parts_of(source, rows, data)
    train = parts.train.take(is_labelled(parts.train))
    if len(train) < len(parts.train):
        logger.warning(
            "%s: %d training rows without a label left out",
            source.name, len(parts.train) - len(train),
        )  # fmt: skip
    for part, name in ((train, "training"), (parts.validation, "validation"), (parts.test, "test")):
        if not len(part):
            single = len(train) and nothing_to_hold_out(rows, data.label_column)
            missing = f"there are no labelled {name} texts{_mend(name, train)}"
            raise InputError(f"{source.name}: {single or missing}")
    classes = Classes.of(train, data)
    splits = []
    for part, purpose in ((train, "train"), (parts.validation, "validation"), (parts.test, "test")):
        labels = classes.indices(part)
        chosen = _sampled(part, data.max_examples or len(part), data, purpose)
        splits.append(Examples(part.take(chosen).texts, labels[chosen]))
    return LabelledCorpus(splits[0], splits[1], splits[2], classes.names)


def _require_other_column(data: DataConfig) -> None:
    """InputError where the text holds the column of the label: it would be read off."""
    if data.label_column in (data.text_column, *data.text_column.split("+")):
        raise InputError(
            f"data.text_column: found {data.text_column!r}, which holds data.label_column = "
            f"{data.label_column!r}: the text would tell its class; name other columns"
        )


def _mend(name: str, train: Rows) -> str:
    if name == "training" or not len(train):
        return ""
    return (
        f", and none can be held out: a class needs two different texts, here {len(train):,} texts "
        f"have {len(set(train.labels)):,} labels; add texts, or a {name} split"
    )


def load_labelled_file(file: Path, data: DataConfig, names: tuple[str, ...]) -> Examples:
    """The labelled rows of one file in any format that a corpus may have.

    Args:
        file: CSV, TSV, JSON, JSON Lines, Parquet, or lines `label ||| text`.
        data: columns and preparation.
        names: the classes; another label is refused.

    Raises:
        InputError: the file, a column, a text or a label is not as it must be.
    """
    if ending_of(file) not in (*FORMATS, ".txt"):
        refuse_format(file, "", ".txt (lines 'label ||| text' or '__label__x text')")
    rows = settled(read_file(file, data), names, data, set(names))
    if rows.label_columns is not None:
        require_column(
            data.label_column, rows.label_columns, str(file), "data.label_column", rows.hint
        )
    labelled = rows.take(is_labelled(rows))
    if not len(labelled):
        raise InputError(f"{file}: none of {len(rows)} rows has a label in {data.label_column!r}")
    if len(labelled) < len(rows):
        logger.warning("%s: %d rows without a label left out", file, len(rows) - len(labelled))
    classes = Classes.known(names, labelled.labels, data.first_label)
    # The options say what numbers mean, or nothing does.
    if names != data.label_names and classes.shown() != list(names):
        logger.warning("%s: its labels are numbers, taken as %s", file, listed(classes.shown()))
    return Examples(labelled.texts, classes.indices(labelled))


def load_texts(data: DataConfig) -> TextCorpus:
    """The texts of `data.mlm_splits`, labelled or not, for the MLM.

    What classification holds out of the training split is no training text here either. For
    validation: the validation split; else what classification holds out of the training split;
    else `data.validation_fraction` of the texts. Held-out validation is at most 2000 texts.

    Raises:
        InputError: as for `load_labelled`, or a split is trained on and validated on.
    """
    if data.validation_split in data.mlm_splits:
        raise InputError(
            f"data.mlm_splits: found {data.validation_split!r}, which is the validation split; "
            "allowed: other splits"
        )
    source = open_source(data)
    splits = {name: source.required(name, "data.mlm_splits") for name in _mlm_splits(data)}
    held_out: list[Rows] = []
    labelled = splits.get(data.train_split) or source.found(data.train_split)
    if labelled is not None:
        parts = parts_of(source, labelled, data)
        held_out.append(parts.validation)
        if data.train_split in splits:
            splits[data.train_split] = parts.train
    kept_apart = list(held_out)
    validation = source.validation(data)
    if not validation:
        if data.train_split in splits and len(held_out[0]):
            validation, count = held_out[0], len(held_out[0])
        else:
            validation, count = _share_to_validate_on(splits, data)
            kept_apart.append(validation)
        count = min(count, MAX_MLM_VALIDATION)
        validation = validation.take(_sampled(validation, count, data, "validation"))
    pool = joined(list(splits.values()))
    never_learned = {text for rows in (*held_out, validation) for text in rows.texts}
    is_new = np.array([text not in never_learned for text in pool.texts], bool)
    train = pool.take(is_new & apart(pool, [*kept_apart, validation]))
    if not len(train) or not len(validation):
        raise InputError(
            f"data.mlm_splits: {source.name} has {len(pool)} texts in {list(data.mlm_splits)}, too "
            "few to train and validate on"
        )
    if data.max_examples:
        train = train.take(_sampled(train, data.max_examples, data, "train"))
        validation = validation.take(_sampled(validation, data.max_examples, data, "validation"))
    return TextCorpus(train.texts, validation.texts)


def _share_to_validate_on(splits: dict[str, Rows], data: DataConfig) -> tuple[Rows, int]:
    """What MLM validation may be drawn from, whole groups where there are groups, and how much."""
    # The reported test texts are never chosen by, even where they are trained on.
    rows = joined([part for name, part in splits.items() if name != data.test_split])
    count = max(1, round(data.validation_fraction * len(rows)))
    if rows.groups:
        alike = dataclasses.replace(rows, labels=[None] * len(rows))
        rows = rows.take(held_out_of(alike, data, "validation", data.validation_fraction))
    return rows, count


def _mlm_splits(data: DataConfig) -> tuple[str, ...]:
    # Left at its default, it means the training split whatever that is called (`sst_train`).
    default = DataConfig().mlm_splits
    return (data.train_split,) if data.mlm_splits == default else data.mlm_splits


def _sampled(rows: Rows, count: int, data: DataConfig, purpose: str) -> np.ndarray:
    """Indices of `count` rows chosen by `data.split_seed`, int64 [<= count]."""
    if count >= len(rows):
        return np.arange(len(rows))
    return holdout.sample(holdout.text_keys(rows.texts, data.split_seed, purpose), count)


def data_hash(corpus: LabelledCorpus) -> str:
    """SHA-256 over texts, labels and splits: equal for runs that saw the same data."""
    splits = (corpus.train, corpus.validation, corpus.test)
    labels = (" ".join(map(str, examples.labels)) for examples in splits)
    return texts_hash(*(examples.texts for examples in splits), [*corpus.label_names, *labels])


def texts_hash(*groups: Iterable[str]) -> str:
    """SHA-256 over groups of texts: equal for runs that saw the same data."""
    digest = hashlib.sha256()
    for texts in groups:
        digest.update(b"group")
        for text in texts:
            raw = text.encode("utf-8", "surrogatepass")
            digest.update(f"{len(raw)}:".encode() + raw)
    return digest.hexdigest()


def load_task_texts(data: DataConfig) -> TextCorpus:
    """The task's training texts to learn from, and validation texts that are never learned from.

    As `load_texts`; besides, no text that fine-tuning on the same `data` validates or tests on is
    among the training texts, also where a corpus has copies of it in its training split. Texts
    without a label may be added (`data.mlm_splits`), the test split may not. Where there are no
    labels at all (`data.label_column` is empty), there is no task to protect either.

    Raises:
        InputError: as for `load_texts` and `load_labelled`, or the test split is in
            `data.mlm_splits`, or nothing is left.
    """
    if data.test_split in data.mlm_splits:
        raise InputError(
            f"data.mlm_splits: found {data.test_split!r}, which is the test split; task-adaptive "
            "pretraining never reads it"
        )
    if not data.label_column:
        return load_texts(data)
    try:
        labelled = load_labelled(data)
    except InputError as error:
        if f"no column {data.label_column!r}" not in str(error):
            raise
        raise InputError(f"{error}; for texts without labels set data.label_column=") from None
    corpus = load_texts(data)
    forbidden = {*labelled.validation.texts, *labelled.test.texts}
    train = [text for text in corpus.train if text not in forbidden]
    if len(train) < len(corpus.train):
        logger.warning(
            "%d training texts left out: validation or test has the same",
            len(corpus.train) - len(train),
        )
    if not train:
        raise InputError("data: every training text is a validation or test text too")
    return TextCorpus(train, corpus.validation)
