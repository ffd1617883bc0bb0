"""Predictions keep the order of the texts, whatever their lengths and batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import ATTENTION_TYPES, Config, replace
from jaxattn.data.masking import Masking
from jaxattn.data.tokens import SpecialIds, TokenArray
from jaxattn.evaluate.predict import ClassPredictor, MlmEvaluator
from jaxattn.model.heads import ClassifierModel, MlmModel

SMALL = {
    "model.num_layers": 1,
    "model.hidden_dim": 16,
    "model.mlp_dim": 16,
    "model.num_heads": 2,
    "model.qkv_dim": 16,
    "model.max_seq_len": 32,
    "data.max_length": 32,
    "attention.reformer_lsh.chunk_size": 4,
}
KEY = jax.random.key(3)


def texts(count: int) -> TokenArray:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 33, count)
    return TokenArray.from_rows(rng.integers(5, 40, n).astype(np.int32) for n in lengths)


@pytest.mark.parametrize("attention", ATTENTION_TYPES)
def test_batches_give_what_each_text_gives_alone(attention: str) -> None:
    config = replace(Config(), SMALL | {"attention.type": attention})
    model = ClassifierModel(config, 40, 3)
    tokens = texts(23)
    ids, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
    params = model.init({"params": KEY, "attention": KEY}, ids, mask, deterministic=True)["params"]
    predictor = ClassPredictor(model, KEY, buckets=(8, 16, 32), batch_size=4, pad_id=0)
    found = predictor.probabilities(params, tokens)
    assert predictor.programs.count <= 3
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    for index in range(len(tokens)):
        ids = jnp.asarray(tokens[index])[None]
        logits = model.apply(
            {"params": params},
            ids,
            jnp.ones_like(ids, bool),
            deterministic=True,
            rngs={"attention": KEY},
        )
        np.testing.assert_allclose(found[index], jax.nn.softmax(logits[0]), atol=1e-5)


def test_every_text_is_timed_once_in_batches_of_the_size_asked_for() -> None:
    """23 texts are 23 batches of one and three of eight."""
    config = replace(Config(), SMALL)
    model = ClassifierModel(config, 40, 3)
    ids, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
    params = model.init({"params": KEY, "attention": KEY}, ids, mask, deterministic=True)["params"]
    predictor = ClassPredictor(model, KEY, buckets=(32,), batch_size=4, pad_id=0)
    for size, batches in ((1, [1] * 23), (8, [8, 8, 7])):
        seconds, held = predictor.batch_seconds(params, texts(23), size)
        assert held == batches and len(seconds) == len(held)
        # Compiling takes a large part of a second, a run of this model a thousandth.
        assert 0 < max(seconds) < 0.3
    assert predictor.programs.count == 2


def test_mlm_metrics_do_not_depend_on_the_batch_size() -> None:
    """Sums are divided once: a partial batch weighs what it holds."""
    config = replace(Config(), SMALL)
    model = MlmModel(config, 40)
    ids, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
    params = model.init({"params": KEY}, ids, mask, ids, deterministic=True)["params"]
    found = []
    for batch_size in (4, 7, 23):
        evaluator = MlmEvaluator(
            model,
            KEY,
            texts(23),
            buckets=(8, 16, 32),
            batch_size=batch_size,
            masking=Masking(0.15, 40, SpecialIds(0, 1, 2, 3, 4)),
        )
        found.append(evaluator.metrics(params)["loss"])
    assert found[0] == pytest.approx(np.log(40), abs=0.1)
    np.testing.assert_allclose(found, found[0], rtol=1e-5)
