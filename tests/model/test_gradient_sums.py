"""Gradients that are sums over thousands of tokens, in bfloat16 against float32."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxattn.config import Config, replace
from jaxattn.model.heads import MlmModel, init_mlm, mlm_logits
from jaxattn.model.losses import cross_entropy_sums
from jaxattn.ops.trees import Params, flat_names

WORDS, LENGTH, ROWS, SLOTS = 60, 128, 32, 20
OPTIONS = {
    "model.num_layers": 1,
    "model.hidden_dim": 32,
    "model.mlp_dim": 32,
    "model.num_heads": 2,
    "model.qkv_dim": 32,
    "model.max_seq_len": LENGTH,
    "model.positions": "learned",
    "model.token_types": 2,
    "data.max_length": LENGTH,
}


def gradients(precision: str) -> dict[str, jax.Array]:
    config = replace(Config(), OPTIONS | {"train.precision": precision})
    model = MlmModel(config, WORDS)
    params = init_mlm(model, 0)
    rng = np.random.default_rng(0)
    ids = rng.integers(5, WORDS, (ROWS, LENGTH)).astype(np.int32)
    ids[rng.random(ids.shape) < 0.5] = 4  # half of all tokens, as [MASK] may be
    batch = {
        "ids": jnp.asarray(ids),
        "mask": jnp.ones(ids.shape, bool),
        "positions": jnp.asarray(np.sort(rng.permuted(
            np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1)), axis=1)[:, :SLOTS], axis=1)),
    }  # fmt: skip
    # One target, so that the terms of a sum point the same way.
    targets, weights = jnp.full((ROWS, SLOTS), 7), jnp.ones((ROWS, SLOTS))

    def loss(params: Params) -> jax.Array:
        logits = mlm_logits(model, params, batch, {}, deterministic=True)
        return cross_entropy_sums(logits, targets, weights)["loss"]

    return flat_names(jax.jit(jax.grad(loss))(params))


def test_sums_over_tokens_keep_their_size_in_bfloat16() -> None:
    exact, found = gradients("float32"), gradients("bfloat16")
    # A bias of all keys adds the same to all logits of a query: softmax does not see it.
    exact.pop("encoder/blocks_0/attention/key/bias")
    for name, wanted in exact.items():
        error = np.linalg.norm(found[name] - wanted) / np.linalg.norm(wanted)
        # Rounding to 8 bits on the way is 1 %; summed in bfloat16, biases were 10 % off.
        assert error < 0.02, f"{name}: {error:.3f}"
    frequent = found["encoder/embeddings/tokens/embedding"][4]
    wanted = exact["encoder/embeddings/tokens/embedding"][4]
    assert np.linalg.norm(frequent - wanted) < 0.03 * np.linalg.norm(wanted)
