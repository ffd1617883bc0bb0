"""Parameters that grow with a vocabulary."""

import jax
import numpy as np

from jaxattn.config import Config, replace
from jaxattn.model.heads import MlmModel, init_mlm
from jaxattn.ops.trees import shapes_differ
from jaxattn.stages.parameters import grown

TINY = replace(
    Config(),
    {
        "model.num_layers": 1, "model.hidden_dim": 16, "model.mlp_dim": 32, "model.num_heads": 2,
        "model.qkv_dim": 16,
    },
)  # fmt: skip
ORIGINS = [[7], [5, 9, 11], [8, 8]]


def small() -> dict:
    params = jax.tree.map(np.asarray, init_mlm(MlmModel(TINY, 40), 3))
    params["output_bias"] = np.random.default_rng(0).normal(size=40).astype(np.float32)
    return params


def test_old_rows_are_the_same_bits_and_new_ones_means() -> None:
    params = small()
    found = grown(params, ORIGINS)
    assert shapes_differ(init_mlm(MlmModel(TINY, 43), 3), found) == ""
    old = params["encoder"]["embeddings"]["tokens"]["embedding"]
    new = found["encoder"]["embeddings"]["tokens"]["embedding"]
    assert new.dtype == np.float32
    assert new[:40].tobytes() == old.tobytes()
    assert found["output_bias"][:40].tobytes() == params["output_bias"].tobytes()
    for row, ids in enumerate(ORIGINS, 40):
        np.testing.assert_allclose(new[row], old[ids].astype(np.float64).mean(0), rtol=1e-6)
        np.testing.assert_allclose(
            found["output_bias"][row], params["output_bias"][ids].mean(), rtol=1e-6
        )
    np.testing.assert_array_equal(new[40], old[7])


def test_everything_else_is_untouched() -> None:
    params = small()
    found = grown(params, ORIGINS)
    assert params["encoder"]["embeddings"]["tokens"]["embedding"].shape == (40, 16)
    kept = jax.tree.leaves(params["encoder"]["blocks_0"])
    for one, other in zip(kept, jax.tree.leaves(found["encoder"]["blocks_0"]), strict=True):
        assert one is other
    encoder_only = grown({"encoder": params["encoder"]}, ORIGINS)
    assert encoder_only.keys() == {"encoder"}
    assert grown(params, []) is params


def test_logits_of_old_tokens_do_not_change() -> None:
    params = small()
    ids = np.array([[2, 9, 17, 4, 3]])
    inputs = ids, np.ones_like(ids, bool), np.array([[1, 3]])
    before = MlmModel(TINY, 40).apply({"params": params}, *inputs, deterministic=True)
    after = MlmModel(TINY, 43).apply(
        {"params": grown(params, ORIGINS)}, *inputs, deterministic=True
    )
    np.testing.assert_allclose(after[..., :40], before, atol=1e-6)
    # A token that was one piece is as likely as that piece.
    np.testing.assert_allclose(after[..., 40], before[..., 7], atol=1e-6)
