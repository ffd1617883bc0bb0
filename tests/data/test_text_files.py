"""Folders of texts, `label ||| text` lines and the course's tables: one corpus, every layout."""

from pathlib import Path
from typing import Any

import pytest

from jaxattn.config import DataConfig
from jaxattn.data.corpora.sources import open_source
from jaxattn.data.corpora.splits import load_labelled, load_texts
from jaxattn.errors import InputError

TEXTS = {"neg": ["dull", "very dull\nand long", "düll"], "pos": ["fine", "very fine", "a | b"]}


def config(path: Path, **changes: Any) -> DataConfig:
    return DataConfig(name="mine", path=str(path), **changes)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """The layout of aclImdb, with what lies about in it."""
    for split in ("train", "test"):
        for label, texts in TEXTS.items():
            for number, text in enumerate(texts):
                write(tmp_path / split / label / f"{number}.txt", f"{split} {text}")
        write(tmp_path / split / f"urls_{split}.txt", "http://example.org")
    for number in range(3):
        write(tmp_path / "train" / "unsup" / f"{number}.txt", f"unknown {number}")
    write(tmp_path / "names.txt", "nothing to read")
    (tmp_path / "train" / "pos" / ".hidden.txt").write_text("x")
    return tmp_path


def test_folders_of_labels(folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = load_labelled(config(folders))
    assert corpus.label_names == ("neg", "pos")
    assert sorted(corpus.test.texts) == sorted(f"test {t}" for ts in TEXTS.values() for t in ts)
    assert corpus.test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(corpus.train.texts) + len(corpus.validation.texts) == 6
    assert "3 training rows without a label" in caplog.text
    texts = load_texts(config(folders))
    assert {f"unknown {i}" for i in range(3)} <= set(texts.train)
    rows = open_source(config(folders)).read("train", ())
    assert rows.place(0) == f"{folders / 'train' / 'neg' / '0.txt'} line 1"


def test_a_flat_folder_is_text_for_the_mlm(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path / f"{number:02}.txt", f"first line {number}\nsecond line\n")
    texts = load_texts(config(tmp_path))
    assert len(texts.train) == 18 and len(texts.validation) == 2
    assert "first line 3\nsecond line\n" in {*texts.train, *texts.validation}
    with pytest.raises(InputError, match="no column 'label'"):
        load_labelled(config(tmp_path))
    with pytest.raises(
        InputError, match=r"has no column 'novel' \(columns: text\); data.group_column names"
    ):
        load_texts(config(tmp_path, group_column="novel"))


def course_lines(count: int) -> str:
    return "".join(f"{i % 5} ||| sentence {i} ||| or so\n" for i in range(count))


def course_table(count: int, labels: bool = True) -> str:
    rows = ["\tid\tsentence" + ("\tsentiment" if labels else "")]
    rows += [
        f'{i}\tx{i}\t"""sentence"" {i}, so"' + (f"\t{i % 5}" if labels else "")
        for i in range(count)
    ]
    return "\n".join(rows)


def test_label_and_sentence_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split, count in (("train", 50), ("dev", 10), ("test", 5)):
        write(tmp_path / f"sst-{split}.txt", course_lines(count) + "\n")
        write(tmp_path / f"cfimdb-{split}.txt", "0 ||| other\n1 ||| corpus\n")
    corpus = load_labelled(config(tmp_path, file_part="sst"))
    assert [len(part.texts) for part in (corpus.train, corpus.validation, corpus.test)] == [
        50, 10, 5,
    ]  # fmt: skip
    assert corpus.test.texts[3] == "sentence 3 ||| or so"
    assert corpus.test.labels.tolist() == [0, 1, 2, 3, 4]
    other = load_labelled(config(tmp_path, file_part="cfimdb"))
    assert list(other.train.texts) == ["other", "corpus"]
    with pytest.raises(InputError, match="ambiguous"):
        load_labelled(config(tmp_path))
    # Another part than any name has is no reason to stop where there is one corpus.
    for file in tmp_path.glob("cf*"):
        file.unlink()
    assert len(load_labelled(config(tmp_path, file_part="imdb")).train.texts) == 50
    assert "no file in" in caplog.text and "has 'imdb' in its name" in caplog.text


def test_the_tables_of_the_course(tmp_path: Path) -> None:
    write(tmp_path / "ids-sst-train.csv", course_table(50))
    write(tmp_path / "ids-sst-dev.csv", course_table(10))
    write(tmp_path / "ids-sst-test-student.csv", course_table(10, labels=False))
    corpus = load_labelled(config(tmp_path, file_part="sst"))
    # The test file of the course has no labels: one is held out of the 50 then.
    assert [len(part.texts) for part in (corpus.train, corpus.validation, corpus.test)] == [
        45, 10, 5,
    ]  # fmt: skip
    assert corpus.validation.texts[3] == '"sentence" 3, so'
    assert corpus.validation.labels.tolist() == [i % 5 for i in range(10)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 ||| good\nbad line\n", "line 2: found 'bad line', expected 'label [|]{3} text'"),
        (b"1 ||| good\n\n ||| bad\n", "line 3: found '[|]{3} bad', expected"),
        (b"1 ||| good\n0 ||| caf\xe9\n", "line 2: byte 0xe9 is not UTF-8"),
    ],
)
def test_flaws_of_lines_are_told_with_their_place(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "train.txt").write_bytes(content)
    for path in (tmp_path, tmp_path / "train.txt"):
        with pytest.raises(InputError, match=f"train.txt {message}"):
            load_labelled(config(path))


def test_a_text_that_is_not_utf8_is_told_with_its_place(folders: Path) -> None:
    (folders / "test" / "pos" / "9.txt").write_bytes(b"one line\nthe next \xff\n")
    with pytest.raises(InputError, match=r"9.txt line 2: byte 0xff is not UTF-8"):
        load_labelled(config(folders))
