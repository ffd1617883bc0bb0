"""Rows to classify: every column is kept, and a bad row is told with its line and is not lost."""

from pathlib import Path

import numpy as np
import pytest

from jaxattn.data.read.stream import Record, Records
from jaxattn.errors import InputError


def records(path: Path, content: bytes, column: str = "text") -> list[Record]:
    path.write_bytes(content)
    return list(Records(str(path), column))


def test_a_table_with_every_kind_of_bad_row(tmp_path: Path) -> None:
    rows = [
        b"id,text",
        b'1,"good, quoted"',
        b"2,",
        b'3,"two',
        b'lines"',
        b"4,bad\xff",
        b"5,too,many",
        b"6",
        b"",
        b'7,"never closed',
        b"8,last",
    ]
    found = records(tmp_path / "a.csv", b"\n".join(rows) + b"\n")
    assert [row.number for row in found] == [2, 3, 4, 6, 7, 8, 10, 11]
    assert [row.text for row in found] == ["good, quoted", "", "two\nlines", "", "", "", "", "last"]
    assert [row.cells["id"] for row in found] == ["1", "2", "3", "4", "5", "6", "", "8"]
    errors = [row.error for row in found]
    assert not any((errors[0], errors[2], errors[7]))
    assert errors[1] == "the text is empty"
    assert "0xff is not UTF-8" in errors[3]
    assert errors[4] == (
        "3 cells, the header has 2; left over: ['many']; a cell that holds a comma needs quotes"
    )
    assert errors[5] == "1 cell, the header has 2; the row may be cut"
    # The quote swallows nothing but its own line, which is kept as it stood.
    assert found[6].cells["text"] == '7,"never closed'
    assert "a quote opens here and is never closed" in errors[6]


def test_json_lines_keep_what_cannot_be_read(tmp_path: Path) -> None:
    lines = [b'{"text": "a", "n": {"x": 1}}', b'{"text"', b"", b'{"text": null, "n": 2}', b"[1]"]
    lines += [b'{"txt": "b"}', b'{"text": "\\ud800"}', b'{"text": 5}', b'{"text": "\xfe"}']
    found = records(tmp_path / "a.jsonl", b"\n".join(lines))
    assert [row.number for row in found] == [1, 2, 4, 5, 6, 7, 8, 9]
    assert found[0] == Record(1, {"text": "a", "n": {"x": 1}}, "a")
    assert all(row.error for row in found[1:])
    assert found[1].cells == {"text": '{"text"'}
    assert found[2].cells == {"text": None, "n": 2}
    assert "'txt'" in found[4].error
    assert Records(str(tmp_path / "a.jsonl"), "text").json_columns() == ("text", "n", "txt")


def test_columns_are_joined_as_in_training(tmp_path: Path) -> None:
    table = b"title,body\nOne,two three\n,alone\n,\n"
    found = records(tmp_path / "a.csv", table, "title+body")
    assert [row.text for row in found] == ["One two three", "alone", ""]
    with pytest.raises(InputError, match="no column 'bodi'; did you mean 'body'"):
        Records(str(tmp_path / "a.csv"), "title+bodi")
    objects = b'{"title": "One", "body": "two"}\n{"title": "One"}\n'
    found = records(tmp_path / "a.jsonl", objects, "title+body")
    assert [row.text for row in found] == ["One two", ""]
    assert "no text in 'body'" in found[1].error


def test_lines_of_text_and_tabs(tmp_path: Path) -> None:
    found = records(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\n\ntwo")
    assert [(row.number, row.text, bool(row.error)) for row in found] == [
        (1, "one", False),
        (2, "", True),
        (3, "two", False),
    ]
    assert [row.text for row in records(tmp_path / "a.tsv", b"text\tx\na,b\tc\n")] == ["a,b"]


def test_parquet_is_read_in_batches(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    texts = [None if i == 1500 else f"text {i}" for i in range(2100)]
    table = pyarrow.table({"id": np.arange(2100), "text": texts})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    source = Records(str(tmp_path / "a.parquet"), "text")
    found = list(source)
    assert [row.number for row in found if row.error] == [1501]
    assert [row.cells["id"] for row in found] == list(range(2100))
    assert source.schema == table.schema
    assert source.share == 1.0


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"id,txt\n1,x\n", "line 1 has no column 'text'.*did you mean 'txt'"),
        ("a.csv", b"text,text\nx,y\n", "two columns are called 'text'"),
        ("a.json", b"[1,", "line 1: not JSON"),
        ("a.xlsx", b"PK", "ends in '.xlsx': save the sheet as CSV"),
        ("a.parquet", b"PAR1", "is no Parquet file"),
    ],
)
def test_a_file_that_cannot_serve_at_all(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        Records(str(tmp_path / name), "text")
