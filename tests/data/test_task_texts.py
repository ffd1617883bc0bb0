"""What task-adaptive pretraining may read of a labelled corpus."""

import json
import logging
from pathlib import Path

import pytest

from jaxattn.config import DataConfig
from jaxattn.data.corpora.splits import load_labelled, load_task_texts
from jaxattn.errors import InputError


def write(folder: Path, **splits: list[str]) -> DataConfig:
    for name, texts in splits.items():
        rows = ({"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts))
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    return DataConfig(name="mine", path=str(folder))


def named(word: str, count: int) -> list[str]:
    return [f"{word} number {i}" for i in range(count)]


def test_training_texts_only_and_no_copy_of_a_test_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train, test = named("train", 20), named("test", 6)
    data = write(tmp_path, train=[*train, *test[:3]], validation=named("valid", 6), test=test)
    with caplog.at_level(logging.WARNING, "jaxattn.data"):
        corpus = load_task_texts(data)
    assert corpus.train == train
    assert corpus.validation == named("valid", 6)
    assert "3 training texts left out" in caplog.text


def test_what_classification_holds_out_is_not_read(tmp_path: Path) -> None:
    data = write(tmp_path, train=named("train", 100))
    corpus, labelled = load_task_texts(data), load_labelled(data)
    held_out = {*labelled.validation.texts, *labelled.test.texts}
    assert len(held_out) >= 15
    assert not held_out & set(corpus.train)
    assert set(corpus.train) == set(labelled.train.texts)
    assert not set(corpus.validation) & set(labelled.test.texts)


def test_unlabelled_texts_may_be_added_and_the_test_split_not(tmp_path: Path) -> None:
    data = write(
        tmp_path, train=named("train", 10), validation=named("valid", 4), test=named("test", 4),
        more=named("more", 5),
    )  # fmt: skip
    added = load_task_texts(
        DataConfig(name="mine", path=data.path, mlm_splits=("train", "more"))
    ).train
    assert set(added) == {*named("train", 10), *named("more", 5)}
    with pytest.raises(InputError, match=r"data\.mlm_splits.*test split"):
        load_task_texts(DataConfig(name="mine", path=data.path, mlm_splits=("train", "test")))


def test_texts_without_labels_are_read_when_that_is_said(tmp_path: Path) -> None:
    for name, count in (("train", 20), ("validation", 4)):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in named(name, count))
        (tmp_path / f"{name}.jsonl").write_text(lines)
    with pytest.raises(InputError, match=r"no column 'label'.*set data\.label_column=$"):
        load_task_texts(DataConfig(name="mine", path=str(tmp_path)))
    bare = DataConfig(name="mine", path=str(tmp_path), label_column="")
    assert load_task_texts(bare).train == named("train", 20)
    with pytest.raises(InputError, match=r"data\.label_column: found '', classification needs"):
        load_labelled(bare)
