"""A classifier in use, from Python and exported: one answer, however it is asked."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pyarrow
import pytest

import jaxattn
from jaxattn.classifier.classifier import Classifier
from jaxattn.classifier.exported import sign_export, write_model, write_programs
from jaxattn.classifier.serving import served
from jaxattn.classifier.text_classifier import TextClassifier
from jaxattn.config import ATTENTION_TYPES, Config, replace
from jaxattn.data.tokens.vocabularies import byte_tokenizer
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import Trained
from jaxattn.model.heads import ClassifierModel, init_classifier

ROOT = Path(jaxattn.__file__).parents[1]

SMALL = {
    "model.num_layers": 1,
    "model.hidden_dim": 16,
    "model.mlp_dim": 16,
    "model.num_heads": 2,
    "model.qkv_dim": 16,
    "model.max_seq_len": 48,
    "data.max_length": 48,
    "attention.reformer_lsh.chunk_size": 8,
}
NAMES = ("no", "yes", "perhaps")
TEXTS = ["a", "", "some more words, and some more", "x" * 30, "é", "long " * 40]


def parts(attention: str, **options: object) -> Classifier:
    config = replace(Config(), SMALL | {"attention.type": attention} | options)
    tokenizer = byte_tokenizer()
    model = ClassifierModel(config, tokenizer.get_vocab_size(), len(NAMES))
    params = init_classifier(model, 0)
    # The last layer begins with small weights; probabilities should differ.
    params = jax.tree.map(lambda x: 2.0 * x, params)
    return Classifier(config, NAMES, tokenizer, Trained(params, jax.random.key(3)))


def classifier(attention: str, **options: object) -> TextClassifier:
    return TextClassifier(parts(attention, **options))


@pytest.fixture(scope="module")
def model() -> TextClassifier:
    return classifier("sdpa")


def test_names_and_shapes_are_those_of_scikit_learn(model: TextClassifier) -> None:
    found = model.predict_proba(TEXTS)
    assert found.shape == (6, 3)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    assert model.classes_.tolist() == list(NAMES)
    assert model.predict(TEXTS).tolist() == [NAMES[i] for i in found.argmax(axis=1)]
    np.testing.assert_allclose(np.exp(model.predict_log_proba(TEXTS)), found, atol=1e-12)
    assert model.predict([]).shape == (0,)
    assert model.predict_proba([]).shape == (0, 3)
    assert model.predict_log_proba(np.array([], str)).shape == (0, 3)
    assert [len(part) for part in model.classify([])] == [0, 0]


def test_an_answer_does_not_depend_on_the_other_texts(model: TextClassifier) -> None:
    found = model.predict_proba(np.array(TEXTS * 3))
    for place, text in enumerate(TEXTS):
        np.testing.assert_allclose(model.predict_proba([text])[0], found[place], atol=1e-6)
        np.testing.assert_allclose(found[place + 6], found[place], atol=1e-6)


def test_a_stream_is_read_no_further_than_it_must(model: TextClassifier) -> None:
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for number in range(5000):
            read += 1
            yield TEXTS[number % 5]

    stream = model.predict_stream(texts())
    found = [next(stream) for _ in range(7)]
    assert read == 1024
    expected = model.predict_proba(TEXTS[:5])
    for place, (label, row) in enumerate(found):
        np.testing.assert_allclose(row, expected[place % 5], atol=1e-6)
        assert label == NAMES[row.argmax()]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ("one", r"found one str, .* predict\(\[text\]\)"),
        (b"one", "found one bytes"),
        (3, "found one int"),
        ({"a": "b"}, "found one dict"),
        ({"text": ["b"], "id": [1]}, r"found a dict with the columns 'text', 'id', .*\['text'\]\)"),
        (pd.DataFrame({"text": ["a"], "n": [1]}), r"a DataFrame .* predict\(texts\['text'\]\)$"),
        (pd.DataFrame({"body": ["a"]}), r"columns 'body', .* predict\(texts\['body'\]\)$"),
        (pd.DataFrame({7: ["a"]}), r"columns 7, .* predict\(texts\[7\]\)$"),
        (pd.DataFrame(), r"columns \(none\), .* predict\(texts\[<column>\]\)$"),
        ({"a", "b"}, "a set, which has no order"),
        (pd.DataFrame({"a": ["a"], "b": ["b"]}), r"predict\(texts\[<column>\]\)$"),
        (pyarrow.table({"text": ["a"], "n": [1]}), r"a Table .* predict\(texts\['text'\]\)$"),
        (pd.Series(["a", None], dtype=object), r"texts\[1\]: found None"),
        (np.array("a"), "found one ndarray"),
        (np.array([["a"], ["b"]]), r"of 2 dimensions, expected one; texts\[:, 0\]"),
        ([["x" * 1000] * 1000], r"texts\[0\]: found \['x.{1,200}expected a string$"),
        (["a", 3], r"texts\[1\]: found 3 \(int\)"),
        ([None], r"texts\[0\]: found None"),
        (["\ud800"], "half of a surrogate"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(
    model: TextClassifier, texts: object, words: str
) -> None:
    for call in (model.predict, model.predict_proba, lambda x: list(model.predict_stream(x))):
        with pytest.raises(InputError, match=words):
            call(texts)


def test_texts_may_be_any_column_or_sequence(model: TextClassifier) -> None:
    expected = model.predict_proba(TEXTS)
    for texts in (
        tuple(TEXTS),
        (text for text in TEXTS),
        np.array(TEXTS, object),
        pd.Series(TEXTS, index=range(5, 11)),
        pd.DataFrame({"text": TEXTS})["text"],
        pyarrow.array(TEXTS),
        pyarrow.table({"text": TEXTS})["text"],
        dict.fromkeys(TEXTS).keys(),
    ):
        np.testing.assert_array_equal(model.predict_proba(texts), expected)


def test_a_table_of_two_columns_of_texts() -> None:
    model = classifier("sdpa", **{"data.text_column": "title+body"})
    words = r"""predict\(texts\['title'\] \+ " " \+ texts\['body'\]\)$"""
    with pytest.raises(InputError, match=words):
        model.predict(pd.DataFrame({"title": ["a"], "body": ["b"]}))


def test_windows_average_what_a_long_text_says(model: TextClassifier) -> None:
    windowed = classifier("sdpa", **{"predict.long": "window", "predict.overlap": 6})
    # 86 bytes, windows of 46: bytes 0 to 46 and 40 to 86.
    text = "".join(chr(97 + i % 26) for i in range(86))
    parts = model.predict_proba([text[:46], text[40:]])
    np.testing.assert_allclose(windowed.predict_proba([text])[0], parts.mean(axis=0), atol=1e-6)
    found, long = windowed.classify(["short", text, ""])
    assert long.tolist() == [False, True, False]
    np.testing.assert_allclose(found[[0, 2]], model.predict_proba(["short", ""]), atol=1e-6)
    with pytest.raises(InputError, match=r"predict.overlap: found 46, allowed: less than the 46"):
        classifier("sdpa", **{"predict.long": "window", "predict.overlap": 46})


def test_exact_attention_is_run_as_the_device_can() -> None:
    """Trained with cuDNN, used on a CPU: all scores at once where that is faster."""
    config = replace(Config(), {"attention.sdpa.implementation": "cudnn"})
    found = [served(config, length).attention.sdpa.implementation for length in (32, 512, 768)]
    assert found == ["xla", "xla", "blockwise"]
    asked = replace(config, {"attention.sdpa.implementation": "blockwise"})
    assert served(asked, 32) == asked


WITHOUT_JAXATTN = """
import importlib.util, json, sys
sys.modules["jaxattn"] = None
import numpy as np
spec = importlib.util.spec_from_file_location("classify", sys.argv[1])
classify = importlib.util.module_from_spec(spec)
spec.loader.exec_module(classify)
for table in ("one text", {"text": ["a"]}, type("Table", (), {"columns": ["text"]})()):
    try:
        classify.read(table)
    except TypeError as error:
        assert "expected a list of texts" in str(error)
    else:
        raise AssertionError(table)
try:
    classify.read(["a text", None])
except TypeError as error:
    assert str(error) == "texts[1]: found NoneType, expected a string"
else:
    raise AssertionError
assert classify.probabilities(*classify.read([])).shape == (0, len(classify.ABOUT["classes"]))
ids, mask = classify.read(json.loads(sys.argv[2]))
found = classify.probabilities(ids, mask)
one = classify.probabilities(ids[:1, :30], mask[:1, :30])
np.testing.assert_allclose(one[0], found[0], atol=1e-5)
assert not any(name.startswith("jaxattn.") for name in sys.modules)
print(json.dumps(found.tolist()))
"""


@pytest.mark.parametrize("attention", ATTENTION_TYPES)
def test_an_export_gives_the_same_with_jaxattn_and_without(attention: str, tmp_path: Path) -> None:
    written = parts(attention, **{"data.path": "/home/me/secret"})
    write_model(tmp_path, written)
    about = write_programs(tmp_path, written)
    sign_export(tmp_path)
    free = [each["length"] for each in about["programs"]] == [None]
    assert free == (attention != "reformer_lsh")
    assert "secret" not in (tmp_path / "config.yaml").read_text()
    for file in tmp_path.iterdir():
        # Neither of the user's home nor of the sources that the program was traced through.
        paths = re.findall(rb"[\w.-]*/[\w./-]+\.py\b", file.read_bytes())
        assert not paths, file.name
        assert str(ROOT).encode() not in file.read_bytes()
    expected = TextClassifier(written).predict_proba(TEXTS)
    loaded = jaxattn.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(TEXTS), expected)
    assert loaded.classes_.tolist() == list(NAMES)
    # -I: neither PYTHONPATH nor the folder it is started in are looked into.
    argv = [sys.executable, "-I", "-c", WITHOUT_JAXATTN, str(tmp_path / "classify.py")]
    done = subprocess.run(
        [*argv, json.dumps(TEXTS)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-5)


def test_loading_what_is_no_classifier(tmp_path: Path) -> None:
    with pytest.raises(jaxattn.InputError, match="no such folder"):
        jaxattn.load(tmp_path / "missing")
    with pytest.raises(jaxattn.InputError, match="no classifier; expected runs/finetune/<exp>"):
        jaxattn.load(tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        jaxattn.lod  # noqa: B018
