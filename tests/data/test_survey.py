"""Counts of a survey against counting by hand."""

import numpy as np

from jaxattn.config import TokenizerConfig
from jaxattn.data.survey import (
    Lengths,
    contradictions,
    duplicates,
    markup,
    measure_lengths,
    normalised,
)
from jaxattn.data.tokens.wordpiece import train_wordpiece


def test_lengths_and_what_is_lost() -> None:
    lengths = np.arange(1, 101)
    found = Lengths(lengths, 0.25).summary(90)
    assert found["percentiles"] == {"5": 5, "25": 25, "50": 50, "75": 75, "95": 95, "99": 99}
    assert (found["mean"], found["longest"], found["tokens"]) == (50.5, 100, 5050)
    assert found["truncated_share"] == 0.1 and found["unknown_share"] == 0.25
    assert found["lost_token_share"] == sum(range(1, 11)) / 5050


def test_measuring_is_encoding_without_cutting() -> None:
    tokenizer = train_wordpiece(["ab cd"] * 3, TokenizerConfig(vocab_size=100))
    found = measure_lengths(tokenizer, ["ab", "ab cd ☃", "", "cd " * 1000])
    assert found.tokens.tolist() == [3, 5, 2, 1002]
    assert found.unknown_share == 1 / 1004


def test_duplicates_by_hand() -> None:
    splits = {
        "train": ["a", "a", "A ", "b\n c", "d"],
        "validation": ["e", "b c"],
        "test": ["a", "E", "d", "d", "f"],
    }
    rows = {row["where"]: (row["exact"], row["normalised"]) for row in duplicates(splits)}
    assert rows == {
        "within train": (1, 2),
        "train / validation": (0, 1),
        "train / test": (2, 2),
        "validation / test": (0, 1),
        "train + validation / test": (2, 3),
    }
    assert len(duplicates({"train": ["a"], "validation": ["b"]})) == 2
    assert normalised(" Ä\tB\n\nc ") == "ä b c"


def test_contradictions_are_texts_with_two_labels() -> None:
    texts = ["a", "b", "a", "b", "c", "c", "c"]
    assert contradictions(texts, np.array([0, 1, 1, 1, 0, 1, 2], np.int32)) == 2


def test_mark_up_that_was_left_in_is_found() -> None:
    assert markup(["it&#39;s", "a < b and c > d", "AT&T; #1; issue #12, C#", "plain"]) == (
        0.25, "&#39;"
    )  # fmt: skip
    assert markup(["so #39;it is", "<br />", "<div class='x'>y</div>", "&quot;"])[0] == 1.0
    assert markup([]) == (0.0, "")
