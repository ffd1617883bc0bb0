"""ListOps: values against another evaluator, the published bounds, the same everywhere."""

import hashlib
import itertools
import statistics
from pathlib import Path

import numpy as np
import pytest

from jaxattn.config import DataConfig, TokenizerConfig
from jaxattn.data.corpora import listops
from jaxattn.data.corpora.listops import WORDS, Expressions, expressions, in_memory, listops_file
from jaxattn.data.corpora.splits import load_labelled, load_texts
from jaxattn.data.tokens.encode import encode
from jaxattn.data.tokens.vocabularies import new_tokenizer

OPERATORS = {
    "[MAX": max,
    "[MIN": min,
    "[MED": lambda values: int(statistics.median(values)),
    "[SM": lambda values: sum(values) % 10,
}


def value_and_depth(text: str) -> tuple[int, int]:
    """By a stack, token by token; a broken expression raises."""
    stack = [(None, [])]
    deepest = 0
    for token in text.split(" "):
        if token in OPERATORS:
            stack.append((token, []))
            deepest = max(deepest, len(stack))
        elif token == "]":
            operator, values = stack.pop()
            assert 2 <= len(values) <= 10
            stack[-1][1].append(OPERATORS[operator](values))
        else:
            assert token in "0123456789" and len(token) == 1
            stack[-1][1].append(int(token))
    ((_, (value,)),) = stack
    return value, deepest


def test_the_evaluator_of_the_test() -> None:
    assert value_and_depth("[MAX 4 3 [MIN 2 3 ] 1 0 ]") == (4, 3)
    assert value_and_depth("[SM 9 9 [MED 1 2 3 4 ] ]") == (0, 3)


@pytest.fixture(scope="module")
def portion() -> Expressions:
    return next(expressions("train"))


def test_values_lengths_and_depth(portion: Expressions) -> None:
    depths = []
    for index, value in enumerate(portion.values.tolist()):
        text = portion.text(index)
        found, depth = value_and_depth(text)
        assert found == value
        assert 500 <= len(text.split()) <= 2000
        depths.append(depth)
    # Operations stand on nine levels, digits on a tenth.
    assert max(depths) == 10 and len(depths) > 500


def test_shares_of_operators_digits_and_arguments(portion: Expressions) -> None:
    counts = np.bincount(portion.tokens, minlength=15)
    operations = counts[10:14].sum()
    assert operations == counts[14]
    np.testing.assert_allclose(counts[10:14] / operations, 0.25, atol=0.005)
    np.testing.assert_allclose(counts[:10] / counts[:10].sum(), 0.1, atol=0.002)
    # 2 to 10 arguments, each as often: 6 on average, before lengths are chosen.
    nodes = operations + counts[:10].sum()
    assert (nodes - len(portion.values)) / operations == pytest.approx(6, abs=0.1)
    assert set(portion.values.tolist()) == set(range(10))


def test_the_same_everywhere(portion: Expressions) -> None:
    digest = hashlib.sha256(portion.tokens.tobytes() + portion.values.astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "c2a210666c101725"
    first = {split: next(expressions(split)).text(0) for split in listops.SIZES}
    assert len(set(first.values())) == 3
    assert first["train"] == portion.text(0)


def test_portions_differ_and_a_larger_corpus_holds_the_smaller() -> None:
    two = [set(map(part.text, range(50))) for part in itertools.islice(expressions("test"), 2)]
    assert not two[0] & two[1]
    small, large = in_memory("test", 5), in_memory("test", 900)
    assert len(large) == 900 and large.texts[:5] == small.texts
    assert large.place(899) == "listops test row 900"


def test_the_corpus_and_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = DataConfig(name="listops", max_examples=60)
    corpus = load_labelled(data)
    assert [len(part.texts) for part in (corpus.train, corpus.validation, corpus.test)] == [60] * 3
    assert corpus.label_names == tuple("0123456789")
    for text, label in zip(corpus.test.texts[:5], corpus.test.labels, strict=False):
        assert value_and_depth(text)[0] == label
    kept = sorted(path.name for path in (tmp_path / "jaxattn").iterdir())
    assert kept == [f"listops-v1-{split}-60.parquet" for split in ("test", "train", "validation")]
    monkeypatch.setattr(listops, "expressions", None)
    assert list(load_texts(data).train) == list(corpus.train.texts)
    assert listops.size_of("train", 0) == 96_000 and listops.size_of("test", 9_000) == 2_000


def test_without_a_cache_the_rows_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jaxattn").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.warns(UserWarning, match="cannot be written to"):
        found = load_labelled(DataConfig(name="listops", max_examples=60))
    assert list(found.test.texts) == in_memory("test", 60).texts


def test_a_file_holds_what_memory_holds(tmp_path: Path) -> None:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(listops_file("validation", 900, tmp_path))
    rows = in_memory("validation", 900)
    assert table.column("text").to_pylist() == rows.texts
    assert table.column("label").to_pylist() == rows.labels


def test_words_make_the_published_vocabulary(portion: Expressions) -> None:
    texts = [portion.text(index) for index in range(20)]
    made = new_tokenizer(texts, TokenizerConfig(kind="words", lowercase=False))
    assert set(made.get_vocab()) == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS}
    tokens, stats = encode(made, texts, 2002)
    assert stats.unknown_share == 0 and stats.truncated_share == 0
    assert tokens.lengths.tolist() == [2 + len(text.split()) for text in texts]
