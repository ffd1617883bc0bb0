"""The texts of a classification task for the MLM (task-adaptive pretraining)."""

from jaxattn.config import DataConfig
from jaxattn.data.corpora import TextCorpus, load_labelled, load_texts
from jaxattn.data.rows import logger
from jaxattn.errors import InputError


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
