"""Predictions keep the order of the texts, whatever their lengths and batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import ATTENTION_TYPES, Config, replace
from jaxattn.data.batches.masking import Masking
from jaxattn.data.batches.order import batches_in_order
from jaxattn.data.tokens.arrays import SpecialIds, TokenArray
from jaxattn.evaluate.predict import MlmEvaluator, Predictor, Trained
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
    # Few different ones: each is compiled for a text alone.
    lengths = rng.choice([3, 8, 13, 32], count)
    return TokenArray.from_rows(rng.integers(5, 40, n).astype(np.int32) for n in lengths)


def predictor_of(model: ClassifierModel, *lengths: int) -> Predictor:
    """Runs batches of four rows, padded to these lengths."""
    order = functools.partial(batches_in_order, buckets=lengths, batch_size=4)
    return Predictor(dict.fromkeys(lengths, model), order, pad_id=0)


@pytest.mark.parametrize("attention", ATTENTION_TYPES)
def test_batches_give_what_each_text_gives_alone(attention: str) -> None:
    config = replace(Config(), SMALL | {"attention.type": attention})
    model = ClassifierModel(config, 40, 3)
    tokens = texts(23)
    ids, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
    params = model.init({"params": KEY, "attention": KEY}, ids, mask, deterministic=True)["params"]
    predictor = predictor_of(model, 8, 16, 32)
    found = predictor.probabilities(Trained(params, KEY), tokens)
    assert predictor.count <= 3
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)

    @jax.jit
    def logits_of(ids: jax.Array) -> jax.Array:
        mask, rngs = jnp.ones_like(ids, bool), {"attention": KEY}
        return model.apply({"params": params}, ids, mask, deterministic=True, rngs=rngs)

    for index in range(len(tokens)):
        logits = logits_of(jnp.asarray(tokens[index])[None])
        np.testing.assert_allclose(found[index], jax.nn.softmax(logits[0]), atol=1e-5)


def test_every_text_is_timed_once_in_batches_of_the_size_asked_for() -> None:
    """23 texts are 23 batches of one and three of eight."""
    config = replace(Config(), SMALL)
    model = ClassifierModel(config, 40, 3)
    ids, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
    params = model.init({"params": KEY, "attention": KEY}, ids, mask, deterministic=True)["params"]
    predictor = predictor_of(model, 32)
    for size, batches in ((1, [1] * 23), (8, [8, 8, 7])):
        seconds, held = predictor.batch_seconds(Trained(params, KEY), texts(23), size)
        assert held == batches and len(seconds) == len(held)
        assert min(seconds) > 0
    assert predictor.count == 2


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
            texts(23),
            buckets=(8, 16, 32),
            batch_size=batch_size,
            masking=Masking(0.15, 40, SpecialIds(0, 1, 2, 3, 4)),
        )
        found.append(evaluator.metrics(Trained(params, KEY))["loss"])
    assert found[0] == pytest.approx(np.log(40), abs=0.1)
    np.testing.assert_allclose(found, found[0], rtol=1e-5)
