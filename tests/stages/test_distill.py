"""TAPT that keeps the hidden states of the encoder while its attention is exchanged."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn import cli
from jaxattn.config import Config, replace
from jaxattn.model.heads import MlmModel, init_mlm
from jaxattn.model.hidden import hidden_states, relative_distance
from jaxattn.ops.trees import tree_hash
from jaxattn.stages.distill import TEACHER, distillation_loss
from jaxattn.train.checkpoints import Checkpoints

SIZES = {
    "model.num_layers": 2,
    "model.hidden_dim": 16,
    "model.mlp_dim": 32,
    "model.num_heads": 2,
    "model.qkv_dim": 16,
}


@pytest.fixture(scope="module")
def tiny_flags(tiny_flags: list[str]) -> list[str]:
    """With one length alone: half as many programs."""
    return [*tiny_flags, "--config.data.length_buckets=32"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_flags: list[str]) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    argv = [*tiny_flags, f"--runs={runs}", "--mode=pretrain", "--exp=exact"]
    assert cli.run([*argv, "--config.train.max_steps=4"]) == 0
    return runs


def adapted(runs: Path, flags: list[str], exp: str, *more: str) -> int:
    return cli.run(["tapt", f"--exp={exp}", "--pretrain=exact", f"--runs={runs}", *flags, *more])


EXCHANGE = ("--config.attention.type=performer_favor", "--config.attention.allow_change=true")
DISTILL = "--config.tapt.objective=distill"


def results(runs: Path, exp: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((runs / "tapt" / exp / "results.json").read_text())
    return found


def test_the_hidden_states_come_back(runs: Path, tiny_flags: list[str]) -> None:
    assert adapted(runs, tiny_flags, "a", *EXCHANGE, DISTILL, "--config.train.epochs=6") == 0
    told = results(runs, "a")
    change = told["attention_change"]
    assert (change["from"], change["to"]) == ("sdpa", "performer_favor")
    assert (change["objective"], change["loss_before"]) == ("distill", 0.0)
    assert change["loss_changed"] == told["validation_at_start"]["loss"] > 0
    assert change["loss_trained"] == told["validation"]["loss"] < 0.7 * change["loss_changed"]
    assert "accuracy" not in told["validation"]
    assert (
        told["parameters"]
        == json.loads((runs / "pretrain" / "exact" / "results.json").read_text())["parameters"]
    )
    log = (runs / "tapt" / "a" / "metrics.csv").read_text().splitlines()
    assert all(row.split(",")[4] == "" for row in log[1:])


def test_it_goes_on_bit_for_bit(runs: Path, tiny_flags: list[str]) -> None:
    more = (*EXCHANGE, DISTILL, "--config.train.max_steps=6", "--config.train.accumulation=2")
    assert adapted(runs, tiny_flags, "whole", *more) == 0
    assert cli.run(["verify", f"--run={runs / 'tapt' / 'whole'}"]) == 0


def test_a_classifier_follows_from_it(runs: Path, tiny_flags: list[str]) -> None:
    assert adapted(runs, tiny_flags, "b", *EXCHANGE, DISTILL, "--config.train.max_steps=2") == 0
    argv = [*tiny_flags, f"--runs={runs}", "--mode=finetune", "--exp=b", "--pretrain=tapt/b"]
    assert cli.run([*argv, *EXCHANGE, "--config.train.max_steps=2"]) == 0
    stages = json.loads((runs / "finetune" / "b" / "results.json").read_text())["stages"]
    attentions = [stage["attention"] for stage in stages]
    assert attentions == ["sdpa", "performer_favor", "performer_favor"]


def test_where_nothing_is_exchanged_it_is_refused(
    runs: Path, tiny_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert adapted(runs, tiny_flags, "c", DISTILL) == 2
    assert "tapt.objective: found 'distill', allowed where the" in capsys.readouterr().err
    assert not (runs / "tapt" / "c").exists()


def test_texts_that_share_a_row_are_refused(
    runs: Path, tiny_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    more = (*EXCHANGE, DISTILL, "--config.data.packing=true")
    assert adapted(runs, tiny_flags, "packed", *more) == 2
    assert "data.packing: found True, allowed where" in capsys.readouterr().err


def test_a_plan_does_not_take_it_for_an_mlm(
    runs: Path, tiny_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["plan", "--stage=tapt", "--pretrain=exact", f"--runs={runs}", *tiny_flags]
    assert cli.run([*flags, *EXCHANGE, DISTILL]) == 2
    assert "such a step is not planned" in capsys.readouterr().err


def test_a_trained_head_means_mlm(runs: Path, tiny_flags: list[str]) -> None:
    assert adapted(runs, tiny_flags, "d", *EXCHANGE, "--config.train.max_steps=2") == 0
    assert results(runs, "d")["attention_change"]["objective"] == "mlm"


def test_the_distance_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    found, wanted = rng.normal(size=(2, 3, 2, 5, 4)).astype(np.float32)
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
    wanted[:, ~mask] = 0.0
    told = relative_distance(list(jnp.asarray(found)), list(jnp.asarray(wanted)), jnp.asarray(mask))
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = ((found - wanted) ** 2).sum(-1) / (wanted**2).sum(-1)
    np.testing.assert_allclose(told, np.where(mask, expected.mean(0), 0.0), rtol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_no_distance_to_oneself_and_gradients_for_the_student_alone(norm: str) -> None:
    config = replace(Config(), {**SIZES, "model.norm": norm, "train.remat": "none"})
    model = MlmModel(config, 50)
    params = init_mlm(model, 0)
    ids = jnp.asarray(np.random.default_rng(1).integers(5, 50, (2, 12)))
    batch = {"ids": ids, "mask": jnp.arange(12) < jnp.array([[12], [7]])}
    states = hidden_states(model, params, batch, {"attention": jax.random.key(0)})
    assert [state.shape for state in states] == [(2, 12, 16)] * 2
    loss = distillation_loss(model, model)

    def total(both: Any) -> jax.Array:
        return loss(both, batch, {"attention": jax.random.key(0)}, False)["loss"]

    same, other = params, init_mlm(model, 1)
    assert total({**same, TEACHER: params}) == 0.0
    grads = jax.grad(total)({**other, TEACHER: params})
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(grads[TEACHER]))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads["encoder"]["blocks_1"]["mlp"]))


def test_the_checkpoint_holds_no_teacher(runs: Path, tiny_flags: list[str]) -> None:
    assert adapted(runs, tiny_flags, "e", *EXCHANGE, DISTILL, "--config.train.max_steps=2") == 0
    saved = Checkpoints(runs / "tapt" / "e" / "checkpoints", keep=1)
    params = saved.load_params(saved.latest())
    assert TEACHER not in params
    assert tree_hash(params) == results(runs, "e")["best_hash"]


@pytest.mark.filterwarnings("ignore:.*projections of keys:UserWarning")
@pytest.mark.filterwarnings("ignore:.*adapting made the hidden states worse:UserWarning")
def test_projections_of_keys_come_and_go(tmp_path: Path, tiny_flags: list[str]) -> None:
    """LSH takes queries for keys: its encoder has no such projections, exact attention has."""
    lsh, exact = "--config.attention.type=reformer_lsh", "--config.attention.type=sdpa"
    given = [*tiny_flags, f"--runs={tmp_path}", "--config.train.max_steps=2"]
    assert cli.run(["pretrain", "--exp=lsh", *given, lsh]) == 0
    change = ["--config.attention.allow_change=true", DISTILL]
    assert cli.run(["tapt", "--exp=there", "--pretrain=lsh", *given, *change, exact]) == 0
    assert cli.run(["pretrain", "--exp=exact", *given, exact]) == 0
    assert cli.run(["tapt", "--exp=back", "--pretrain=exact", *given, *change, lsh]) == 0
    for exp, has_keys in (("there", True), ("back", False)):
        saved = Checkpoints(tmp_path / "tapt" / exp / "checkpoints", keep=1)
        latest = saved.latest()
        assert latest is not None
        attention = saved.load_params(latest)["encoder"]["blocks_0"]["attention"]
        assert ("key" in attention) == has_keys
