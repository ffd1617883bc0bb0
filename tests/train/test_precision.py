"""float16 with a loss scale: overflows skip the whole update, and training ends where float32's."""

from types import SimpleNamespace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import Config, TrainConfig, replace
from jaxattn.model.heads import ClassifierModel, init_classifier
from jaxattn.ops.programs import Programs
from jaxattn.train.optimizer import make_optimizer
from jaxattn.train.precision import (
    LossScale,
    automatic_precision,
    first_scale,
    has_bfloat16_units,
    next_scale,
)
from jaxattn.train.state import TrainState, create_state
from jaxattn.train.steps import classification_loss, make_train_step

VOCABULARY, CLASSES, ROWS, LENGTH = 30, 3, 16, 12


@pytest.mark.parametrize(
    ("platform", "kind", "capability", "precision", "reason"),
    [
        ("gpu", "NVIDIA H200", "9.0", "bfloat16", "NVIDIA H200 has compute capability 9.0"),
        ("gpu", "NVIDIA A100", "8.0", "bfloat16", "compute capability 8.0"),
        ("gpu", "NVIDIA B200", "10.0", "bfloat16", "compute capability 10.0"),
        ("gpu", "Tesla T4", "7.5", "float16", "none for bfloat16"),
        ("gpu", "Tesla V100", "7.0", "float16", "none for bfloat16"),
        ("gpu", "GeForce GTX 1080", "6.1", "float32", "no matrix units for half precision"),
        ("gpu", "AMD Instinct MI300X", "gfx942", "float32", "no NVIDIA GPU"),
        ("tpu", "TPU v5e", None, "float32", "TPU v5e is no NVIDIA GPU"),
        ("cpu", "cpu", None, "float32", "cpu is no NVIDIA GPU"),
    ],
)
def test_auto_is_what_the_device_has_units_for(
    platform: str, kind: str, capability: str | None, precision: str, reason: str
) -> None:
    device = SimpleNamespace(platform=platform, device_kind=kind)
    if capability is not None:
        device.compute_capability = capability
    chosen, why = automatic_precision(device)
    assert chosen == precision and reason in why
    assert has_bfloat16_units(device) == (precision == "bfloat16")


def test_auto_is_float32_on_this_cpu() -> None:
    assert automatic_precision(jax.devices("cpu")[0])[0] == "float32"


def config(**values: Any) -> Config:
    small = {
        "model.num_layers": 1,
        "model.hidden_dim": 16,
        "model.mlp_dim": 32,
        "model.num_heads": 2,
        "model.qkv_dim": 16,
        "attention.reformer_lsh.chunk_size": 4,
        "train.learning_rate": 0.01,
        "train.precision": "float16",
    }
    return replace(Config(), small | {k.replace("__", "."): v for k, v in values.items()})


def batch(seed: int) -> dict[str, np.ndarray]:
    """Rows whose label is told by how many of their tokens are small; some rows are empty."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, ROWS).astype(np.int32)
    ids = rng.integers(10 * labels[:, None], 10 * labels[:, None] + 12, (ROWS, LENGTH))
    mask = np.arange(LENGTH) < rng.integers(3, LENGTH + 1, ROWS)[:, None]
    weights = (np.arange(ROWS) < ROWS - 3).astype(np.float32)
    ids = (ids % VOCABULARY).astype(np.int32)
    return {"ids": ids, "mask": mask & (weights[:, None] > 0), "labels": labels, "weights": weights}


def start(c: Config, accumulation: int = 1, steps: int = 100) -> tuple[TrainState, Programs]:
    model = ClassifierModel(c, VOCABULARY, CLASSES)
    optimizer = make_optimizer(c.train, steps, c.finetune, c.model.num_layers)
    step = make_train_step(
        classification_loss(model),
        optimizer,
        accumulation=accumulation,
        redraw_interval=1,
        loss_scale_steps=c.train.loss_scale_steps,
    )
    state = create_state(init_classifier(model, 0), optimizer, 0, first_scale(c.train))
    return state, Programs(step, donate=False)


def test_the_scale_by_hand() -> None:
    scale = LossScale(jnp.float32(8), jnp.int32(0))
    found = []
    for finite in (True, True, True, False, True, False, False, False, False, False):
        scale = next_scale(scale, jnp.array(finite), double_after=3)
        found.append((float(scale.scale), int(scale.steps)))
    wanted = [(8, 1), (8, 2), (16, 0), (8, 0), (8, 1), (4, 0), (2, 0), (1, 0), (0.5, 0), (0.25, 0)]
    assert found == wanted
    largest = next_scale(LossScale(jnp.float32(2**24), jnp.int32(2)), jnp.array(True), 3)
    assert float(largest.scale) == 2**24
    assert first_scale(TrainConfig(precision="bfloat16")) is None


@pytest.mark.parametrize("accumulation", [1, 4])
def test_an_overflow_skips_the_whole_update_bitwise(accumulation: int) -> None:
    c = config(train__loss_scale_steps=2)
    state, step = start(c, accumulation)
    for number in range(2):
        state, sums = step(state, batch(number))
        assert float(sums["skipped"]) == 0
    assert float(state.loss_scale.scale) == 2**16
    huge = state.replace(loss_scale=LossScale(jnp.float32(2.0**60), jnp.int32(1)))
    after, sums = step(huge, batch(2))
    assert float(sums["skipped"]) == 1
    assert not np.isfinite(float(sums["grad_norm"]))
    for one, other in zip(
        jax.tree.leaves((huge.params, huge.opt_state)),
        jax.tree.leaves((after.params, after.opt_state)),
        strict=True,
    ):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert int(after.step) == 3
    assert (float(after.loss_scale.scale), int(after.loss_scale.steps)) == (2.0**59, 0)
    moved, sums = step(after.replace(loss_scale=state.loss_scale), batch(3))
    assert float(sums["skipped"]) == 0
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), moved.params, after.params)
    assert all(jax.tree.leaves(changed["encoder"]["blocks_0"]["mlp"]))


def test_the_scale_is_no_part_of_the_gradient() -> None:
    """The same update to float16's rounding whatever the scale; state and sums are float32."""
    results = []
    state, step = start(config())
    for scale in (2.0**6, 2.0**14):
        after, sums = step(
            state.replace(loss_scale=LossScale(jnp.float32(scale), jnp.int32(0))), batch(0)
        )
        results.append(float(sums["grad_norm"]))
        floating = [
            x for x in jax.tree.leaves((after, sums)) if jnp.issubdtype(x.dtype, jnp.inexact)
        ]
        assert {x.dtype for x in floating} == {jnp.dtype("float32")}
    np.testing.assert_allclose(results[0], results[1], rtol=2e-3)


@pytest.mark.parametrize(
    "attention",
    ["sdpa", pytest.param("reformer_lsh", marks=pytest.mark.slow), "performer_favor"],
)
def test_float16_learns_as_float32_does(attention: str) -> None:
    losses = {}
    for precision in ("float32", "float16"):
        state, step = start(config(train__precision=precision, attention__type=attention))
        found, skipped = [], 0.0
        for number in range(100):
            state, sums = step(state, batch(number))
            found.append(float(sums["loss"] / sums["count"]))
            skipped += float(sums.get("skipped", 0.0))
        assert skipped <= 2  # a steep step may overflow; the scale is halved then
        losses[precision] = np.mean(found[:5]), np.mean(found[-20:])
    (first, full), (_, half) = losses["float32"], losses["float16"]
    assert full < 0.6 * first
    assert abs(half - full) < 0.05 * first


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_layer_norm_takes_its_statistics_in_float32(dtype: Any) -> None:
    """Squares of 1000 overflow float16; means of 512 numbers near 1000 need more than 11 bits."""
    x = jnp.asarray(1000 + np.random.default_rng(0).normal(size=(4, 512)) * 100, dtype)
    exact = np.asarray(x, np.float64)
    wanted = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-6)
    norm = nn.LayerNorm(epsilon=1e-6, dtype=dtype)
    found = norm.apply(norm.init(jax.random.key(0), x), x)
    assert found.dtype == dtype
    step = 2.0**-10 if dtype == jnp.float16 else 2.0**-7
    np.testing.assert_allclose(np.asarray(found, np.float64), wanted, atol=4 * step)
