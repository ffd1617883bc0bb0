"""What --mode=predict reads: the column, or the columns, that training read."""

import pytest

from jaxattn.errors import InputError
from jaxattn.modes.predict import read_texts


def test_joined_columns(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("title,body\nOne,two three\n,alone\n")
    assert list(read_texts(str(table), "title+body")) == ["One two three", "alone"]
    assert list(read_texts(str(table), "title")) == ["One", ""]
    objects = tmp_path / "a.jsonl"
    objects.write_text('{"title": "One", "body": "two"}\n{"title": "One"}\n')
    texts = read_texts(str(objects), "title+body")
    assert next(texts) == "One two"
    with pytest.raises(InputError, match=r"line 2: expected an object with a text in 'title.body'"):
        next(texts)
    with pytest.raises(InputError, match="no column 'bodi'; .* did you mean 'body'"):
        list(read_texts(str(table), "title+bodi"))
