"""The tokenizer: the same file every time, BERT's behaviour, exact cutting, errors by name."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from jaxattn.config import TokenizerConfig
from jaxattn.data.tokens.arrays import SPECIAL_TOKENS, special_ids
from jaxattn.data.tokens.encode import (
    EncodeStats,
    encode,
    encode_pieces,
    unknown_advice,
    unknown_warning,
)
from jaxattn.data.tokens.wordpiece import (
    load_tokenizer,
    save_tokenizer,
    tokenizer_from_json,
    train_wordpiece,
)
from jaxattn.errors import InputError

ROOT = Path(__file__).parents[2]


def made_up_texts(count: int = 400) -> list[str]:
    """Texts of words from syllables: many pairs are equally frequent, so ties abound."""
    rng = random.Random(0)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiouäé"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(600)]
    return [
        " ".join(rng.choices(words, k=rng.randint(3, 40))).capitalize() + rng.choice(".!?…")
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece(made_up_texts(), TokenizerConfig(vocab_size=500, strip_accents="true"))


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from test_wordpiece import *
texts = made_up_texts()
random.Random({order}).shuffle(texts)
options = TokenizerConfig(vocab_size=500, strip_accents="true")
save_tokenizer(train_wordpiece(texts, options), {target!r})
"""


def test_two_processes_write_the_same_bytes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    files = []
    for number, threads in ((1, "false"), (2, "true"), (3, "true")):
        target = tmp_path / str(number) / "tokenizer.json"
        target.parent.mkdir()
        folder = str(Path(__file__).parent)
        script = SCRIPT.format(folder=folder, order=number, target=str(target))
        extra = {"PYTHONHASHSEED": str(number), "TOKENIZERS_PARALLELISM": threads}
        environment = {**os.environ, **extra, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", script], env=environment, check=True)
        assert [path.name for path in target.parent.iterdir()] == ["tokenizer.json"]
        files.append(target.read_bytes())
    # The order of the texts differs between the three, and from that of the fixture.
    assert files[0] == files[1] == files[2] == tokenizer.to_str().encode()


def test_vocabulary(tokenizer: Tokenizer) -> None:
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    assert sorted(vocab.values()) == list(range(500))
    assert special_ids(tokenizer) == (0, 1, 2, 3, 4)
    by_id = sorted(vocab, key=vocab.get)
    assert by_id[:5] == list(SPECIAL_TOKENS)
    characters = [token for token in by_id if len(token.removeprefix("##")) == 1]
    assert (
        by_id[5 : 5 + len(characters)]
        == characters
        == sorted(characters, key=lambda token: (len(token), token))
    )
    # Lower case without accents; punctuation never continues a word.
    assert "a" in vocab and "##a" in vocab and "." in vocab and "##." not in vocab
    assert not set("äéBD") & set(by_id)


@pytest.mark.parametrize("size", [100, 150, 300])
def test_size_is_a_limit_even_for_the_alphabet(size: int) -> None:
    texts = [chr(0x4E00 + i) * (1 + i % 7) for i in range(3000)] + made_up_texts(50)
    trained = train_wordpiece(texts, TokenizerConfig(vocab_size=size, min_frequency=1))
    assert trained.get_vocab_size(with_added_tokens=True) <= size
    assert trained.token_to_id("##a") is not None


def test_case_is_kept_if_asked() -> None:
    config = TokenizerConfig(vocab_size=300, lowercase=False)
    trained = train_wordpiece(["Ärger Über Berlin"] * 5, config)
    assert trained.encode("Berlin").tokens == ["[CLS]", "Berlin", "[SEP]"]
    assert trained.decode(trained.encode("Ärger Über").ids) == "Ärger Über"


def test_training_needs_characters() -> None:
    with pytest.raises(InputError, match="no characters"):
        train_wordpiece(["  ", "\n"], TokenizerConfig())


def test_encode_wraps_truncates_and_counts(tokenizer: Tokenizer) -> None:
    texts = ["ba ba ba", "ba " * 50, "☃ ba", ""]
    tokens, stats = encode(tokenizer, texts, 12)
    ba = tokenizer.token_to_id("ba")
    assert tokens[0].tolist() == [2, ba, ba, ba, 3]
    assert tokens[1].tolist() == [2, *[ba] * 10, 3]
    assert tokens[2].tolist() == [2, 1, ba, 3]
    assert tokens[3].tolist() == [2, 3]
    assert stats == EncodeStats(5 + 12 + 4 + 2, 1 / 55, 1 / 4)
    assert encode(tokenizer, ["ba " * 10], 12)[1].truncated_share == 0
    assert len(encode(tokenizer, [], 12)[0]) == 0


def test_what_is_cut_off(tokenizer: Tokenizer) -> None:
    words = [" ".join(["ba"] * 4 + ["di"] * 30 + ["☃"] * 6), "ba di"]
    ba, di, unknown = tokenizer.token_to_id("ba"), tokenizer.token_to_id("di"), 1
    kept = {
        "head": [ba] * 4 + [di] * 6,
        "tail": [di] * 4 + [unknown] * 6,
        "head_tail": [ba] * 2 + [di] * 2 + [unknown] * 6,
    }
    for truncate, expected in kept.items():
        rows, stats = encode(tokenizer, words, 12, truncate=truncate)
        assert rows[0].tolist() == [2, *expected, 3] and rows[1].tolist() == [2, ba, di, 3]
        assert rows.lengths.tolist() == [12, 4] and rows[0].dtype == np.int32
        assert stats.truncated_share == 0.5


def test_special_tokens_in_a_text_are_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path / "tokenizer.json")
    for each in (tokenizer, load_tokenizer(tmp_path, lowercase=True)):
        tokens, _ = encode(each, ["ba [MASK] [SEP][PAD] ba [CLS]"], 64)
        assert not set(tokens[0][1:-1].tolist()) & {0, 2, 3, 4}


def test_encoding_does_not_depend_on_chunks_or_threads(tokenizer: Tokenizer) -> None:
    texts = made_up_texts(1000)
    together, _ = encode(tokenizer, texts, 64)
    alone = [encode(tokenizer, [text], 64)[0][0] for text in texts]
    for row, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(row, expected)


def test_pieces_lose_nothing(tokenizer: Tokenizer) -> None:
    texts = ["".join(made_up_texts()[:n]) for n in (1, 3, 10, 40)] + ["ba"]
    whole, _ = encode(tokenizer, texts, 100_000)
    for max_length in (3, 4, 9, 32, 64, 512):
        pieces, stats = encode_pieces(tokenizer, texts, max_length)
        inner = [pieces[i][1:-1] for i in range(len(pieces))]
        expected = np.concatenate([whole[i][1:-1] for i in range(len(whole))])
        np.testing.assert_array_equal(np.concatenate(inner), expected)
        assert all(pieces[i][0] == 2 and pieces[i][-1] == 3 for i in range(len(pieces)))
        assert pieces.lengths.max() <= max_length
        # Only a text that is short itself makes a short piece.
        assert sum(len(piece) < min(8, (max_length - 2) // 2) for piece in inner) <= 1
        assert stats.tokens == pieces.lengths.sum() and stats.truncated_share == 0
    assert encode_pieces(tokenizer, ["ba " * 62], 32)[0].lengths.tolist() == [32, 26, 10]
    assert encode_pieces(tokenizer, ["ba " * 60, ""], 32)[0].lengths.tolist() == [32, 32, 2]


def test_unknown_warning() -> None:
    assert unknown_warning(EncodeStats(10, 0.05, 0.0), "do this") is None
    told = unknown_warning(EncodeStats(10, 0.075, 0.0), "do this")
    assert told.startswith("7.5% of the tokens are [UNK]") and told.endswith(": do this")


@pytest.mark.parametrize(
    ("options", "size", "inherited", "words"),
    [
        ({}, 400, True, "tokenizer.extend=2000"),
        ({"path": "a/vocab.txt"}, 400, False, "tokenizer.path = a/vocab.txt .* leave"),
        ({"vocab_size": 400}, 400, False, r"a larger tokenizer.vocab_size \(it is 400\)"),
        ({"vocab_size": 500}, 400, False, "lacks characters .* tokenizer.min_frequency=1"),
        ({"kind": "words"}, 400, False, "lacks words .* tokenizer.min_frequency=1"),
        ({"min_frequency": 1}, 400, False, "more training texts .* tokenizer.kind=bytes"),
    ],
)
def test_what_can_still_be_done_of_unknown_words(
    options: dict[str, Any], size: int, inherited: bool, words: str
) -> None:
    assert re.search(words, unknown_advice(TokenizerConfig(**options), size, inherited=inherited))


def test_bert_vocabulary_file(tmp_path: Path) -> None:
    words = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able"]
    (tmp_path / "vocab.txt").write_text("\n".join([*words, "Un", "!"]) + "\n", encoding="utf-8")
    lower = load_tokenizer(tmp_path / "vocab.txt", lowercase=True)
    assert special_ids(lower) == (0, 2, 3, 4, 5)
    assert encode(lower, ["UNAFFABLE!"], 32)[0][0].tolist() == [3, 6, 7, 8, 10, 4]
    cased = load_tokenizer(tmp_path, lowercase=False)
    assert encode(cased, ["Unaffable!"], 32)[0][0].tolist() == [3, 9, 7, 8, 10, 4]


def test_saved_and_loaded_is_the_same(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "tokenizer.json"
    save_tokenizer(tokenizer, path)
    again = load_tokenizer(path, lowercase=False)
    assert again.to_str() == tokenizer.to_str()
    assert tokenizer_from_json(path.read_text(encoding="utf-8")).to_str() == tokenizer.to_str()
    # A file that asks for padding and truncation does not get them.
    changed = tokenizer_from_json(tokenizer.to_str())
    changed.enable_padding(length=50)
    changed.enable_truncation(5)
    assert encode(tokenizer_from_json(changed.to_str()), ["ba " * 10], 40)[0].lengths[0] == 12


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("old", encoding="utf-8")

    class Broken:
        def to_str(self) -> str:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_tokenizer(Broken(), path)
    assert path.read_text(encoding="utf-8") == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (None, b"", "cannot read"),
        ("tokenizer.json", b"{}", "is no tokenizer.json"),
        ("tokenizer.json", b"\xff\xfe", "cannot read"),
        ("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nx\n", r"vocab.txt lacks \[MASK\]; needed"),
        ("vocab.txt", b"a\nb\na\n", "line 3 repeats the token 'a' of line 1"),
    ],
)
def test_unusable_files(tmp_path: Path, name: str | None, content: bytes, message: str) -> None:
    path = tmp_path / (name or "absent.json")
    if name:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_tokenizer(path, lowercase=True)


def test_a_tokenizer_without_special_tokens_is_refused(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    layout = json.loads(tokenizer.to_str())
    del layout["model"]["vocab"]["[SEP]"]
    layout["added_tokens"] = []
    layout["post_processor"] = None
    with pytest.raises(InputError, match=r"my.json lacks \[SEP\]"):
        tokenizer_from_json(json.dumps(layout), "my.json")
    with pytest.raises(InputError, match="neither tokenizer.json nor vocab.txt"):
        load_tokenizer(tmp_path, lowercase=True)
