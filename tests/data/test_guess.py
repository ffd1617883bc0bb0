"""Which columns of people's tables are read; the tables are made up."""

import pytest

from jaxattn.data.corpora.guess import guess_columns, guess_length
from jaxattn.errors import InputError

LONG = [f"the {n}th kettle was warm and came in time for tea" for n in range(20)]
OTHER = [f"nothing to say of number {n}, it is what it is" for n in range(20)]
HALF = ["ham", "spam"] * 10


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        ({"text": LONG, "label": HALF}, "text", "label"),
        ({"v1": HALF, "v2": LONG, "": [None] * 20}, "v2", "v1"),
        ({"Class Index": [1, 2] * 10, "Title": ["a b"] * 20, "Description": LONG}, "Description",
         "Class Index"),
        ({"id": list(range(20)), "was": LONG, "kind": HALF}, "was", "kind"),
        ({"reviewText": LONG, "summary": ["nice"] * 20, "rating": [1, 5] * 10}, "reviewText",
         "rating"),
        ({"text": LONG, "label": [0, 1] * 10, "label_text": HALF}, "text", "label"),
        ({"text": LONG, "label": [0] * 20}, "text", "label"),
        ({"sentence": LONG, "score": [n / 10 for n in range(20)], "tone": HALF}, "sentence",
         "tone"),
    ],
)  # fmt: skip
def test_columns_are_recognised(columns: dict, text: str, label: str) -> None:
    found = guess_columns(columns, "f.csv")
    assert (found.text, found.label) == (text, label)
    assert len(found.reasons) == 2


def test_what_is_given_is_not_guessed() -> None:
    columns = {"a": LONG, "b": OTHER, "x": HALF, "y": HALF[::-1]}
    assert guess_columns(columns, "f.csv", text="b", label="x") == ("b", "x", ())
    assert guess_columns({"text": LONG}, "f.csv", labelled=False).label == ""


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"one": LONG, "two": OTHER, "label": HALF}, r'may be the text .*text_column="one\+two"'),
        ({"n": [1, 2] * 10, "label": [0, 1] * 10}, "no column holds text .*text_column"),
        ({"text": LONG, "label": HALF, "topic": ["a", "a", "b", "b"] * 5},
         "several columns may be the label .*label_column='label'"),
        ({"text": LONG, "colour": HALF, "size": ["s", "s", "m", "l"] * 5},
         "several columns may be the label .*'colour', 'size'"),
        ({"text": LONG, "id": list(range(20))}, "no column looks like a label .*label_column"),
    ],
)  # fmt: skip
def test_what_is_uncertain_is_asked(columns: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        guess_columns(columns, "f.csv")


def test_lengths_hold_nearly_all_texts() -> None:
    assert guess_length([]) == 128
    assert guess_length(["two words"] * 100) == 32
    assert guess_length(["word " * 80] * 95 + ["word " * 5000] * 5) == 1024
    assert guess_length(["word " * 80] * 99 + ["word " * 5000]) == 128
    assert guess_length(["字" * 200] * 10) == 256
