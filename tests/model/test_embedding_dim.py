"""Embeddings of another width than the layers'."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import Config, replace
from jaxattn.errors import InputError
from jaxattn.model.heads import ClassifierModel, MlmModel, init_classifier, init_mlm
from jaxattn.ops.trees import count_parameters
from jaxattn.train.sharding import RULES, spec

SMALL = {
    "model.num_layers": 1, "model.hidden_dim": 16, "model.mlp_dim": 24, "model.num_heads": 2,
    "model.qkv_dim": 16, "model.max_seq_len": 12, "data.max_length": 8,
    "model.positions": "learned", "model.norm": "post", "model.token_types": 2,
    "attention.type": "sdpa",
}  # fmt: skip
NARROW = SMALL | {"model.embedding_dim": 6}
WORDS = 31


def test_tables_head_and_layer_have_that_width() -> None:
    params = init_mlm(MlmModel(replace(Config(), NARROW), WORDS), 0)
    tables = params["encoder"]["embeddings"]
    assert tables["tokens"]["embedding"].shape == (WORDS, 6)
    assert tables["position_table"].shape == (12, 6)
    assert tables["token_type_table"].shape == (2, 6)
    assert tables["norm"]["scale"].shape == (6,)
    assert tables["project"]["kernel"].shape == (6, 16)
    assert params["transform"]["kernel"].shape == (16, 6)
    assert params["norm"]["scale"].shape == (6,)
    wide = init_mlm(MlmModel(replace(Config(), SMALL), WORDS), 0)
    saved = 10 * (WORDS + 12 + 2 + 2 + 17 + 2) - 6 * 16 - 16
    assert count_parameters(wide) - count_parameters(params) == saved


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_layer_comes_after_sum_and_norm(positions: str, norm: str) -> None:
    """Against the equations in float64; the layer is the identity, its bias counts to 15."""
    values = NARROW | {"model.positions": positions, "model.norm": norm}
    model = ClassifierModel(replace(Config(), values), WORDS, 2)
    params = init_classifier(model, 0)
    project = {"kernel": jnp.eye(6, 16), "bias": jnp.arange(16.0)}
    tables = params["encoder"]["embeddings"] | {"project": project}
    params = params | {"encoder": params["encoder"] | {"embeddings": tables}}
    ids, mask = jnp.arange(8)[None] + 5, jnp.arange(8)[None] < 7
    _, kept = model.apply(
        {"params": params}, ids, mask, deterministic=True,
        capture_intermediates=lambda _, name: name == "__call__", mutable=["intermediates"],
    )  # fmt: skip
    wanted = np.asarray(tables["tokens"]["embedding"], np.float64)[np.asarray(ids[0])]
    if positions == "learned":
        wanted = wanted + np.asarray(tables["position_table"][:8])
    else:
        angle = np.arange(8)[:, None] * 10000.0 ** (-np.arange(0, 6, 2) / 6)
        wanted = wanted * np.sqrt(6)
        wanted[:, 0::2] += np.sin(angle)
        wanted[:, 1::2] += np.cos(angle)
    wanted = wanted + np.asarray(tables["token_type_table"][0])
    if norm == "post":
        wanted = wanted - wanted.mean(axis=1, keepdims=True)
        wanted /= np.sqrt((wanted**2).mean(axis=1, keepdims=True) + 1e-6)
    wanted = np.pad(wanted, ((0, 0), (0, 10))) + np.arange(16)
    found = kept["intermediates"]["encoder"]["embeddings"]["__call__"][0]
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)


def test_a_soft_prompt_is_as_wide_as_the_embeddings() -> None:
    values = NARROW | {"peft.method": "soft_prompt", "peft.n_tokens": 3}
    model = ClassifierModel(replace(Config(), values), WORDS, 2)
    params = init_classifier(model, 0)
    assert params["encoder"]["embeddings"]["prompt"].shape == (3, 6)
    ids, mask = jnp.ones((2, 8), jnp.int32), jnp.ones((2, 8), bool)
    gradient = jax.grad(
        lambda p: model.apply({"params": p}, ids, mask, deterministic=True)[:, 0].sum()
    )(params)
    assert float(jnp.abs(gradient["encoder"]["embeddings"]["prompt"]).max()) > 0


def test_the_layer_is_cut_along_the_hidden_width() -> None:
    patterns = [pattern for pattern, _ in RULES]
    assert r"embeddings/project/kernel" in patterns
    mesh = jax.make_mesh((1, 1), ("data", "fsdp"))
    cut = spec("params/encoder/embeddings/project/kernel", (6, 16), mesh)
    assert cut == jax.sharding.PartitionSpec(None, "fsdp")


def test_the_width_of_the_layers_is_no_other_width() -> None:
    with pytest.raises(InputError, match=r"model.embedding_dim: found 16, which is model.hidden"):
        replace(Config(), SMALL | {"model.embedding_dim": 16})
    with pytest.raises(InputError, match=r"model.embedding_dim: found 7.*even width"):
        replace(Config(), SMALL | {"model.embedding_dim": 7, "model.positions": "sinusoidal"})
