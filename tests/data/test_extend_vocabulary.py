"""A vocabulary that is extended: what is learned, where it goes, and what it saves."""

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from jaxattn.config import TokenizerConfig
from jaxattn.data.tokens.extend import extended, origins, read_extra_tokens, usage
from jaxattn.data.tokens.learn import WordPieces, learned_tokens
from jaxattn.data.tokens.wordpiece import train_wordpiece
from jaxattn.errors import InputError

GENERAL = ["the cat sat on the mat and the dog ran to the house"] * 20
DOMAIN = [
    f"the {word} of the {other}"
    for word in ("neurotransmitter", "neuron", "axon", "serotonin")
    for other in ("synapse", "synapses", "neurons", "cortex", "naïve β-cell", "serotonin")
] * 3


def base() -> Tokenizer:
    return train_wordpiece([*GENERAL, "bcdefgijklmnpquvwxyz"], TokenizerConfig(vocab_size=100))


def more(count: int, **options: Any) -> TokenizerConfig:
    return TokenizerConfig(extend=count, **options)


def test_words_are_split_as_the_library_splits_them() -> None:
    tokenizer = train_wordpiece(GENERAL + DOMAIN[:5], TokenizerConfig(vocab_size=120))
    pieces = WordPieces(tokenizer.get_vocab(), "##", 100)
    words = {word for text in GENERAL + DOMAIN for word in text.split() if word.isascii()}
    for word in [*words, "a" * 101, "qqq", "xylophone"]:
        if "-" not in word:
            split = pieces.split(word) or ("[UNK]",)
            assert list(split) == tokenizer.encode(word, add_special_tokens=False).tokens


@pytest.mark.parametrize(("count", "found"), [(1, 1), (7, 7), (1000, 13)])
def test_new_ids_follow_and_old_ones_stay(count: int, found: int) -> None:
    """When every word is one token there is nothing left to learn."""
    before = base()
    after = extended(before, DOMAIN, more(count))
    old, new = before.get_vocab(), after.get_vocab()
    assert {token: new[token] for token in old} == old
    size = before.get_vocab_size()
    assert sorted(new[token] for token in new.keys() - old.keys()) == [*range(size, size + found)]
    text = "The cat sat on the mat!"
    assert before.encode(text).ids == after.encode(text).ids


def test_the_first_token_is_the_pair_that_saves_most() -> None:
    pieces = WordPieces({"a", "##a", "##b", "##c"}, "##", 100)
    # ##b ##c occurs 3 + 3 + 2 times, a ##b 5 times.
    assert learned_tokens(pieces, {"abc": 3, "aabc": 3, "acbc": 2, "ab": 2}, 1, 1) == ["##bc"]


def test_a_token_that_later_ones_make_useless_is_no_token() -> None:
    pieces = WordPieces({"x", "##y", "##z", "##w"}, "##", 100)
    assert learned_tokens(pieces, {"xyzw": 10}, 1, 2) == ["##yz"]
    assert learned_tokens(pieces, {"xyzw": 10}, 5, 2) == ["xyzw"]


def from_scratch(pieces: WordPieces, counts: dict[str, int], count: int, least: int) -> list[str]:
    """`learned_tokens` with every word split again and every pair counted again at each step."""
    made: list[str] = []
    while True:
        known = WordPieces({*pieces.vocab, *made}, "##", 100)
        uses: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        for word, frequency in counts.items():
            split = known.split(word) or ()
            for piece in split:
                uses[piece] += frequency
            for pair in itertools.pairwise(split):
                pairs[pair] += frequency
        used = [token for token in made if uses[token] >= least]
        ranked = sorted(pairs, key=lambda pair: (-pairs[pair], pair))
        if len(used) >= count or not ranked or pairs[ranked[0]] < least:
            return used[:count]
        made.append(ranked[0][0] + ranked[0][1].removeprefix("##"))


@pytest.mark.parametrize("seed", range(3))
def test_counting_only_what_changed_equals_counting_everything(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = {
        "".join(rng.choice(list("abcd"), rng.integers(2, 10))): int(rng.integers(1, 20))
        for _ in range(80)
    }
    pieces = WordPieces({*"abcd", *(f"##{c}" for c in "abcd"), "abca", "##cd"}, "##", 100)
    for count in (1, 5, 40, 200):
        found = learned_tokens(pieces, counts, count, 3)
        assert found == from_scratch(pieces, counts, count, 3)


def test_fewer_tokens_and_fewer_unknown_words() -> None:
    before = base()
    after = extended(before, DOMAIN, more(60))
    old, new = usage(before, DOMAIN), usage(after, DOMAIN)
    assert old["unknown_share"] > 0
    assert new["unknown_share"] == 0
    assert new["tokens_per_text"] < 0.6 * old["tokens_per_text"]
    assert "serotonin" in after.get_vocab()
    assert "β" in after.get_vocab()
    # By hand: the [UNK] words, and the tokens of the texts, counted one by one.
    tokens = [before.encode(text, add_special_tokens=False).tokens for text in DOMAIN]
    assert old["tokens_per_text"] == sum(map(len, tokens)) / len(DOMAIN)
    assert old["unknown_share"] == sum(t.count("[UNK]") for t in tokens) / sum(map(len, tokens))


def test_order_and_hash_seed_change_nothing() -> None:
    want = extended(base(), DOMAIN, more(25)).get_vocab()
    assert extended(base(), DOMAIN[::-1], more(25)).get_vocab() == want
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import json, test_extend_vocabulary as t;"
        "print(json.dumps(t.extended(t.base(), t.DOMAIN, t.more(25)).get_vocab()))"
    )
    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(found.stdout) == want


def test_the_pieces_a_new_token_had() -> None:
    before = base()
    after = extended(before, DOMAIN, more(12))
    old, new = before.get_vocab(), after.get_vocab()
    found = origins(before, after)
    names = sorted(new.keys() - old.keys(), key=new.__getitem__)
    assert len(found) == len(names) == 12
    for name, ids in zip(names, found, strict=True):
        pieces = [before.id_to_token(number) for number in ids]
        if name.startswith("##"):
            assert pieces == ["[UNK]"] or "".join(p.removeprefix("##") for p in pieces) == name[2:]
        else:
            assert pieces == before.encode(name, add_special_tokens=False).tokens
    assert origins(before, before) == []
    with pytest.raises(InputError, match="not that of the pretrained run"):
        origins(before, train_wordpiece(DOMAIN, TokenizerConfig(vocab_size=100)))


def test_tokens_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("Serotonin\n\n##ERGIC\ncat\nserotonin\n", encoding="utf-8")
    assert read_extra_tokens(str(path), base()) == ["serotonin", "##ergic", "cat", "serotonin"]
    before = base()
    after = extended(before, DOMAIN, more(3, extra_tokens=str(path)))
    size = before.get_vocab_size()
    assert "cat" in before.get_vocab()
    assert [after.id_to_token(size), after.id_to_token(size + 1)] == ["serotonin", "##ergic"]
    assert after.get_vocab_size() == size + 2 + 3
    tokens = after.encode("Serotoninergic", add_special_tokens=False).tokens
    assert tokens == ["serotonin", "##ergic"]
    for line in ("New York", "c++"):
        path.write_text(f"fine\n{line}\n")
        with pytest.raises(InputError, match=r"words.txt line 2.*expected one"):
            read_extra_tokens(str(path), base())
    with pytest.raises(InputError, match="cannot read"):
        extended(before, DOMAIN, more(0, extra_tokens=str(tmp_path / "none.txt")))


def test_another_kind_of_vocabulary_is_refused() -> None:
    from tokenizers import Tokenizer, models

    plain = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    with pytest.raises(InputError, match="WordLevel"):
        extended(plain, DOMAIN, more(3))
