"""What --mode=predict reads: the column, or the columns, that training read."""

import numpy as np
import pytest

from jaxattn.config import Config, replace
from jaxattn.data.vocabularies import byte_tokenizer
from jaxattn.errors import InputError
from jaxattn.modes.classifier import Classifier
from jaxattn.modes.predict import read_texts


def test_joined_columns(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("title,body\nOne,two three\n,alone\n")
    assert list(read_texts(str(table), "title+body")) == ["One two three", "alone"]
    assert list(read_texts(str(table), "title")) == ["One", ""]
    objects = tmp_path / "a.jsonl"
    objects.write_text('{"title": "One", "body": "two"}\n{"title": "One"}\n')
    texts = read_texts(str(objects), "title+body")
    assert next(texts) == "One two"
    with pytest.raises(InputError, match=r"line 2: expected an object with a text in 'title.body'"):
        next(texts)
    with pytest.raises(InputError, match="no column 'bodi'; .* did you mean 'body'"):
        list(read_texts(str(table), "title+bodi"))


def test_a_classifier_reads_texts_as_its_training_did():
    config = replace(Config(), {"data.clean": "html", "data.max_length": 32})
    seen = []

    class Predictor:
        def probabilities(self, params, tokens):
            seen.extend(bytes((tokens[i][1:-1] - 5).tolist()) for i in range(len(tokens)))
            return np.ones((len(tokens), 1))

    classifier = Classifier(config, ("a",), byte_tokenizer(), Predictor(), None)
    classifier.probabilities(["<p>one &amp; <b>two</b></p>", "plain"])
    assert seen == [b"one & two", b"plain"]
