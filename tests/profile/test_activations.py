"""What is captured is what the attention layers of the model were given."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.attention import ATTENTIONS
from jaxattn.config import Config, replace
from jaxattn.model.encoder import Encoder
from jaxattn.profile.fidelity import layer_inputs

KEY = jax.random.key(0)


def encoder(**values: object) -> Encoder:
    tiny = {
        "model.hidden_dim": 16,
        "model.mlp_dim": 16,
        "model.num_heads": 2,
        "model.qkv_dim": 16,
    }
    return Encoder(replace(Config(), tiny | values), 50, jnp.float32)


IDS = jax.random.randint(jax.random.key(1), (2, 10), 0, 50)
MASK = jnp.arange(10)[None] < jnp.array([[10], [7]])


@pytest.mark.parametrize(
    ("positions", "remat", "count"), [("rope", False, 2), ("relative", True, 11)]
)
def test_the_inputs_of_the_last_layer_give_its_output(
    positions: str, remat: bool, count: int
) -> None:
    values = {"model.positions": positions, "train.remat": remat, "model.num_layers": count}
    model = encoder(**values)
    params = model.init(KEY, IDS, MASK, deterministic=True)["params"]
    layers = layer_inputs(model, params, IDS, MASK, KEY)
    assert len(layers) == count
    last = layers[-1]
    assert last.q.shape == (2, 10, 2, 8) and last.k is not None
    assert (last.relative_bias is None) == (positions == "rope")
    out = ATTENTIONS["sdpa"].apply(
        last.q, last.k, last.v, key_mask=last.key_mask, relative_bias=last.relative_bias
    )
    _, state = model.apply(
        {"params": params},
        IDS,
        MASK,
        deterministic=True,
        capture_intermediates=lambda module, _: module.name == "out",
        mutable=["intermediates"],
    )
    projection = params[f"blocks_{count - 1}"]["attention"]["out"]
    expected = state["intermediates"][f"blocks_{count - 1}"]["attention"]["out"]["__call__"][0]
    found = out.reshape(2, 10, 16) @ projection["kernel"] + projection["bias"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_shared_queries_have_no_keys_and_capturing_changes_no_parameters() -> None:
    model = encoder(**{"attention.type": "reformer_lsh", "model.num_layers": 1})
    keys = {"params": KEY, "attention": KEY}
    variables = model.init(keys, IDS, MASK, deterministic=True)
    assert set(variables) == {"params"}
    (layer,) = layer_inputs(model, variables["params"], IDS, MASK, KEY)
    assert layer.k is None
    assert {field.name for field in dataclasses.fields(layer)} == set(vars(layer))
