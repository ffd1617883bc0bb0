"""Vocabularies of languages with many characters, and of those whose accents tell words apart."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from jaxattn.config import TokenizerConfig, read_yaml
from jaxattn.data.tokens.accents import stripping
from jaxattn.data.tokens.encode import encode
from jaxattn.data.tokens.wordpiece import load_tokenizer, save_tokenizer, train_wordpiece
from jaxattn.errors import InputError

# 1,500 characters of Chinese, the first 1,300 of them twice.
CHINESE = [chr(0x4E00 + 7 * i) for i in range(1500)]
CHINESE_TEXTS = ["".join(CHINESE[i : i + 30]) for i in range(0, 1500, 30)] + [
    "".join(CHINESE[i : i + 26]) for i in range(0, 1300, 26)
]

VIETNAMESE = [
    "má ơi, con mua một con mèo màu đen ở chợ", "con mà không ngủ thì mẹ buồn lắm",
    "ma quỷ không có thật đâu con ạ", "mạ lúa đã xanh trên đồng ruộng", "cái mả cũ ở sau nhà",
]  # fmt: skip
HINDI = ["यह फ़िल्म बहुत अच्छी है", "कहानी बिल्कुल बेकार थी", "मुझे यह किताब पसंद नहीं आई"]
JAPANESE = ["とても良い映画でした", "ぜんぜんおもしろくなかった", "はば広い話が好きだ"]
ENGLISH = [
    "a naïve plot, and a naive ending", "the café was warm", *["warm soup and cold tea"] * 40,
]  # fmt: skip
GERMAN = ["schöne Bücher für müde Hörer", "ein Käufer fährt über die Brücke"] * 5


def trained(texts: list[str], **options: Any) -> Tokenizer:
    return train_wordpiece(texts, TokenizerConfig(**{"vocab_size": 30_000, **options}))


def cjk_pieces(tokenizer: Tokenizer) -> set[str]:
    return {piece for piece in tokenizer.get_vocab() if ord(piece[-1]) >= 0x3400}


def strips(tokenizer: Tokenizer) -> bool | None:
    return json.loads(tokenizer.to_str())["normalizer"]["strip_accents"]


def test_every_character_that_is_frequent_enough_is_known() -> None:
    made = trained(CHINESE_TEXTS)
    assert cjk_pieces(made) == set(CHINESE[:1300])
    assert encode(made, CHINESE_TEXTS[50:], 64)[1].unknown_share == 0
    # All of them are single characters: none continues a word, and none is seen to be joined.
    assert cjk_pieces(trained(CHINESE_TEXTS, min_frequency=1)) == set(CHINESE)
    few = trained(CHINESE_TEXTS, vocab_size=400)
    assert len(cjk_pieces(few)) == 296 and cjk_pieces(few) <= set(CHINESE[:1300])
    assert trained(CHINESE_TEXTS[::-1]).to_str() == made.to_str()


def test_a_few_characters_in_english_texts_are_as_they_were() -> None:
    made = trained([*["warm soup and cold tea"] * 500, "hello 世界"])
    assert cjk_pieces(made) == {"世", "##世", "界", "##界"}


@pytest.mark.parametrize("texts", [VIETNAMESE, HINDI, JAPANESE])
def test_accents_are_kept_where_they_tell_words_apart(
    texts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = trained(texts, min_frequency=1)
    assert strips(made) is False
    assert "accents and vowel signs are kept" in capsys.readouterr().err
    save_tokenizer(made, tmp_path / "tokenizer.json")
    for each in (made, load_tokenizer(tmp_path, lowercase=True)):
        for text in texts:
            assert each.decode(each.encode(text).ids).replace(" ", "") == (
                text.lower().replace(" ", "")
            )
    assert trained(texts[::-1], min_frequency=1).to_str() == made.to_str()
    assert strips(trained(texts, min_frequency=1, strip_accents="true")) is True


def test_how_an_emoji_is_drawn_is_no_sign() -> None:
    """A heart in colour is a heart and a mark that takes no room."""
    hearts = ["I \u2764\ufe0f this film", "葛\U000e0100城", "1\ufe0f\u20e3"] * 10
    assert stripping(hearts) == (0, 0)
    assert strips(trained(hearts)) is None


def test_words_that_accents_alone_tell_apart() -> None:
    tones = ["ma ma ma", "má má má"] * 10
    assert stripping(tones).lost == 0.5
    made = trained(tones)
    assert made.encode("ma").ids != made.encode("má").ids
    # One word, composed or not.
    assert stripping(["e\u0301t\u00e9", "\u00e9te\u0301"] * 5).lost == 0


@pytest.mark.parametrize("texts", [ENGLISH, GERMAN, ["plain words only"] * 3])
def test_where_nothing_is_lost_they_are_stripped_as_by_bert(texts: list[str]) -> None:
    made = trained(texts)
    # Byte for byte the tokenizer.json of 0.2.0.
    assert strips(made) is None
    assert made.encode("naïve").ids == made.encode("naive").ids
    assert strips(trained(texts, strip_accents="false")) is False
    assert strips(trained(texts, lowercase=False)) is None


def test_the_option_may_be_a_truth_of_yaml(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("tokenizer:\n  strip_accents: true\n")
    assert read_yaml(tmp_path / "config.yaml")[0].tokenizer.strip_accents == "true"
    assert TokenizerConfig(strip_accents=False).strip_accents == "false"  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"tokenizer.strip_accents: found 'no', allowed: auto"):
        TokenizerConfig(strip_accents="no")


def test_a_vocabulary_file_strips_as_it_is_told(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ma", "má"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    for how, ids in (("auto", [5, 5]), ("true", [5, 5]), ("false", [5, 6])):
        made = load_tokenizer(tmp_path, True, how)
        assert made.encode("ma má", add_special_tokens=False).ids == ids
