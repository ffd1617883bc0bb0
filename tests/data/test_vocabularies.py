"""Tokenizers of bytes and of words: exact ids, exact round trips, the same downstream."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxattn.config import TokenizerConfig
from jaxattn.data.tokens.arrays import special_ids
from jaxattn.data.tokens.encode import encode, encode_pieces
from jaxattn.data.tokens.vocabularies import byte_tokenizer, new_tokenizer
from jaxattn.data.tokens.wordpiece import load_tokenizer, save_tokenizer
from jaxattn.errors import InputError

BYTES = byte_tokenizer()


def config(**changes: Any) -> TokenizerConfig:
    return TokenizerConfig(**changes)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=200))
def test_bytes_are_utf8_and_come_back(text: str) -> None:
    ids = BYTES.encode(text, add_special_tokens=False).ids
    assert [i - 5 for i in ids] == list(text.encode())
    assert BYTES.decode(ids) == text


def test_every_byte_has_its_own_id(tmp_path: Path) -> None:
    assert BYTES.get_vocab_size(with_added_tokens=True) == 261
    assert special_ids(BYTES) == (0, 1, 2, 3, 4)
    text = "<br />[MASK] [CLS] Ünï\n\x00\x7f\ufeff😀 " + "".join(map(chr, range(300)))
    made = new_tokenizer([], config(kind="bytes", vocab_size=100))
    save_tokenizer(made, tmp_path / "tokenizer.json")
    for each in (BYTES, made, load_tokenizer(tmp_path, lowercase=True)):
        tokens, stats = encode(each, [text, "", "abc"], 4000)
        assert tokens[0].tolist() == [2, *(5 + b for b in text.encode()), 3]
        assert tokens[1].tolist() == [2, 3] and tokens[2].tolist() == [2, 102, 103, 104, 3]
        assert stats.unknown_share == 0
    assert made.to_str() == BYTES.to_str()


def test_bytes_are_cut_like_any_token() -> None:
    text = "".join(random.Random(0).choices("abc é", k=10_000))
    tokens, stats = encode(BYTES, [text], 4000)
    assert len(tokens[0]) == 4000 and stats.truncated_share == 1
    pieces, _ = encode_pieces(BYTES, [text], 512)
    inner = np.concatenate([pieces[i][1:-1] for i in range(len(pieces))])
    assert bytes((inner - 5).astype(np.uint8)).decode() == text


def test_words_by_frequency(tmp_path: Path) -> None:
    texts = ["[MAX 2 9 [MIN 4 7 ] 0 ]", "[MAX 2 2 ]", "odd"]
    made = new_tokenizer(texts, config(kind="words", lowercase=False))
    words = ["2", "]", "[MAX"]
    assert made.get_vocab() == {
        t: i for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])
    }
    save_tokenizer(made, tmp_path / "tokenizer.json")
    for each in (made, load_tokenizer(tmp_path, lowercase=True)):
        assert encode(each, ["[MAX\t2 9\n]"], 32)[0][0].tolist() == [2, 7, 5, 1, 6, 3]
        assert each.decode([7, 5, 6]) == "[MAX 2 ]"
    every = new_tokenizer(texts[::-1], config(kind="words", lowercase=True, min_frequency=1))
    assert every.get_vocab_size() == 5 + 9 and every.token_to_id("[max") == 7
    many = [f"w{i} w{i}" for i in range(500)]
    assert new_tokenizer(many, config(kind="words", vocab_size=100)).get_vocab_size() == 100


def test_special_tokens_as_words_are_unknown() -> None:
    made = new_tokenizer(["a [MASK] a [MASK]"], config(kind="words", lowercase=False))
    assert made.get_vocab_size() == 6
    assert encode(made, ["a [MASK] [SEP] [PAD]x"], 32)[0][0].tolist() == [2, 5, 1, 1, 1, 3]


def test_words_need_words() -> None:
    with pytest.raises(InputError, match=r"no word .*min_frequency = 2 times"):
        new_tokenizer(["a b", ""], config(kind="words"))
