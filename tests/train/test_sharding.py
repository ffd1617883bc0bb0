"""Eight simulated devices give the losses of one, in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxattn.config import TrainConfig
from jaxattn.errors import InputError
from jaxattn.train.optimizer import make_optimizer
from jaxattn.train.sharding import check_batches, make_mesh, shardings, spec
from jaxattn.train.state import create_state

ROOT = Path(__file__).parents[2]


class FourWays:
    """As much of a mesh as `spec` reads."""

    def __init__(self) -> None:
        self.shape = {"data": 2, "fsdp": 4}


def test_rules_cut_matrices_along_the_hidden_width() -> None:
    cases = [
        ("params/encoder/embeddings/tokens/embedding", (30522, 512), P(None, "fsdp")),
        ("params/encoder/blocks_3/attention/query/kernel", (512, 256), P("fsdp", None)),
        ("params/encoder/blocks_3/attention/out/kernel", (256, 512), P(None, "fsdp")),
        ("opt_state/1/0/mu/encoder/blocks_0/mlp/up/kernel", (512, 2048), P("fsdp", None)),
        ("params/encoder/blocks_0/mlp/down/kernel", (2048, 512), P(None, "fsdp")),
        ("params/transform/kernel", (512, 512), P("fsdp", None)),
        # Not to be cut evenly, or too small to be worth it: on every device.
        ("params/encoder/blocks_0/mlp/up/kernel", (318, 608), P()),
        ("params/encoder/blocks_0/mlp/up/bias", (2048,), P()),
        ("params/classifier/kernel", (512, 4), P()),
        ("step", (), P()),
    ]
    for path, shape, wanted in cases:
        assert spec(path, shape, FourWays()) == wanted, path


def test_every_array_of_a_state_has_a_place() -> None:
    params = {"encoder": {"blocks_0": {"mlp": {"up": {"kernel": jnp.ones((4, 8))}}}}}
    state = create_state(params, make_optimizer(TrainConfig(optimizer="muon"), 10), 0)
    lying = shardings(make_mesh(TrainConfig()), state)
    assert jax.tree.structure(lying) == jax.tree.structure(state)
    assert lying.params["encoder"]["blocks_0"]["mlp"]["up"]["kernel"].spec == P("fsdp", None)


def test_a_batch_that_cannot_be_spread_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"mesh_data = 3 .* need 3 devices, but there (is|are) 1"):
        make_mesh(TrainConfig(mesh_data=3))

    class Eight:
        size = 8

    check_batches(TrainConfig(batch_size=32, accumulation=4, eval_batch_size=8), Eight())
    with pytest.raises(InputError, match=r"batch_size / train.accumulation: found 4, .* of 8"):
        check_batches(TrainConfig(batch_size=32, accumulation=8), Eight())
    with pytest.raises(InputError, match=r"eval_batch_size: found 12"):
        check_batches(TrainConfig(batch_size=32, eval_batch_size=12), Eight())


@pytest.mark.parametrize(
    "attention",
    [
        "reformer_lsh",
        pytest.param("sdpa", marks=pytest.mark.slow),
        pytest.param("performer_favor", marks=pytest.mark.slow),
        pytest.param("local", marks=pytest.mark.slow),
    ],
)
def test_eight_devices_give_the_losses_of_one(attention: str) -> None:
    """Dropout on, in two micro-batches, saved and restored in the middle."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    script = Path(__file__).with_name("mesh_losses.py")
    command = [sys.executable, str(script), attention, "1x1", "8x1", "2x4"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, timeout=500
    )
    one, *others = json.loads(done.stdout)
    assert one["devices"] == 1
    for found, rows in zip(others, (16, 4), strict=True):
        assert found["devices"] == 8
        # The kernel [16, 32] and its moment, as one device holds them.
        assert found["pieces"] == [[rows, 32], [rows, 32]]
        for name in ("loss", "grad_norm"):
            np.testing.assert_allclose(found[name], one[name], rtol=1e-5)
