"""Every optimizer against its rule written out in float64, and what is frozen stays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import Config, FinetuneConfig, TrainConfig, replace
from jaxattn.errors import InputError
from jaxattn.ops.trees import path_names
from jaxattn.train.optimizer import frozen_mask, learning_rate_schedule, make_optimizer, rate_ratios

STEPS = 8


def gradients(params: Any, step: int) -> Any:
    rng = np.random.default_rng(100 + step)
    return jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), params)


def named(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(path_names(path)): np.asarray(leaf, np.float64) for path, leaf in leaves}


def decayed(name: str) -> bool:
    return name.split("/")[-1] in ("kernel", "embedding")


def run(params: Any, train: TrainConfig, finetune: FinetuneConfig | None = None) -> list[Any]:
    """(params, evaluated params) after every step, from 0."""
    optimizer = make_optimizer(train, STEPS, finetune, num_layers=2)
    params = jax.tree.map(jnp.asarray, params)
    state = optimizer.init(params)

    @jax.jit
    def step(params: Any, state: Any, grads: Any, number: jax.Array) -> tuple[Any, Any, Any]:
        grads = optimizer.trained(grads, number)
        updates, state = optimizer.update(grads, state, params, step=number)
        params = jax.tree.map(jnp.add, params, updates)
        return params, state, optimizer.eval_params(state, params)

    found = [(params, params)]
    for number in range(STEPS):
        params, state, evaluated = step(params, state, gradients(params, number), number)
        found.append((params, evaluated))
    return found


TRAIN = TrainConfig(learning_rate=0.01, weight_decay=0.1, clip_norm=1e6, beta2=0.98)


class Adam:
    """Adam's direction of one array, with bias correction."""

    def __init__(self, beta1: float, beta2: float, epsilon: float) -> None:
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.m = self.v = self.count = 0

    def __call__(self, g: np.ndarray) -> np.ndarray:
        self.count += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        m = self.m / (1 - self.beta1**self.count)
        return m / (np.sqrt(self.v / (1 - self.beta2**self.count)) + self.epsilon)


def rates(train: TrainConfig) -> list[float]:
    """Warm-up of round(0.1 * 8) = 1 step, then a cosine to zero at the last step."""
    return [0.01 * (1 if i == 0 else 0.5 * (1 + np.cos(np.pi * i / 7))) for i in range(STEPS)]


def assert_close(found: Any, wanted: dict[str, np.ndarray], tolerance: float = 2e-6) -> None:
    for name, value in named(found).items():
        np.testing.assert_allclose(value, wanted[name], atol=tolerance, err_msg=name)


def test_adamw(params: dict[str, Any]) -> None:
    p = named(params)
    adam = {name: Adam(0.9, 0.98, 1e-8) for name in p}
    for number, rate in enumerate(rates(TRAIN)):
        for name, g in named(gradients(params, number)).items():
            p[name] = p[name] - rate * (adam[name](g) + 0.1 * decayed(name) * p[name])
    assert_close(run(params, TRAIN)[-1][0], p)


def test_minbert_adamw_corrects_the_size_of_the_step(params: dict[str, Any]) -> None:
    """The course's rule, with an epsilon that matters: it is added to the uncorrected root."""
    options = {"train.optimizer": "minbert_adamw", "train.epsilon": 0.1}
    found = run(params, replace(Config(train=TRAIN), options).train)
    p = named(params)
    m, v = dict.fromkeys(p, 0.0), dict.fromkeys(p, 0.0)
    for number, rate in enumerate(rates(TRAIN)):
        for name, g in named(gradients(params, number)).items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.98 * v[name] + 0.02 * g**2
            size = rate * np.sqrt(1 - 0.98 ** (number + 1)) / (1 - 0.9 ** (number + 1))
            p[name] = p[name] - size * m[name] / (np.sqrt(v[name]) + 0.1)
            p[name] = p[name] - rate * 0.1 * decayed(name) * p[name]
    assert_close(found[-1][0], p)
    usual = run(params, replace(Config(train=TRAIN), {"train.epsilon": 0.1}).train)
    name = "classifier/kernel"
    assert np.abs(named(usual[-1][0])[name] - p[name]).max() > 1e-3


def test_lamb_adapts_where_it_decays(params: dict[str, Any]) -> None:
    """You et al. 2020, algorithm 2; biases and norms follow Adam."""
    p = named(params)
    adam = {name: Adam(0.9, 0.98, 1e-8) for name in p}
    for number, rate in enumerate(rates(TRAIN)):
        for name, g in named(gradients(params, number)).items():
            update = adam[name](g)
            if decayed(name):
                update = update + 0.1 * p[name]
                update = update * np.linalg.norm(p[name]) / np.linalg.norm(update)
            p[name] = p[name] - rate * update
    found = run(params, replace(Config(train=TRAIN), {"train.optimizer": "lamb"}).train)
    assert_close(found[-1][0], p)


def orthogonalised(g: np.ndarray) -> np.ndarray:
    """Five Newton-Schulz steps with Jordan's quintic coefficients."""
    x = g / np.linalg.norm(g)
    if x.shape[0] > x.shape[1]:
        return orthogonalised(g.T).T
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


def test_muon_is_for_the_matrices_of_blocks(params: dict[str, Any]) -> None:
    """Nesterov momentum, orthogonalised; embeddings, biases, norms and head follow AdamW."""
    p = named(params)
    adam = {name: Adam(0.9, 0.98, 1e-8) for name in p}
    momentum = dict.fromkeys(p, 0.0)
    matrices = [name for name in p if "blocks" in name and name.endswith("kernel")]
    assert len(matrices) == 4
    for number, rate in enumerate(rates(TRAIN)):
        for name, g in named(gradients(params, number)).items():
            if name in matrices:
                momentum[name] = 0.95 * momentum[name] + 0.05 * g
                ahead = 0.95 * momentum[name] / (1 - 0.95 ** (number + 2))
                ahead = ahead + 0.05 * g / (1 - 0.95 ** (number + 1))
                update = 0.2 * np.sqrt(6) * orthogonalised(ahead)
                # Singular values near 1: the size of an entry does not depend on the gradient's.
                assert np.linalg.svd(update / (0.2 * np.sqrt(6)))[1].min() > 0.6
            else:
                update = adam[name](g)
            p[name] = p[name] - rate * (update + 0.1 * decayed(name) * p[name])
    found = run(params, replace(Config(train=TRAIN), {"train.optimizer": "muon"}).train)
    assert_close(found[-1][0], p, 2e-5)


def test_schedule_free_trains_y_and_evaluates_x(params: dict[str, Any]) -> None:
    """Defazio et al. 2024, equations 3 to 5 with AdamW: z moves, x averages, y is in between."""
    train = replace(
        Config(train=TRAIN),
        {
            "train.optimizer": "schedule_free_adamw",
            "train.schedule": "constant",
            "train.warmup_ratio": 0.5,
        },
    ).train
    found = run(params, train)
    z = x = y = named(params)
    adam = {name: Adam(0.0, 0.98, 1e-8) for name in z}
    weights = 0.0
    for number in range(STEPS):
        rate = 0.01 * min(1.0, (number + 1) / 4)
        weights += rate**2
        share = rate**2 / weights
        grads = named(gradients(params, number))
        z = {n: z[n] - rate * (adam[n](grads[n]) + 0.1 * decayed(n) * y[n]) for n in z}
        x = {n: (1 - share) * x[n] + share * z[n] for n in z}
        y = {n: 0.9 * x[n] + 0.1 * z[n] for n in z}
        assert_close(found[number + 1][0], y)
        assert_close(found[number + 1][1], x)
    assert max(np.abs(x[n] - y[n]).max() for n in x) > 1e-3


@pytest.mark.parametrize(
    "optimizer", ["adamw", "schedule_free_adamw", "muon", "lamb", "minbert_adamw"]
)
def test_frozen_parameters_stay_bitwise_then_begin_as_if_new(
    params: dict[str, Any], optimizer: str
) -> None:
    train = replace(
        Config(train=TRAIN),
        {"train.optimizer": optimizer, "train.schedule": "constant", "train.warmup_ratio": 0.0},
    ).train
    frozen = ("encoder/embeddings", "encoder/relative_table", "encoder/blocks_0")
    params["encoder"]["embeddings"]["tokens"]["embedding"][0, :2] = [-0.0, 0.0]
    found = run(params, train, FinetuneConfig(freeze_blocks=1, freeze_share=0.5))
    for number in range(1, STEPS // 2 + 1):
        trained, evaluated, before = map(named, (*found[number], params))
        for name, value in before.items():
            same = value.tobytes() == trained[name].tobytes() == evaluated[name].tobytes()
            assert same == name.startswith(frozen), name
    # From then on they move as in a run that begins there (constant rate: no step is special).
    late = make_optimizer(train, STEPS)
    p = jax.tree.map(jnp.asarray, params)
    state = late.init(p)
    for number in range(STEPS // 2, STEPS):
        updates, state = late.update(gradients(p, number), state, p, step=number)
        p = jax.tree.map(jnp.add, p, updates)
    moved = named(found[-1][0])
    for name, value in named(p).items():
        if name.startswith(frozen):
            np.testing.assert_allclose(moved[name], value, atol=1e-5, err_msg=name)


def test_the_pooler_is_frozen_with_the_blocks_when_asked(params: dict[str, Any]) -> None:
    params["pooler"] = {"kernel": np.ones((4, 4), np.float32)}
    for options, wanted in (
        ({"freeze_blocks": 2, "freeze_pooler": True}, True),
        ({"freeze_blocks": 2}, False),
        ({"freeze_pooler": True}, False),
    ):
        mask = frozen_mask(params, FinetuneConfig(**options), num_layers=2)
        assert mask["pooler"]["kernel"] is wanted
        assert mask["classifier"]["kernel"] is False


def test_gradients_of_frozen_parameters_are_not_in_the_clipping_norm(
    params: dict[str, Any],
) -> None:
    """Gradients of 1e6 in a frozen block change nothing elsewhere."""
    train = TrainConfig(clip_norm=0.5, warmup_ratio=0.0, epsilon=1.0)
    optimizer = make_optimizer(train, STEPS, FinetuneConfig(freeze_blocks=1), num_layers=2)
    grads = gradients(params, 0)
    results = []
    for factor in (1.0, 1e6):
        grads["encoder"]["blocks_0"] = jax.tree.map(
            lambda g, factor=factor: g * factor, gradients(params, 0)["encoder"]["blocks_0"]
        )
        trained = optimizer.trained(grads, jnp.int32(0))
        updates, _ = optimizer.update(trained, optimizer.init(params), params, step=jnp.int32(0))
        results.append(named(updates))
    for name, update in results[0].items():
        np.testing.assert_array_equal(update, results[1][name])
    assert np.abs(results[0]["classifier/kernel"]).max() > 0
    # In the second half they count.
    late = optimizer.trained(grads, jnp.int32(STEPS // 2))
    assert np.abs(named(late)["encoder/blocks_0/mlp/down/kernel"]).max() > 1e5


def test_rates_of_the_layers_by_hand(params: dict[str, Any]) -> None:
    finetune = FinetuneConfig(head_lr_ratio=10.0, backbone_lr_ratio=0.5, layer_decay=0.8)
    found = named(rate_ratios(params, finetune, num_layers=2))
    wanted = {
        "classifier/": 10.0,
        "encoder/final_norm/": 0.5,
        "encoder/blocks_1/": 0.5,
        "encoder/blocks_0/": 0.4,
        "encoder/embeddings/": 0.32,
        "encoder/relative_table": 0.32,
    }
    for name, ratio in found.items():
        (expected,) = [value for start, value in wanted.items() if name.startswith(start)]
        assert ratio == pytest.approx(expected)
    # Adam's first update is the sign of the gradient times the rate, here without decay.
    train = TrainConfig(learning_rate=0.01, warmup_ratio=0.0, schedule="constant", weight_decay=0)
    first, second = run(params, train, finetune)[:2]
    after = named(second[0])
    for name, value in named(first[0]).items():
        np.testing.assert_allclose(np.abs(after[name] - value), 0.01 * found[name], rtol=1e-3)


def test_schedules_at_their_corners() -> None:
    config = TrainConfig(learning_rate=1.0, warmup_ratio=0.2, min_lr_ratio=0.1, schedule="linear")
    line = learning_rate_schedule(config, 10)
    wanted = [0.5, 1.0, *(1.0 - 0.9 * i / 8 for i in range(1, 9))]
    np.testing.assert_allclose([float(line(i)) for i in range(10)], wanted, rtol=1e-6)
    flat = TrainConfig(learning_rate=1.0, warmup_ratio=0.0, schedule="constant")
    assert [float(learning_rate_schedule(flat, 10)(i)) for i in (0, 5, 9)] == [1.0, 1.0, 1.0]


def test_options_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(InputError, match=r"train\.beta1.*schedule_free"):
        TrainConfig(optimizer="schedule_free_adamw", beta1=0.0)
    with pytest.raises(InputError, match=r"finetune\.freeze_blocks: found 5.*num_layers = 4"):
        replace(Config(), {"finetune.freeze_blocks": 5})
    with pytest.raises(InputError, match="did you mean 'adamw'"):
        TrainConfig(optimizer="adam")


def test_remat_as_it_was_saved_before() -> None:
    assert TrainConfig(remat=True).remat == "block"
    assert TrainConfig(remat=False).remat == "none"
