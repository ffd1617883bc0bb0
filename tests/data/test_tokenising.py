"""Tokenised once: word by word as whole, in one process as in several, kept and checked."""

import os
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from jaxattn.config import TokenizerConfig
from jaxattn.data.tokens import fast, tokenise
from jaxattn.data.tokens.fast import TextEncoder
from jaxattn.data.tokens.tokenise import tokenised
from jaxattn.data.tokens.wordpiece import train_wordpiece

SEED_TEXTS = [
    "the quick brown fox jumps over the lazy dog, again and again; caf\u00e9 na\u00efve!",
    "numbers 1,234.5 and 2020-01-01 (in brackets) [MASK] _under_ it's",
    "Straße ΟΔΟΣ İstanbul ﬁne 日本語 ☃ e\u0301 \u200b",
] * 3


@pytest.fixture(scope="module", params=[True, False], ids=["lowercase", "cased"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    config = TokenizerConfig(vocab_size=220, lowercase=request.param, min_frequency=1)
    return train_wordpiece(SEED_TEXTS, config)


def whole(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    found = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [one.ids for one in found]


def by_words(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    encoder = TextEncoder(tokenizer.to_str(), "uint16")
    assert encoder._by_words
    return [np.frombuffer(raw, np.uint16).tolist() for raw in encoder.encode(texts)]


AWKWARD = [
    "",
    " \n ",
    string.printable,
    "a\x00b\x01c\x0bd\x0ce\x1cf\x1fg\x7fh\x85i\xa0j\u2028k\u3000l\ufeffm\ufffd",
    "no-break\u00a0space\tTAB\r\nCRLF\rCR",
    "[CLS] [SEP][PAD]##a ##",
    "e\u0301 \u0301 a\u0301\u0323 ,\u0301.",
    "x" * 99 + " " + "x" * 100 + " " + "x" * 101,
    "日本a語 a日b ᾳ ß ẞ Σ ΑΣ ς",
]


def test_words_give_what_whole_texts_give(tokenizer: Tokenizer) -> None:
    texts = AWKWARD + SEED_TEXTS
    assert by_words(tokenizer, texts) == whole(tokenizer, texts)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(), max_size=4))
def test_words_give_what_whole_texts_give_for_any_text(
    tokenizer: Tokenizer, texts: list[str]
) -> None:
    assert by_words(tokenizer, texts) == whole(tokenizer, texts)


def test_forgetting_words_changes_nothing(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = by_words(tokenizer, AWKWARD)
    monkeypatch.setattr(fast, "_MOST_WORDS", 10)
    monkeypatch.setattr(fast, "_WORDS_AT_A_TIME", 3)
    encoder = TextEncoder(tokenizer.to_str(), "uint16")
    found = [raw for text in AWKWARD for raw in encoder.encode([text])]
    assert [np.frombuffer(raw, np.uint16).tolist() for raw in found] == expected


def test_a_tokenizer_that_joins_words_is_not_taken_apart(tokenizer: Tokenizer) -> None:
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    assert not TextEncoder(Tokenizer(models.BPE()).to_str(), "uint16")._by_words
    other = Tokenizer.from_str(tokenizer.to_str())
    other.pre_tokenizer = pre_tokenizers.Metaspace()
    assert not TextEncoder(other.to_str(), "uint16")._by_words
    other = Tokenizer.from_str(tokenizer.to_str())
    other.add_tokens([AddedToken("quick brown")])
    assert not TextEncoder(other.to_str(), "uint16")._by_words
    texts = ["the quick brown fox", "quick  brown"]
    found = tokenised(other, texts, None)
    assert [found[i].tolist() for i in range(2)] == whole(other, texts)


def corpus(count: int = 300) -> list[str]:
    rng = np.random.default_rng(0)
    words = " ".join(SEED_TEXTS).split()
    return [" ".join(rng.choice(words, rng.integers(0, 60))) for _ in range(count)]


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenise, "_WORTH_CACHING", 0)
    monkeypatch.setattr(tokenise, "_CHUNK", 2000)


def test_kept_and_found_again(
    tokenizer: Tokenizer, tmp_path: Path, small_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = corpus()
    first = tokenised(tokenizer, texts, tmp_path)
    assert [first[i].tolist() for i in range(len(texts))] == whole(tokenizer, texts)
    assert first[0].dtype == np.int32 and first.ids.dtype == np.uint16
    with monkeypatch.context() as patch:
        patch.setattr(tokenise, "_written", lambda *_: pytest.fail("tokenised again"))
        again = tokenised(tokenizer, texts, tmp_path)
    np.testing.assert_array_equal(first.ids, again.ids)
    # Other texts, the same ones in another order, and another vocabulary are something else.
    tokenised(tokenizer, texts[::-1], tmp_path)
    other = train_wordpiece(SEED_TEXTS, TokenizerConfig(vocab_size=150, min_frequency=1))
    tokenised(other, texts, tmp_path)
    assert len(list((tmp_path / "tokens").iterdir())) == 3


def test_texts_that_are_only_cut_elsewhere_are_others(
    tokenizer: Tokenizer, tmp_path: Path, small_limits: None
) -> None:
    assert len(tokenised(tokenizer, ["ab", "c"], tmp_path)) == 2
    found = tokenised(tokenizer, ["a", "bc"], tmp_path)
    assert [found[i].tolist() for i in range(2)] == whole(tokenizer, ["a", "bc"])


@pytest.mark.parametrize("file", ["ids.bin", "offsets.bin", "meta.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_what_was_damaged_is_made_again(
    tokenizer: Tokenizer, tmp_path: Path, small_limits: None, file: str, harm: str
) -> None:
    texts = corpus(50)
    expected = np.array(tokenised(tokenizer, texts, tmp_path).ids)
    path = next((tmp_path / "tokens").iterdir()) / file
    raw = bytearray(path.read_bytes())
    path.unlink()
    if harm != "remove":
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw if harm == "flip" else raw[:-3])
    np.testing.assert_array_equal(tokenised(tokenizer, texts, tmp_path).ids, expected)
    assert len(list((tmp_path / "tokens").iterdir())) == 1


def test_what_is_cut_short_while_it_is_used_kills_nobody(
    tokenizer: Tokenizer, tmp_path: Path, small_limits: None
) -> None:
    texts = corpus(50)
    found = tokenised(tokenizer, texts, tmp_path)
    base = found.ids
    while isinstance(base, np.ndarray):
        # A page of a mapped file that is gone ends the process.
        assert not isinstance(base, np.memmap)
        base = base.base
    expected = np.array(found.ids)
    os.truncate(next((tmp_path / "tokens").iterdir()) / "ids.bin", 0)
    np.testing.assert_array_equal(found.ids, expected)


def test_small_texts_are_not_kept(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenised(tokenizer, corpus(50), tmp_path)
    assert not list(tmp_path.iterdir())
    assert len(tokenised(tokenizer, [], tmp_path)) == 0
    assert tokenised(tokenizer, ["", ""], None).lengths.tolist() == [0, 0]


PROGRAM = """
import sys
import numpy as np
from jaxattn.data.tokens import tokenise
from jaxattn.data.tokens.wordpiece import load_tokenizer

if __name__ == "__main__":
    tokenise._WORTH_PROCESSES, tokenise._CHUNK = int(sys.argv[2]), 2000
    texts = open(sys.argv[1] + "/texts.txt", encoding="utf-8").read().split("|")
    found = tokenise.tokenised(load_tokenizer(sys.argv[1], True), texts, None)
    np.save(sys.argv[3], np.concatenate([found.offsets, found.ids]))
"""


def test_several_processes_give_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    texts = corpus()
    (tmp_path / "texts.txt").write_text("|".join(texts), encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    (tmp_path / "program.py").write_text(PROGRAM)
    found = []
    for worth, seed in ((0, "1"), (10**9, "2")):
        out = tmp_path / f"{seed}.npy"
        command = [sys.executable, tmp_path / "program.py", str(tmp_path), str(worth), str(out)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
        found.append(np.load(out))
    np.testing.assert_array_equal(*found)
    assert found[0][-1] == whole(tokenizer, texts)[-1][-1]
