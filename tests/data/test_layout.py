"""What is found out about a file or folder that nothing was said of."""

from pathlib import Path

import pytest

from jaxattn.config import DataConfig
from jaxattn.data.corpora.layout import find_layout
from jaxattn.data.corpora.splits import load_labelled
from jaxattn.errors import InputError

WORDS = "the quick brown fox jumps over this lazy dog"

# Columns, and which of them are text and label.
TABLES = {
    "text,label": ("text", "label"),
    "id,review,sentiment": ("review", "sentiment"),
    "Class Index,Title,Description": ("Title+Description", "Class Index"),
    "v1,v2,,,": ("v2", "v1"),
    "Sentence,Score": ("Sentence", "Score"),
    "tweet_id,airline_sentiment,retweet_count,tweet": ("tweet", "airline_sentiment"),
    "what,kind": ("what", "kind"),
}

LONG = {"text", "review", "Title", "Description", "v2", "Sentence", "tweet", "what"}


def table(header: str, mark: str = ",", count: int = 60) -> str:
    def cell(name: str, i: int) -> str:
        if name in LONG:
            return f"{WORDS} {i}"
        return str(i) if name.endswith(("id", "count")) else "abc"[i % 3] if name else ""

    rows = (mark.join(cell(name, i) for name in header.split(",")) for i in range(count))
    return "\n".join([header.replace(",", mark), *rows])


@pytest.mark.parametrize("header", TABLES)
def test_columns_of_text_and_label(tmp_path: Path, header: str) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(table(header))
    layout = find_layout(str(file))
    assert (layout.text_column, layout.label_column) == TABLES[header]
    assert layout.splits == {"train": ("mine.csv",)} and not layout.unread and not layout.form
    assert layout.uncertain == {}
    text, label = layout.text_column, layout.label_column
    corpus = load_labelled(DataConfig("mine", str(file), text_column=text, label_column=label))
    assert len(corpus.label_names) == 3
    assert sum(len(part.texts) for part in (corpus.train, corpus.validation, corpus.test)) == 60


def test_splits_form_and_what_is_not_read(tmp_path: Path) -> None:
    for name in ("train", "eval", "other"):
        (tmp_path / f"{name}.csv").write_text(table("content,topic,text_id", ";"))
    layout = find_layout(str(tmp_path))
    assert layout.splits == {"train": ("train.csv",), "validation": ("eval.csv",)}
    assert layout.unread == ("other.csv",) and layout.form == ("separated by semicolons",)
    assert layout.label_column == "topic" and layout.columns == ("content", "topic", "text_id")


def test_texts_that_stand_in_no_table(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for i in range(10):
            (tmp_path / "classes" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "classes" / label / f"{i}.txt").write_text(f"{label} {i}")
    layout = find_layout(str(tmp_path / "classes"))
    assert (layout.text_column, layout.label_column) == ("text", "label")
    sms = tmp_path / "SMSSpamCollection"
    sms.write_text("".join(f"{'spam' if i % 4 == 0 else 'ham'}\t{WORDS} {i}\n" for i in range(40)))
    layout = find_layout(str(sms))
    assert (layout.text_column, layout.label_column) == ("text", "label")
    assert layout.form == ("no header (columns label, text)",)
    lines = tmp_path / "lines.txt"
    lines.write_text("one text\nanother\n")
    layout = find_layout(str(lines))
    assert layout.label_column == "" and layout.form == ("one text a line",)


def test_what_is_uncertain_is_said(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    rows = "".join(f"{WORDS} {i},{'xy'[i % 2]},{'abc'[i % 3]}\n" for i in range(60))
    file.write_text("text,source,shape\n" + rows)
    layout = find_layout(str(file))
    assert layout.label_column == "source"
    assert layout.uncertain == {
        "data.label_column": (
            "the label is taken from 'source'; it might be 'shape'; give "
            "--config.data.label_column=shape or --config.data.label_column=source"
        )
    }
    rows = "".join(f"T {i},{WORDS * 2} {i},{'xy'[i % 2]}\n" for i in range(60))
    file.write_text("title,plot,label\n" + rows)
    layout = find_layout(str(file))
    assert layout.text_column == "title"
    (sentence,) = layout.uncertain.values()
    assert sentence.endswith(
        "'plot' is longer; give --config.data.text_column=plot or --config.data.text_column=title"
    )
    file.write_text("one,two,label\n" + f"{WORDS},{WORDS} again,1\n{WORDS} too,no {WORDS},0\n" * 9)
    (sentence,) = find_layout(str(file)).uncertain.values()
    assert "; give --config.data.text_column=one+two or --config.data.text_column=one" in sentence
    file.write_text("n,label\n" + "".join(f"{i},1\n" for i in range(60)))
    assert find_layout(str(file), DataConfig(text_column="n")).text_column == "n"
    file.write_text("n,label\n" + "".join(f"{i % 3},{WORDS} {i}\n" for i in range(60)))
    assert find_layout(str(file), DataConfig(text_column="label")).label_column == "n"
    # Scores are told before a hold-out fails for want of two texts of a class.
    file.write_text("text,my score\n" + "".join(f"{WORDS} {i},0.{i:02}\n" for i in range(60)))
    given = {"text_column": "text", "label_column": "my score"}
    assert find_layout(str(file), DataConfig(**given)).uncertain == {}
    file.write_text(file.read_text().replace("my score", "Score"))
    (sentence,) = find_layout(str(file)).uncertain.values()
    assert "'Score', which has 60 different values in 60 rows" in sentence
    with pytest.raises(InputError, match="no file or folder"):
        find_layout(str(tmp_path / "absent"))


def test_books_are_not_all_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxattn.data.corpora.layout._CHARACTERS", 1000)
    file = tmp_path / "books.csv"
    file.write_text("text,label\n" + "".join(f"{'word ' * 50} {i},{i % 2}\n" for i in range(60)))
    layout = find_layout(str(file))
    assert len(layout.texts) == 4 and layout.label_column == "label"
