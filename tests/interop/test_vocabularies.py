"""Vocabularies with the special tokens of RoBERTa: the same ids as `transformers` reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxattn.config import Config, TokenizerConfig, replace
from jaxattn.data.batches.masking import Masking, mask_tokens
from jaxattn.data.batches.order import classification_batch
from jaxattn.data.tokens.arrays import ABSENT, SpecialIds, special_ids
from jaxattn.data.tokens.encode import encode, encode_pieces
from jaxattn.data.tokens.extend import extended, origins, usage
from jaxattn.data.tokens.wordpiece import load_tokenizer, save_tokenizer
from jaxattn.data.tokens.words import continuing
from jaxattn.errors import InputError
from jaxattn.interop.vocabulary import read_vocabulary, write_vocabulary

Trained = Callable[[str, int], Any]
KINDS = ("BPE", "Unigram")
SIZE = {"BPE": 330, "Unigram": 60}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path, trained_tokenizer: Trained) -> Path:
    tokenizer = trained_tokenizer(request.param, SIZE[request.param])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def rows(tokenizer: Any, texts: list[str], length: int) -> list[list[int]]:
    tokens, _ = encode(tokenizer, texts, length)
    return [row.tolist() for row in tokens]


def test_rows_are_those_of_transformers(folder: Path, texts: list[str], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer, lowercase = read_vocabulary(folder)
    assert not lowercase
    special = special_ids(tokenizer)
    assert special == (1, 3, 0, 2, tokenizer.get_vocab_size() - 1)
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>"
    )
    out = tmp_path / "out"
    out.mkdir()
    config = replace(Config(), {"tokenizer.lowercase": False})
    write_vocabulary(out, tokenizer, config, typed=False)
    exported = transformers.AutoTokenizer.from_pretrained(out)
    assert exported.mask_token_id == special.mask
    assert exported.pad_token_id == special.pad
    assert json.loads((out / "tokenizer.json").read_text()) == json.loads(tokenizer.to_str())
    for length in (8, 64, 256):
        wanted = theirs(texts, truncation=True, max_length=length)["input_ids"]
        assert rows(tokenizer, texts, length) == wanted
        assert exported(texts, truncation=True, max_length=length)["input_ids"] == wanted
    tokens, _ = encode(tokenizer, texts, 16)
    batch = classification_batch(tokens, None, np.arange(len(texts)), 16, special.pad)
    padded = exported(texts, truncation=True, max_length=16, padding="max_length")
    np.testing.assert_array_equal(batch["ids"], padded["input_ids"])
    np.testing.assert_array_equal(batch["mask"], np.array(padded["attention_mask"], bool))


def test_saved_and_loaded_it_is_the_same(folder: Path, texts: list[str], tmp_path: Path) -> None:
    tokenizer, _ = read_vocabulary(folder)
    save_tokenizer(tokenizer, tmp_path / "saved.json")
    again = load_tokenizer(tmp_path / "saved.json", lowercase=True)
    assert again.to_str() == tokenizer.to_str()
    assert rows(again, texts, 64) == rows(tokenizer, texts, 64)
    assert origins(tokenizer, again) == []


def test_a_special_token_written_in_a_text_is_text(folder: Path) -> None:
    tokenizer, _ = read_vocabulary(folder)
    special = special_ids(tokenizer)
    (row,) = rows(tokenizer, ["cats </s> <mask><pad> <s>bark"], 64)
    assert (row[0], row[-1]) == (special.cls, special.sep)
    assert not set(row[1:-1]) & {special.pad, special.cls, special.sep, special.mask}


def test_an_mlm_hides_and_draws_no_special_token(folder: Path, texts: list[str]) -> None:
    tokenizer, _ = read_vocabulary(folder)
    special, size = special_ids(tokenizer), tokenizer.get_vocab_size()
    tokens, _ = encode_pieces(tokenizer, texts, 32)
    masking = Masking(0.5, size, special)
    drawn = set()
    for epoch in range(40):
        for index in range(len(tokens)):
            row = tokens[index]
            inputs, positions, targets = mask_tokens(row, masking, seed=1, epoch=epoch, index=index)
            np.testing.assert_array_equal(row[positions], targets)
            assert not set(targets.tolist()) & set(special)
            assert inputs[0] == special.cls and inputs[-1] == special.sep
            drawn |= set(inputs[positions].tolist()) - {special.mask}
    assert not drawn & set(special)
    assert {0, size - 1} & set(special) and len(drawn) > 40


def test_words_begin_where_the_vocabulary_says(folder: Path) -> None:
    tokenizer, _ = read_vocabulary(folder)
    begins = "\u0120" if "merges" in json.loads(tokenizer.to_str())["model"] else "\u2581"
    vocab, continues = tokenizer.get_vocab(), continuing(tokenizer)
    assert continues[vocab["s"]] and not continues[vocab[","]]
    marked = [number for token, number in vocab.items() if token.startswith(begins)]
    assert marked and not continues[marked].any()


def test_what_is_unknown_is_counted_where_something_can_be(folder: Path, texts: list[str]) -> None:
    tokenizer, _ = read_vocabulary(folder)
    _, stats = encode(tokenizer, texts, 64)
    byte_level = "merges" in json.loads(tokenizer.to_str())["model"]
    assert (stats.unknown_share > 0) == (not byte_level)
    assert (usage(tokenizer, texts)["unknown_share"] > 0) == (not byte_level)


def test_such_a_vocabulary_is_not_extended(folder: Path, texts: list[str]) -> None:
    tokenizer, _ = read_vocabulary(folder)
    with pytest.raises(InputError, match=r"tokenizer.extend: .* only a WordPiece vocabulary"):
        extended(tokenizer, texts, TokenizerConfig(extend=3))


def test_bytes_may_do_without_an_unknown_token(trained_tokenizer: Trained, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<s>", "<pad>", "</s>", "<mask>"]
    vocab = {token: number for number, token in enumerate([*names, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(names)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found, _ = read_vocabulary(tmp_path)
    special = special_ids(found)
    assert special == (1, ABSENT, 0, 2, 3)
    assert special.distinct == [0, 1, 2, 3]
    assert SpecialIds(0, 1, 2, 2, 4).distinct == [0, 1, 2, 4]
    tokens, stats = encode(found, ["a猫"], 16)
    assert stats.unknown_share == 0.0 and len(tokens[0]) == 6
    masking = Masking(1.0, len(vocab), special)
    seen = {
        int(token)
        for epoch in range(300)
        for token in mask_tokens(tokens[0], masking, seed=0, epoch=epoch, index=0)[0]
    }
    assert max(seen) > 200 and 1 not in seen


def test_pairs_of_files_are_read_as_transformers_reads_them(
    trained_tokenizer: Trained, texts: list[str], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    trained = trained_tokenizer("BPE", SIZE["BPE"])
    trained.model.save(str(tmp_path))
    vocab = json.loads((tmp_path / "vocab.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps(vocab | {"<mask>": len(vocab)}))
    for prefix_space in (False, True):
        options = {"add_prefix_space": prefix_space}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(options))
        theirs = transformers.RobertaTokenizer(
            str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), **options
        )
        tokenizer, lowercase = read_vocabulary(tmp_path)
        assert not lowercase
        assert (
            rows(tokenizer, texts, 64) == theirs(texts, truncation=True, max_length=64)["input_ids"]
        )


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("strip", [None, False, True])
def test_a_list_of_words_strips_accents_as_its_options_say(
    lowercase: bool, strip: bool | None, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Mà", "Ma", "mà", "ma"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    options = {"do_lower_case": lowercase, "strip_accents": strip}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(options))
    theirs = transformers.BertTokenizer(str(tmp_path / "vocab.txt"), **options)
    tokenizer, lowercases = read_vocabulary(tmp_path)
    assert lowercases == lowercase
    text = "Mà Ma mà ma"
    assert tokenizer.encode(text).ids == theirs(text)["input_ids"]
    is_stripped = lowercase if strip is None else strip
    assert len(set(tokenizer.encode(text).ids)) - 2 == 4 // (1 + lowercase) // (1 + is_stripped)


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(InputError) as error:
        read_vocabulary(folder)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_what_is_taken_for_something_else_is_refused(
    trained_tokenizer: Trained, tmp_path: Path
) -> None:
    from tokenizers import processors

    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"")
    refused(tmp_path, "neither tokenizer.json", "sentencepiece.bpe.model", "AutoTokenizer")
    (tmp_path / "vocab.json").write_text('{"<s>": 0}')
    refused(tmp_path, "vocab.json", "merges.txt")
    (tmp_path / "merges.txt").write_text("a b c\n")
    refused(tmp_path, "vocab.json", "merges.txt")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    refused(tmp_path, "lacks [PAD], [SEP], [MASK]", "<pad>")
    tokenizer = trained_tokenizer("BPE", SIZE["BPE"])
    tokenizer.post_processor = processors.RobertaProcessing(("<pad>", 1), ("<s>", 0))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    refused(tmp_path, "expected <s>, text, </s>")
    trained_tokenizer("BPE", SIZE["BPE"]).save(str(tmp_path / "tokenizer.json"))
    told = {"mask_token": {"content": "[BLANK]", "lstrip": True}}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(told))
    refused(tmp_path, "special_tokens_map.json", "mask_token", "'[BLANK]'", "'<mask>'")
