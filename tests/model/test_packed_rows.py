"""A text in a packed row gets what it gets in a row of its own: hidden states, loss, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import ATTENTION_TYPES, Config, replace
from jaxattn.data.batches.masking import Masking
from jaxattn.data.batches.order import mlm_batch, singly
from jaxattn.data.batches.packing import PackedPlan
from jaxattn.data.tokens.arrays import SpecialIds, TokenArray
from jaxattn.model.heads import MlmModel
from jaxattn.model.positions import within_segments
from jaxattn.ops.trees import Params
from jaxattn.train.steps import mlm_loss

VOCABULARY = 60
SMALL = {
    "model.num_layers": 1,
    "model.hidden_dim": 24,
    "model.mlp_dim": 40,
    "model.num_heads": 2,
    "model.qkv_dim": 16,
    "model.max_seq_len": 64,
    "model.relative_max_distance": 16,
    "data.max_length": 64,
    "attention.reformer_lsh.chunk_size": 8,
    "attention.performer_favor.nb_features": 16,
}


def test_positions_begin_anew_with_each_text() -> None:
    segments = jnp.array([[0, 0, 0, 1, 1, 2], [4, 7, 7, 7, 4, 4]])
    expected = [[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 0, 1]]
    assert within_segments(segments).tolist() == expected


@pytest.mark.parametrize(
    ("attention", "positions"),
    [("sdpa", "learned"), ("sdpa", "sinusoidal")]
    + [(name, how) for name in ATTENTION_TYPES for how in ("relative", "rope")],
)
def test_packing_changes_neither_loss_nor_gradients(attention: str, positions: str) -> None:
    config = replace(Config(), SMALL | {"attention.type": attention, "model.positions": positions})
    rng = np.random.default_rng(0)
    lengths = [30, 25, 9, 40, 20, 4, 3, 17]
    texts = TokenArray.from_rows(rng.integers(5, VOCABULARY, n).astype(np.int32) for n in lengths)
    masking = Masking(0.15, VOCABULARY, SpecialIds(0, 1, 2, 3, 4))
    plan = PackedPlan(np.array(lengths), length=64, batch_size=3, seed=0)
    assert plan.steps_per_epoch == 1 and plan.rows == 3
    key = {"masking": masking, "seed": 0, "epoch": 0}
    slots = plan.most_hidden(0.3)
    packed = mlm_batch(texts, plan.batch_rows(0), 64, slots=slots, packed=True, **key)
    alone = mlm_batch(texts, singly(np.arange(8)), 64, slots=slots, packed=False, **key)
    assert packed["weights"].sum() == alone["weights"].sum()

    model = MlmModel(config, VOCABULARY)
    keys = {"params": jax.random.key(0), "attention": jax.random.key(0)}
    ids, mask = jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 4), bool)
    params = model.init(keys, ids, mask, ids, deterministic=True)["params"]
    # Larger weights than at the start: attention is not uniform then.
    params = jax.tree.map(lambda x: 1.5 * x, params)
    loss = mlm_loss(model)

    @jax.jit
    def both(params: Params, batch: dict[str, jax.Array]) -> tuple[jax.Array, Params]:
        def total(params: Params) -> jax.Array:
            return loss(params, batch, {"attention": jax.random.key(3)}, True)["loss"]

        return jax.value_and_grad(total)(params)

    found, gradient = both(params, packed)
    expected, own = both(params, alone)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    scale = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(own))
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(own), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * scale)
