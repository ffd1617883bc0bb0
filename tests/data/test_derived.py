"""What options make of texts: mark-up, joined columns, keywords, groups; from files and the hub."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxattn.config import DataConfig
from jaxattn.data.corpora.sources import open_source
from jaxattn.data.corpora.splits import load_texts
from jaxattn.data.read.columns import Keywords, group_of, without_breaks, without_html
from jaxattn.data.read.tables import Row
from jaxattn.errors import InputError


def test_breaks_become_lines_and_nothing_else_changes() -> None:
    assert without_breaks("a<br /><br>b <BR/>c <b>d</b> &amp;") == "a\n\nb \nc <b>d</b> &amp;"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ('<p>One <a href="x">link</a>,\n two&#160;&amp; more.</p><p>Next</p>',
         "One link,\ntwo & more.\nNext"),
        ("a < b and c > d, 3<4", "a < b and c > d, 3<4"),
        ("x<!-- <p>hidden</p> -->y<script>if (a<b) {}</script>z", "x y z"),
        ("&lt;p&gt; stays text", "<p> stays text"),
        ("plain", "plain"),
    ],
)  # fmt: skip
def test_html_becomes_what_a_reader_sees(markup: str, text: str) -> None:
    assert without_html(markup) == text


def test_keywords_are_whole_words_in_any_case_in_the_beginning() -> None:
    keywords = Keywords(("film", "science"), 30)
    assert keywords.in_text("A FILM.") and keywords.in_text("science-based")
    assert not keywords.in_text("films") and not keywords.in_text("neuroscience")
    assert not keywords.in_text("x" * 30 + " film") and not keywords.in_text(None)
    assert Keywords((), 10).in_text("anything")


def test_a_web_address_stands_for_its_host() -> None:
    cells = ("https://www.Example.com/a/b?c", " Emma ", 7, 7.0, " ", None)
    groups = [group_of(Row("line", 1, {"group": cell}), "group") for cell in cells]
    assert groups == ["example.com", "Emma", "7", "7", None, None]


ROWS = [
    {"title": "Film one", "body": "A <b>long</b><br /> story", "url": "http://a.org/1", "y": 0},
    {"title": "Sport", "body": "no keyword here", "url": "http://www.a.org/2", "y": 1},
    {"title": "", "body": "about science", "url": "http://b.org/3", "y": 0},
    {"title": "The film", "body": "", "url": None, "y": 1},
    {"title": "Films", "body": "none", "url": "http://b.org/4", "y": 1},
]
OPTIONS = {
    "name": "mine", "text_column": "body+title", "label_column": "y", "group_column": "url",
    "keywords": ("film", "science"), "clean": "html",
}  # fmt: skip


def write_rows(folder: Path, ending: str) -> Path:
    import pyarrow
    import pyarrow.parquet

    file = folder / f"train.{ending}"
    if ending == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), file)
    elif ending == "jsonl":
        file.write_text("\n".join(map(json.dumps, ROWS)))
    else:
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(ROWS[0]))
            writer.writeheader()
            writer.writerows(ROWS)
    return folder


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_every_format_takes_every_option(tmp_path: Path, ending: str) -> None:
    write_rows(tmp_path, ending)
    for origin in ({"path": str(tmp_path)}, {"hub": str(tmp_path)},
                   {"hub": str(tmp_path), "streaming": True}):  # fmt: skip
        rows = open_source(DataConfig(**OPTIONS, **origin)).read("train", ())
        assert list(rows.texts) == ["A long\nstory Film one", "about science"]
        assert [int(label) for label in rows.labels] == [0, 0]
        assert list(rows.groups) == ["a.org", "b.org"]
        titled = DataConfig(
            **OPTIONS | {"keyword_column": "title", "text_column": "body"}, **origin
        )
        assert list(open_source(titled).read("train", ()).texts) == ["A long\nstory"]


@pytest.mark.parametrize("origin", ["path", "hub"])
def test_a_column_that_is_not_there_is_told(tmp_path: Path, origin: str) -> None:
    write_rows(tmp_path, "jsonl")
    for changes, name in (
        ({"text_column": "body+titel"}, "titel"), ({"group_column": "publisher"}, "publisher"),
        ({"keyword_column": "titles"}, "titles"),
    ):  # fmt: skip
        for streaming in (False, True):
            data = DataConfig(**OPTIONS | changes | {origin: str(tmp_path), "streaming": streaming})
            with pytest.raises(InputError, match=f"has no column {name!r}"):
                open_source(data).read("train", ())


def test_a_group_must_be_a_value(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "a", "g": [1]}')
    with pytest.raises(InputError, match=r"train.jsonl line 1: 'g' is \[1\] \(a list of 1\)"):
        open_source(DataConfig("mine", str(tmp_path), group_column="g")).read("train", ())


def test_streaming_fetches_no_more_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    fetched = []

    def rows() -> Iterator[dict[str, str]]:
        for number in range(10_000):
            fetched.append(number)
            yield {"text": " " if number % 4 == 0 else f"text {number}"}

    stream = datasets.IterableDatasetDict({"train": datasets.IterableDataset.from_generator(rows)})
    asked = {}
    monkeypatch.setattr("jaxattn.data.read.hub.silence", lambda: "")
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *args, **kwargs: asked.update(kwargs) or stream
    )
    data = DataConfig("mine", hub="some/set", hub_revision="v1", streaming=True, max_examples=30)
    texts = load_texts(data)
    assert asked == {"revision": "v1", "streaming": True}
    # Every fourth row is empty: 40 rows hold 30 texts, of which a tenth is held out.
    assert len(texts.train) + len(texts.validation) == 30 and set(fetched) == set(range(40))
