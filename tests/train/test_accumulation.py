"""A batch in parts equals the whole batch, however unequal the parts' counts of tokens."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import Config, replace
from jaxattn.model.heads import MlmModel, init_mlm
from jaxattn.ops.programs import Programs
from jaxattn.ops.trees import path_names
from jaxattn.train.optimizer import make_optimizer
from jaxattn.train.precision import first_scale
from jaxattn.train.state import create_state
from jaxattn.train.steps import make_train_step, mlm_loss

VOCABULARY, ROWS, LENGTH, SLOTS = 40, 8, 16, 10


def batch() -> dict[str, np.ndarray]:
    """Of the four parts (rows 0 and 4, 1 and 5, ...) one has 20 tokens to predict, one none."""
    rng = np.random.default_rng(0)
    counts = np.array([10, 1, 0, 3, 10, 0, 0, 2])
    return {
        "ids": rng.integers(5, VOCABULARY, (ROWS, LENGTH)).astype(np.int32),
        "mask": np.arange(LENGTH) < rng.integers(11, LENGTH + 1, ROWS)[:, None],
        "positions": rng.integers(0, 11, (ROWS, SLOTS)).astype(np.int32),
        "targets": rng.integers(5, VOCABULARY, (ROWS, SLOTS)).astype(np.int32),
        "weights": (np.arange(SLOTS) < counts[:, None]).astype(np.float32),
    }


def one_step(precision: str, accumulation: int) -> tuple[Any, Any, dict[str, Any]]:
    values = {
        "model.num_layers": 2,
        "model.hidden_dim": 16,
        "model.mlp_dim": 32,
        "model.num_heads": 2,
        "model.qkv_dim": 16,
        "model.embedding_dropout": 0.0,
        "model.mlp_dropout": 0.0,
        "model.attention_output_dropout": 0.0,
        "finetune.freeze_blocks": 1,
        "train.precision": precision,
        "train.warmup_ratio": 0.0,
        # With a large epsilon Adam's update is smooth in the gradient, not its sign.
        "train.epsilon": 1.0,
        "train.learning_rate": 1.0,
    }
    c = replace(Config(), values)
    model = MlmModel(c, VOCABULARY)
    optimizer = make_optimizer(c.train, 100, c.finetune, c.model.num_layers)
    state = create_state(init_mlm(model, 0), optimizer, 0, first_scale(c.train))
    step = make_train_step(
        mlm_loss(model),
        optimizer,
        accumulation=accumulation,
        redraw_interval=1,
        loss_scale_steps=10,
    )
    after, sums = Programs(step, donate=False)(state, batch())
    return state.params, after.params, sums


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("float16", 1e-4)])
def test_unequal_parts_equal_the_whole(precision: str, tolerance: float) -> None:
    """float16's sums over rows are rounded to 11 bits, in parts or not."""
    before, whole, whole_sums = one_step(precision, 1)
    _, parts, sums = one_step(precision, 4)
    assert float(sums["count"]) == float(whole_sums["count"]) == 26
    np.testing.assert_allclose(sums["loss"], whole_sums["loss"], rtol=tolerance)
    np.testing.assert_allclose(sums["grad_norm"], whole_sums["grad_norm"], rtol=10 * tolerance)
    moved = 0.0
    leaves = map(jax.tree_util.tree_leaves_with_path, (before, whole, parts))
    for (path, b), (_, w), (_, p) in zip(*leaves, strict=True):
        names = path_names(path)
        np.testing.assert_allclose(p, w, atol=tolerance, err_msg="/".join(names))
        if names[:2] in (("encoder", "embeddings"), ("encoder", "blocks_0")):
            assert np.asarray(b).tobytes() == np.asarray(p).tobytes()
        moved = max(moved, float(jnp.abs(w - b).max()))
    assert moved > 1e-2
