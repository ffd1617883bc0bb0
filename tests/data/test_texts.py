"""Texts in a buffer behave like a list of texts, on disk as in memory."""

import numpy as np
import pytest

from jaxattn.data.texts import Texts, TextsWriter

WORDS = ["plain", "", "Müller ☃ 日本", "two\nlines", "🎈" * 50, "plain"]


def written(texts: list[str], in_memory: int) -> Texts:
    writer = TextsWriter(in_memory)
    for text in texts:
        writer.append(text)
    return writer.finish()


@pytest.mark.parametrize("in_memory", [10**6, 20, 0])
def test_it_is_a_sequence(in_memory: int) -> None:
    texts = written(WORDS, in_memory)
    assert texts == WORDS and list(texts) == WORDS and len(texts) == 6
    assert texts[2] == WORDS[2] and texts[1:4] == WORDS[1:4] and texts[np.int64(5)] == "plain"
    assert texts != WORDS[:5] and texts != [*WORDS[:5], "other"]
    assert texts.byte_lengths.tolist() == [len(word.encode()) for word in WORDS]
    assert bytes(texts.encoded(2)) == WORDS[2].encode()
    assert Texts.of(texts) is texts and Texts.of(WORDS) == WORDS


@pytest.mark.parametrize("in_memory", [10**6, 20])
def test_taking_and_joining(in_memory: int) -> None:
    texts, more = written(WORDS, in_memory), written(["x", "y"], in_memory)
    chosen = texts.take(np.array([5, 2, 2]))
    assert chosen == ["plain", WORDS[2], WORDS[2]]
    joined = Texts.joined([chosen, more, texts.take(np.zeros(0, int)), texts])
    assert joined == [*chosen, "x", "y", *WORDS]
    assert joined.take(np.array([4, 3])) == ["y", "x"]
    assert Texts.joined([]) == [] and written([], in_memory) == []


def test_half_of_a_surrogate_pair_is_refused_and_leaves_nothing() -> None:
    writer = TextsWriter()
    writer.append("a")
    with pytest.raises(UnicodeEncodeError):
        writer.append("\ud800")
    writer.append("b")
    assert writer.finish() == ["a", "b"]
