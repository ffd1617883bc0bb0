"""Labels as they are written: spellings of one class, lists of one, -1, numbers from 1."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxattn.config import Config, DataConfig, replace
from jaxattn.data.corpora.classes import one_spelling
from jaxattn.data.corpora.known import filled_in
from jaxattn.data.corpora.splits import LabelledCorpus, load_labelled, load_labelled_file
from jaxattn.errors import InputError


def write(file: Path, labels: list[object]) -> None:
    rows = [{"text": f"{file.stem} {i}", "label": label} for i, label in enumerate(labels)]
    file.write_text("\n".join(map(json.dumps, rows)))


def load(folder: Path, **options: object) -> LabelledCorpus:
    return load_labelled(DataConfig("mine", path=str(folder), **options))  # type: ignore[arg-type]


def counts(corpus: LabelledCorpus) -> list[int]:
    parts = [part.labels for part in (corpus.train, corpus.validation, corpus.test)]
    return np.bincount(np.concatenate(parts)).tolist()


SPELLINGS = {
    "numbers": ([1, "1", 1.0, "1.0", 0, "0.0"], ("0", "1"), [20, 40]),
    "truth": ([True, "true", "TRUE", False, "False", "false"], ("False", "True"), [30, 30]),
    "both": ([True, 1, "1", 0, False, "0"], ("0", "1"), [30, 30]),
    "lists of one": ([["a"], "a", ["b"], "b", "b", "b"], ("a", "b"), [20, 40]),
    "ratings": (["4.5", "5", "5.0", "4.5", "5", "5"], ("4.5", "5"), [20, 40]),
    "versions": (["1.0", "1.1", "2.0", "1.0", "1.1", "2.0"], ("1.0", "1.1", "2.0"), [20, 20, 20]),
    "zeros before": (["01", "1", "a", "01", "1", "a"], ("01", "1", "a"), [20, 20, 20]),
    "cases of words": (["Ham", "ham", "Spam", "Ham", "ham", "Spam"], ("Ham", "Spam", "ham"),
                       [20, 20, 20]),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_of_a_class(tmp_path: Path, name: str) -> None:
    labels, names, expected = SPELLINGS[name]
    write(tmp_path / "train.jsonl", labels * 10)
    corpus = load(tmp_path)
    assert corpus.label_names == names and counts(corpus) == expected


def test_nothing_changes_where_each_class_has_one_spelling() -> None:
    for labels in ({1, 0}, {"1", "0"}, {"1.0", "0.0"}, {"true", "false"}, {"yes", "no", "1"}):
        assert one_spelling(labels) == {}
    assert one_spelling({"1", "1.0", "x"}) == {"1.0": "1"}
    assert one_spelling({"true", "0"}) == {"true": 1, "0": 0}


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([0, 1], ["0.0", "1.0"], [0, 1]),
        ([0, 1], ["False", "true"], [0, 1]),
        ([True, False], [1, 0], [1, 0]),
        (["true", "false"], [True, False], [1, 0]),
        (["True", "False"], ["1", "0"], [1, 0]),
    ],
)
def test_another_file_may_spell_them_otherwise(
    tmp_path: Path, train: list[object], test: list[object], expected: list[int]
) -> None:
    write(tmp_path / "train.jsonl", train * 20)
    write(tmp_path / "test.jsonl", test)
    corpus = load(tmp_path)
    assert corpus.test.labels.tolist() == expected
    found = load_labelled_file(tmp_path / "test.jsonl", DataConfig("mine"), corpus.label_names)
    assert found.labels.tolist() == expected


def test_a_word_is_no_number_among_others(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [0, 1, 2] * 20)
    write(tmp_path / "test.jsonl", ["true", 0, 1])
    with pytest.raises(InputError, match="line 1: unknown label 'true'"):
        load(tmp_path)


def test_names_that_turn_truth_around(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [0, 1] * 20)
    write(tmp_path / "test.jsonl", ["true", "false"])
    corpus = load(tmp_path, label_names=("True", "False"))
    assert corpus.test.labels.tolist() == [0, 1]
    write(tmp_path / "numbers.jsonl", [0, 1])
    numbers = tmp_path / "numbers.jsonl"
    assert load_labelled_file(numbers, DataConfig("mine"), ("True", "False")).labels.tolist() == [
        0, 1,
    ]  # fmt: skip


def test_minus_one_is_a_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "train.jsonl", [-1, 0, 1] * 20)
    corpus = load(tmp_path)
    assert corpus.label_names == ("-1", "0", "1") and counts(corpus) == [20, 20, 20]
    assert "without a label" not in caplog.text
    corpus = load(tmp_path, label_names=("bad", "so", "good"), first_label=-1)
    assert corpus.label_names == ("bad", "so", "good") and counts(corpus) == [20, 20, 20]
    with pytest.raises(InputError, match="the labels are -1 to 1.*give data.first_label=-1"):
        load(tmp_path, label_names=("bad", "so", "good"))
    assert load(tmp_path, no_label=("-1",)).label_names == ("0", "1")
    assert "20 training rows without a label left out" in caplog.text


def test_minus_one_is_none_where_the_corpus_says_so(tmp_path: Path) -> None:
    import datasets

    # A test split of the hub, whose labels are kept back.
    write(tmp_path / "train.jsonl", [0, 1] * 20)
    write(tmp_path / "test.jsonl", [-1] * 20)
    assert sum(counts(load(tmp_path))) == 40
    # Names for 0 and 1 leave -1 without one.
    write(tmp_path / "train.jsonl", [0, 1, -1] * 20)
    assert counts(load(tmp_path, label_names=("no", "yes"))) == [20, 20]
    folder = tmp_path / "features"
    folder.mkdir()
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    columns = {"text": [f"text {i}" for i in range(60)], "label": [0, 1, -1] * 20}
    datasets.Dataset.from_dict(columns, features).to_parquet(str(folder / "train.parquet"))
    assert counts(load(folder)) == [20, 20]
    # A class of its own in one split only is told with what to do.
    write(tmp_path / "train.jsonl", [0, 1] * 20)
    write(tmp_path / "test.jsonl", [-1, 0, 1])
    with pytest.raises(InputError, match="line 1: unknown label -1; data.no_label=-1 leaves rows"):
        load(tmp_path)


def test_classes_numbered_from_one(tmp_path: Path) -> None:
    names = ("World", "Sports", "Business", "Sci/Tech")
    write(tmp_path / "train.jsonl", ["4", "3", "2", "1"] * 10)
    with pytest.raises(InputError, match="the labels are 1 to 4.*'World', give data.first_label=1"):
        load(tmp_path, label_names=names)
    corpus = load(tmp_path, label_names=names, first_label=1)
    assert corpus.label_names == names and counts(corpus) == [10] * 4
    # A file with some of the classes is numbered as the training split is.
    write(tmp_path / "some.jsonl", ["2", "3"])
    some = tmp_path / "some.jsonl"
    found = load_labelled_file(some, DataConfig("mine", first_label=1), names)
    assert found.labels.tolist() == [1, 2]
    # Zhang's CSV files are known by the name of their column.
    config = replace(Config(), {"data.name": "agnews", "data.label_column": "Class Index",
                                "data.path": "x"})  # fmt: skip
    assert filled_in(config, ()).data.first_label == 1
    assert filled_in(replace(config, {"data.label_column": "label"}), ()).data.first_label == 0


@pytest.mark.parametrize(
    ("train", "file", "expected"),
    [
        # The position of 2 is the class "1.5", and that of 1 the class "2".
        (["0.5", "1", "1.5", "2"], [1, 2, "2.0"], [1, 3, 3]),
        (["1", "2", "n/a"], [1, 2], [0, 1]),
        ([10**17, 10**17 + 1], [str(10**17 + 1), str(10**17)], [1, 0]),
        # -1 alone in a file, or in a split, is no label that was kept back.
        (["-1", "0", "1"], [-1, -1], [0, 0]),
    ],
)
def test_numbers_among_the_names_are_themselves(
    tmp_path: Path, train: list[object], file: list[object], expected: list[int]
) -> None:
    write(tmp_path / "train.jsonl", train * 20)
    write(tmp_path / "test.jsonl", file)
    corpus = load(tmp_path)
    assert corpus.test.labels.tolist() == expected
    found = load_labelled_file(tmp_path / "test.jsonl", DataConfig("mine"), corpus.label_names)
    assert found.labels.tolist() == expected


def test_a_file_of_minus_one_counted_from_it(tmp_path: Path) -> None:
    write(tmp_path / "bad.jsonl", [-1, -1])
    names, data = ("bad", "so", "good"), DataConfig("mine", first_label=-1)
    assert load_labelled_file(tmp_path / "bad.jsonl", data, names).labels.tolist() == [0, 0]


def test_numbers_taken_for_words_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "some.jsonl", [1, 0])
    file, names = tmp_path / "some.jsonl", ("ham", "spam")
    told = DataConfig("mine", label_names=names)
    assert load_labelled_file(file, told, names).labels.tolist() == [1, 0] and not caplog.text
    load_labelled_file(file, DataConfig("mine", label_names=("neg", "pos")), names)
    assert "its labels are numbers, taken as 0 = ham, 1 = spam" in caplog.text
    load_labelled_file(file, DataConfig("mine"), ("0", "1"))
    assert len(caplog.records) == 1


def test_names_that_no_label_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "train.jsonl", ["ham", "spam"] * 20)
    assert load(tmp_path, label_names=("neg", "pos")).label_names == ("ham", "spam")
    assert "none of data.label_names (neg, pos); these are not used" in caplog.text
    with pytest.raises(InputError, match="none of data.label_names.*Hamm.*as the labels are wri"):
        load(tmp_path, label_names=("Hamm", "Spam"))
    # Words for true and false are the same whatever their case.
    write(tmp_path / "train.jsonl", ["true", "false"] * 20)
    assert load(tmp_path, label_names=("True", "False")).label_names == ("True", "False")
