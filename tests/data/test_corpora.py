"""Corpora as a whole: splits, hold-outs, classes, samples, and what a user can get wrong."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxattn.config import DataConfig
from jaxattn.data.corpora.splits import LabelledCorpus, load_labelled, load_texts
from jaxattn.errors import InputError


def write(folder: Path, name: str, rows: Sequence[str | tuple[str, object]]) -> None:
    """Rows of (text, label), or texts only."""
    objects = [
        {"text": row} if isinstance(row, str) else {"text": row[0], "label": row[1]} for row in rows
    ]
    (folder / name).write_text("\n".join(map(json.dumps, objects)), encoding="utf-8")


def numbered(prefix: str, count: int, classes: int = 2) -> list[tuple[str, int]]:
    """Sorted by label, as IMDB is: the first half of a file would be one class."""
    return [(f"{prefix} {i}", i * classes // count) for i in range(count)]


def config(path: Path, **changes: Any) -> DataConfig:
    return DataConfig(name="mine", path=str(path), **changes)


def all_texts(corpus: LabelledCorpus) -> list[list[str]]:
    return [list(part.texts) for part in (corpus.train, corpus.validation, corpus.test)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "train.jsonl", numbered("train", 400))
    write(tmp_path, "test.jsonl", numbered("test", 100))
    write(tmp_path, "unsup.jsonl", [(f"unsup {i}", -1) for i in range(300)])
    return tmp_path


def test_validation_is_held_out_of_training(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = load_labelled(config(folder))
    train, validation, test = all_texts(corpus)
    assert [len(train), len(validation), len(test)] == [360, 40, 100]
    assert sorted(train + validation) == sorted(text for text, _ in numbered("train", 400))
    assert np.bincount(corpus.validation.labels).tolist() == [20, 20]
    assert corpus.train.labels.dtype == np.int32 and corpus.label_names == ("0", "1")
    labels = dict(numbered("train", 400))
    assert [labels[text] for text in validation] == corpus.validation.labels.tolist()
    assert caplog.text == ""
    again = load_labelled(config(folder))
    assert all_texts(again) == all_texts(corpus)
    assert set(load_labelled(config(folder, split_seed=1)).validation.texts) != set(validation)


def test_the_hold_out_does_not_depend_on_the_order_of_the_file(folder: Path) -> None:
    before = load_labelled(config(folder))
    write(folder, "train.jsonl", numbered("train", 400)[::-1])
    assert set(load_labelled(config(folder)).validation.texts) == set(before.validation.texts)


def test_mlm_texts_keep_the_hold_out_out(folder: Path) -> None:
    held = load_labelled(config(folder)).validation.texts
    texts = load_texts(config(folder, mlm_splits=("train", "unsup")))
    assert len(texts.train) == 360 + 300 and set(texts.validation) == set(held)
    assert not set(texts.train) & set(held)
    # Without the training split it is cut from what there is, and a copy of a held-out text stays
    # out all the same.
    write(folder, "unsup.jsonl", [(f"unsup {i}", -1) for i in range(300)] + [(held[0], -1)])
    texts = load_texts(config(folder, mlm_splits=("unsup",)))
    assert len(texts.validation) == 30 and len(texts.train) in (270, 271)
    assert held[0] not in texts.train and not set(texts.train) & set(texts.validation)


def test_mlm_validation_is_never_the_test_split(folder: Path) -> None:
    texts = load_texts(config(folder, mlm_splits=("unsup", "test")))
    assert all(text.startswith("unsup") for text in texts.validation)
    assert sum(text.startswith("test") for text in texts.train) == 100
    with pytest.raises(InputError, match=r"100 texts in \['test'\], too few"):
        load_texts(config(folder, mlm_splits=("test",)))
    with pytest.raises(InputError, match="which is the validation split"):
        load_texts(config(folder, mlm_splits=("train", "validation")))


def test_a_given_validation_split_is_taken(folder: Path) -> None:
    write(folder, "dev.jsonl", [*numbered("dev", 20), ("train 3", 0)])
    corpus = load_labelled(config(folder))
    assert [len(texts) for texts in all_texts(corpus)] == [400, 21, 100]
    texts = load_texts(config(folder))
    assert texts.validation == corpus.validation.texts
    assert len(texts.train) == 399 and "train 3" not in texts.train


def test_held_out_mlm_validation_is_at_most_2000_texts(tmp_path: Path) -> None:
    write(tmp_path, "train.jsonl", [f"text {i}" for i in range(30_000)])
    texts = load_texts(config(tmp_path))
    assert (len(texts.train), len(texts.validation)) == (28_000, 2_000)


def test_unlabelled_text_needs_no_label_column(tmp_path: Path) -> None:
    write(tmp_path, "train-0.jsonl", [f"a {i}" for i in range(50)])
    write(tmp_path, "train-1.jsonl", [f"b {i}" for i in range(50)])
    write(tmp_path, "valid.jsonl", ["c 1", "c 2"])
    texts = load_texts(config(tmp_path))
    assert len(texts.train) == 100 and texts.validation == ["c 1", "c 2"]
    with pytest.raises(InputError, match=r"no column 'label' \(columns: text\)"):
        load_labelled(config(tmp_path))


def test_a_single_file_is_split_in_three(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "all.jsonl", numbered("text", 1000, classes=4))
    corpus = load_labelled(config(tmp_path / "all.jsonl"))
    train, validation, test = all_texts(corpus)
    assert [len(train), len(validation), len(test)] == [812, 88, 100]
    assert len({*train, *validation, *test}) == 1000
    assert np.bincount(corpus.test.labels).tolist() == [25] * 4
    assert "no labelled test split: 100 training texts are held out" in caplog.text
    texts = load_texts(config(tmp_path / "all.jsonl"))
    assert texts.train == train and set(texts.validation) == set(validation)


def test_a_test_split_without_labels_is_no_test_split(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, "test.jsonl", [(f"test {i}", -1) for i in range(50)])
    corpus = load_labelled(config(folder))
    assert [len(texts) for texts in all_texts(corpus)] == [324, 36, 40]
    assert "no labelled test split: 40" in caplog.text


def test_unlabelled_rows_are_for_the_mlm_only(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [*numbered("train", 400), ("nobody knows", None), ("nor this", "")]
    write(folder, "train.jsonl", rows)
    assert len(load_labelled(config(folder)).train.texts) == 360
    assert "2 training rows without a label" in caplog.text
    assert len(load_texts(config(folder)).train) == 362


def test_classes(folder: Path) -> None:
    def names(
        labels: Sequence[bool | int | str], **changes: Any
    ) -> tuple[tuple[str, ...], list[int]]:
        rows = [(f"t {i}", labels[i % len(labels)]) for i in range(60)]
        write(folder, "train.jsonl", rows)
        write(folder, "test.jsonl", rows[: len(labels)])
        corpus = load_labelled(config(folder, **changes))
        return corpus.label_names, corpus.test.labels.tolist()

    assert names([7, 3, 10]) == (("3", "7", "10"), [1, 0, 2])
    assert names(["10", "9", "1"]) == (("1", "9", "10"), [2, 1, 0])
    assert names(["neg", "pos"]) == (("neg", "pos"), [0, 1])
    assert names(["b", 1]) == (("1", "b"), [1, 0])
    assert names([True, False]) == (("False", "True"), [1, 0])
    assert names([2, 0], label_names=("x", "y", "z")) == (("x", "y", "z"), [2, 0])
    assert names(["z", "x"], label_names=("z", "y", "x")) == (("z", "y", "x"), [0, 2])


def test_formats_give_the_same_corpus(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    splits = {"train": numbered("train", 40), "test": numbered("test", 10)}
    for kind in ("jsonl", "csv", "tsv", "parquet"):
        (tmp_path / kind).mkdir()
    for split, rows in splits.items():
        write(tmp_path / "jsonl", f"{split}.jsonl", rows)
        for kind, mark in (("csv", ","), ("tsv", "\t")):
            lines = [f"text{mark}label", *(f"{text}{mark}{label}" for text, label in rows)]
            (tmp_path / kind / f"{split}.{kind}").write_text("\n".join(lines), encoding="utf-8")
        columns = dict(zip(("text", "label"), zip(*rows, strict=True), strict=True))
        pyarrow.parquet.write_table(
            pyarrow.table(columns), tmp_path / "parquet" / f"{split}.parquet"
        )
    found = [load_labelled(config(tmp_path / kind)) for kind in ("jsonl", "csv", "tsv", "parquet")]
    for corpus in found[1:]:
        assert all_texts(corpus) == all_texts(found[0])
        assert corpus.label_names == found[0].label_names
        assert corpus.test.labels.tolist() == found[0].test.labels.tolist()
    # The same files as the hub's loader reads them, from a local folder; no network is used.
    hub = load_labelled(DataConfig(name="mine", hub=str(tmp_path / "jsonl")))
    assert all_texts(hub) == all_texts(found[0])
    assert load_texts(DataConfig(name="mine", hub=str(tmp_path / "csv"))).train == hub.train.texts


def test_max_examples_is_a_sample_of_both_classes(folder: Path) -> None:
    corpus = load_labelled(config(folder, max_examples=50))
    assert [len(texts) for texts in all_texts(corpus)] == [50, 40, 50]
    whole = load_labelled(config(folder))
    assert set(corpus.train.texts) < set(whole.train.texts)
    assert 15 <= corpus.train.labels.sum() <= 35 and 15 <= corpus.test.labels.sum() <= 35
    assert corpus.validation.texts == whole.validation.texts
    texts = load_texts(config(folder, max_examples=30))
    assert (len(texts.train), len(texts.validation)) == (30, 30)


def test_a_split_may_have_a_name_of_its_own(tmp_path: Path) -> None:
    for corpus in ("sst", "imdb"):
        for split in ("train", "dev", "test"):
            write(tmp_path, f"{corpus}_{split}.jsonl", numbered(f"{corpus} {split}", 10))
    splits = {
        "train_split": "sst_train", "validation_split": "sst_dev", "test_split": "sst_test",
    }  # fmt: skip
    corpus = load_labelled(config(tmp_path, **splits))
    assert [texts[0] for texts in all_texts(corpus)] == ["sst train 0", "sst dev 0", "sst test 0"]
    # data.mlm_splits at its default follows the name of the training split.
    assert load_texts(config(tmp_path, **splits)).train == corpus.train.texts
    for option in ("validation_split", "test_split", "train_split"):
        with pytest.raises(InputError, match=f"data.{option}: .* has no split 'sst_x'"):
            load_labelled(config(tmp_path, **{**splits, option: "sst_x"}))


def expect(
    message: str, data: DataConfig, load: Callable[[DataConfig], object] = load_labelled
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(data)
    assert "\n" not in str(caught.value)


def test_what_a_user_can_get_wrong(folder: Path, tmp_path: Path) -> None:
    place = re.escape(str(folder / "test.jsonl"))
    expect("data.path: there is no file or folder .*absent", config(folder / "absent"))
    expect("data.name: 'imdb' is not built in .* set data.path .* or data.hub", DataConfig("imdb"))
    expect("has no column 'txt'; did you mean 'text'", config(folder, text_column="txt"))
    expect("has no column 'labels'; did you mean 'label'", config(folder, label_column="labels"))
    expect("no split 'xyz'", config(folder, mlm_splits=("xyz",)), load_texts)
    (folder / "notes.md").write_text("x", encoding="utf-8")
    expect(r"ends in '.md'; allowed: .parquet, .arrow", config(folder / "notes.md"))
    write(folder, "test.jsonl", [("a", 0), ("b", 5)])
    expect(f"{place} line 2: unknown label 5 .*: 0, 1", config(folder))
    write(folder, "test.jsonl", [("a", 0), ("b", "x")])
    expect(f"{place} line 2: unknown label 'x'", config(folder))
    expect("line 201: unknown label 1 .*: 0 = one", config(folder, label_names=("one",)))
    write(folder, "train.jsonl", [(f"t {i}", "spam" if i % 2 else "ham") for i in range(30)])
    write(folder, "test.jsonl", [("a", "spam"), ("b", "hamm")])
    expect("unknown label 'hamm'; did you mean 'ham'", config(folder))
    write(folder, "train.jsonl", [(f"t {i}", 1) for i in range(30)])
    expect("all 27 training labels in 'label' are 1; a classifier needs two", config(folder))
    write(folder, "train.jsonl", [(f"t {i}", -1) for i in range(30)])
    expect("there are no labelled training texts", config(folder))
    write(folder, "train.jsonl", [(" ", 1), ("", 0)])
    expect("split 'train' of .* holds no text", config(folder))
    empty = tmp_path / "empty"
    empty.mkdir()
    expect(r"has no split 'train' \(found: nothing\)", config(empty))
    expect("data.hub: cannot load", DataConfig(name="mine", hub=str(empty)))


def test_the_label_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"t {i},{i % 2}\n" for i in range(40)))
    for text in ("label", "text+label"):
        with pytest.raises(InputError, match=f"found '{text.replace('+', '.')}', which holds"):
            load_labelled(DataConfig("mine", path=str(tmp_path), text_column=text))
