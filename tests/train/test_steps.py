"""The optimizer step against independent arithmetic."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import TrainConfig
from jaxattn.errors import InputError
from jaxattn.model.keys import attention_key, dropout_key, evaluation_attention_key
from jaxattn.model.losses import cross_entropy_sums
from jaxattn.ops.programs import Programs
from jaxattn.ops.trees import decay_mask
from jaxattn.stages.class_weights import class_weights
from jaxattn.train.optimizer import Optimizer, learning_rate_schedule, make_optimizer
from jaxattn.train.state import TrainState, create_state
from jaxattn.train.steps import classification_loss, make_train_step


class Linear(nn.Module):
    """Bag of embeddings and a linear layer, with the classifier's calling convention."""

    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, ids: jax.Array | np.ndarray, mask: jax.Array | np.ndarray, *, deterministic: bool
    ) -> jax.Array:
        x = nn.Embed(11, 6)(ids) * mask[..., None]
        x = nn.Dropout(self.dropout)(x.sum(axis=1), deterministic=deterministic)
        return nn.Dense(3)(x)


def batch(rows: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "ids": rng.integers(0, 11, (rows, 5)).astype(np.int32),
        "mask": rng.random((rows, 5)) < 0.8,
        "labels": rng.integers(0, 3, rows).astype(np.int32),
        "weights": np.array([1, 1, 1, 1, 1, 0, 0, 0][:rows], np.float32),
    }


def start(model: nn.Module, config: TrainConfig) -> tuple[TrainState, Optimizer]:
    b = batch()
    params = model.init(jax.random.key(0), b["ids"], b["mask"], deterministic=True)["params"]
    optimizer = make_optimizer(config, total_steps=10)
    return create_state(params, optimizer, seed=0), optimizer


def test_cross_entropy_sums_against_float64() -> None:
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(size=(4, 6, 5)), rng.integers(0, 5, (4, 6))
    weights = (rng.random((4, 6)) < 0.5).astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    picked = np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    sums = cross_entropy_sums(jnp.float32(logits), jnp.asarray(targets), jnp.float32(weights))
    np.testing.assert_allclose(sums["loss"], -(picked * weights).sum(), rtol=1e-6)
    hits = ((logits.argmax(-1) == targets) * weights).sum()
    assert float(sums["correct"]) == hits
    assert float(sums["count"]) == weights.sum()


def test_smoothed_and_weighted_loss_against_float64() -> None:
    """The target is (1 - e) one-hot + e / classes, times the weight of each class."""
    rng = np.random.default_rng(2)
    logits, targets = rng.normal(size=(7, 5)) * 3, rng.integers(0, 5, 7)
    weights = np.array([1, 1, 0, 1, 1, 1, 0.0])
    by_class = np.array([0.2, 1.0, 3.0, 0.5, 0.3])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    target = 0.9 * np.eye(5)[targets] + 0.1 / 5
    wanted = -((target * log_p * by_class).sum(-1) * weights).sum()
    sums = cross_entropy_sums(
        jnp.float32(logits),
        jnp.asarray(targets),
        jnp.float32(weights),
        label_smoothing=0.1,
        class_weights=jnp.float32(by_class),
    )
    np.testing.assert_allclose(sums["loss"], wanted, rtol=1e-5)
    assert float(sums["count"]) == 5


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_are_torch_s(smoothing: float, weighted: bool) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    logits, targets = np.float32(rng.normal(size=(50, 7)) * 4), rng.integers(0, 7, 50)
    by_class = np.float32(rng.uniform(0.0, 3.0, 7)) if weighted else None
    theirs = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.CrossEntropyLoss(
        weight=torch.tensor(np.float64(by_class)) if weighted else None,
        label_smoothing=smoothing,
        reduction="sum",
    )(theirs, torch.tensor(targets))
    loss.backward()

    def ours(logits: jax.Array) -> jax.Array:
        return cross_entropy_sums(
            logits,
            jnp.asarray(targets),
            jnp.ones(50),
            label_smoothing=smoothing,
            class_weights=None if by_class is None else jnp.asarray(by_class),
        )["loss"]

    value, gradient = jax.jit(jax.value_and_grad(ours))(logits)
    np.testing.assert_allclose(value, loss.item(), rtol=2e-6)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=0, atol=2e-6)


def test_balanced_classes_weigh_the_same_in_total() -> None:
    labels = np.array([0] * 12 + [1] * 3 + [3])
    weights = class_weights("balanced", labels, 4)
    np.testing.assert_allclose(weights[[0, 1, 3]] * [12, 3, 1], [16 / 3] * 3)
    assert weights[labels].mean() == pytest.approx(1.0)
    assert weights[2] == 0
    assert class_weights("none", labels, 4) is None


def test_own_weights_keep_their_proportions_and_a_mean_of_one() -> None:
    labels, names = np.array([0] * 12 + [1] * 3 + [2]), ("a", "b, c", "d")
    weights = class_weights('a=0.5,"b, c"=5', labels, 3, names)
    np.testing.assert_allclose(weights / weights[2], [0.5, 5, 1])
    assert weights[labels].mean() == pytest.approx(1.0)
    met_equally = class_weights('a=0.5,"b, c"=5', labels, 3, names, "balanced")
    np.testing.assert_allclose(met_equally, np.array([0.5, 5, 1]) * 3 / 6.5)


def test_a_weight_of_no_class_is_refused_with_the_classes() -> None:
    with pytest.raises(InputError) as error:
        class_weights("spm=2", np.array([0, 1]), 2, ("ham", "spam"))
    assert str(error.value) == (
        "finetune.class_weights: there is no class 'spm' (the classes are 'ham' and 'spam'); "
        "did you mean 'spam'?"
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_focal_loss_and_gradient_against_float64(gamma: float, weighted: bool) -> None:
    """a (1 - p)^gamma -log p; its gradient by the central difference of the reference."""
    rng = np.random.default_rng(4)
    logits, targets = rng.normal(size=(9, 5)) * 4, rng.integers(0, 5, 9)
    weights = np.array([1, 1, 0, 1, 1, 1, 0, 1, 1.0])
    by_class = rng.uniform(0.2, 3.0, 5) if weighted else np.ones(5)

    def wanted(logits: np.ndarray) -> float:
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        picked = log_p[np.arange(9), targets]
        return float(
            (-((1 - np.exp(picked)) ** gamma) * picked * by_class[targets] * weights).sum()
        )

    def ours(logits: jax.Array) -> jax.Array:
        return cross_entropy_sums(
            logits, jnp.asarray(targets), jnp.float32(weights), focal_gamma=gamma,
            class_weights=jnp.float32(by_class) if weighted else None,
        )["loss"]  # fmt: skip

    value, gradient = jax.jit(jax.value_and_grad(ours))(jnp.float32(logits))
    np.testing.assert_allclose(value, wanted(logits), rtol=1e-5)
    step = 1e-6
    for place in np.ndindex(logits.shape):
        moved = np.zeros_like(logits)
        moved[place] = step
        slope = (wanted(logits + moved) - wanted(logits - moved)) / (2 * step)
        assert gradient[place] == pytest.approx(slope, abs=2e-5)


def test_focal_loss_at_its_ends() -> None:
    """A certain and right prediction: nothing, with a finite gradient; gamma 0: cross-entropy."""
    sure, target, one = jnp.float32([[200.0, -200.0]]), jnp.array([0]), jnp.ones(1)

    def loss(logits: jax.Array, gamma: float, target: jax.Array = target) -> jax.Array:
        return cross_entropy_sums(logits, target, one, focal_gamma=gamma)["loss"]

    value, gradient = jax.value_and_grad(loss)(sure, 0.5)
    assert value == 0 and np.isfinite(gradient).all()
    value, gradient = jax.value_and_grad(loss)(sure, 2.0, jnp.array([1]))
    np.testing.assert_allclose([float(value), *gradient[0]], [400, 1, -1])
    plain = jnp.float32([[0.3, -0.2]])
    assert loss(plain, 0.0) == cross_entropy_sums(plain, target, one)["loss"]


@pytest.mark.parametrize("accumulation", [2, 4, 8])
def test_accumulation_equals_the_whole_batch(accumulation: int) -> None:
    """Also with parts of unequal counts, some of them empty."""
    model, results = Linear(), []
    for parts in (1, accumulation):
        state, optimizer = start(model, TrainConfig(batch_size=8))
        loss = classification_loss(model)
        step = make_train_step(
            loss, optimizer, accumulation=parts, redraw_interval=1, loss_scale_steps=1
        )
        next_state, sums = jax.jit(step)(state, batch())
        results.append((next_state.params, sums))
    (one, one_sums), (other, other_sums) = results
    assert float(one_sums["count"]) == float(other_sums["count"]) == 5
    np.testing.assert_allclose(one_sums["loss"], other_sums["loss"], rtol=1e-6)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_adamw_step_against_the_rule_in_float64() -> None:
    """Clipping, bias correction, decay on kernels only, the schedule's first rate."""
    config = TrainConfig(weight_decay=0.1, learning_rate=0.01, clip_norm=0.05, warmup_ratio=0.2)
    model = Linear()
    state, optimizer = start(model, config)
    loss = classification_loss(model)

    def mean_loss(params: Any) -> jax.Array:
        sums = loss(params, batch(), {"dropout": jax.random.key(0)}, True)
        return sums["loss"] / sums["count"]

    grads = jax.tree.map(lambda g: np.asarray(g, np.float64), jax.grad(mean_loss)(state.params))
    norm = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(grads)))
    assert norm > config.clip_norm
    rate = 0.01 / 2  # warm-up of two steps

    def expected(path: tuple[Any, ...], p: jax.Array, g: np.ndarray) -> jax.Array:
        g = g * config.clip_norm / norm
        m, v = g, g**2  # first step: bias correction undoes (1 - beta)
        decay = 0.0 if path[-1].key == "bias" else config.weight_decay
        return np.asarray(p, np.float64) - rate * (m / (np.sqrt(v) + 1e-8) + decay * p)

    wanted = jax.tree_util.tree_map_with_path(expected, state.params, grads)
    step = make_train_step(loss, optimizer, accumulation=1, redraw_interval=1, loss_scale_steps=1)
    found, sums = jax.jit(step)(state, batch())
    np.testing.assert_allclose(sums["grad_norm"], norm, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(wanted), jax.tree.leaves(found.params), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_schedule_at_its_corners() -> None:
    config = TrainConfig(learning_rate=1.0, warmup_ratio=0.1, min_lr_ratio=0.2)
    schedule = learning_rate_schedule(config, 100)
    assert float(schedule(0)) == pytest.approx(0.1)
    assert float(schedule(9)) == pytest.approx(1.0)
    assert float(schedule(54)) == pytest.approx(0.6)
    assert float(schedule(99)) == pytest.approx(0.2)
    flat = learning_rate_schedule(TrainConfig(learning_rate=1.0, warmup_ratio=0.0), 10)
    assert 0.9 < float(flat(0)) <= 1.0


def test_decay_spares_biases_and_norms() -> None:
    params = {"a": {"kernel": 1, "bias": 1}, "norm": {"scale": 1, "bias": 1}, "embedding": 1}
    wanted = {"a": {"kernel": True, "bias": False}, "norm": {"scale": False, "bias": False}}
    assert decay_mask(params) == wanted | {"embedding": True}


def test_keys_are_functions_of_the_step() -> None:
    root = jax.random.key(3)
    data = jax.random.key_data
    for prng in ("hash", "threefry"):
        assert (data(dropout_key(root, 4, prng)) == data(dropout_key(root, 4, prng))).all()
        assert (data(dropout_key(root, 4, prng)) != data(dropout_key(root, 5, prng))).any()
    assert (data(attention_key(root, 0, 10)) == data(attention_key(root, 9, 10))).all()
    assert (data(attention_key(root, 9, 10)) != data(attention_key(root, 10, 10))).any()


def test_one_program_per_shape() -> None:
    traces = []

    def function(first: jax.Array, inputs: dict[str, jax.Array]) -> jax.Array:
        traces.append(inputs["x"].shape)
        return first + inputs["x"].sum()

    programs = Programs(function, donate=False)
    for length in (2, 3, 2, 3, 3, 2):
        programs(jnp.zeros(()), {"x": np.ones(length, np.float32)})
    assert traces == [(2,), (3,)]
    assert programs.count == 2


@pytest.mark.parametrize(("step", "last"), [(0, 0), (1, 0), (10, 9), (11, 10)])
def test_evaluation_uses_the_draw_of_the_last_step(step: int, last: int) -> None:
    trained_with = attention_key(jax.random.key(5), jnp.asarray(last), 10)
    evaluated_with = evaluation_attention_key(5, step, 10)
    data = jax.random.key_data
    assert (data(trained_with) == data(evaluated_with)).all()
