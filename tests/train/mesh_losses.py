"""Run by test_sharding.py in a process of its own: losses of some steps on a mesh, as JSON.

Arguments: attention, then data x fsdp of each mesh ("1x1"). The number of devices is set by
XLA_FLAGS, which jax reads once.
"""

import json
import sys
import tempfile
from pathlib import Path

from jaxattn.config import Config, replace
from jaxattn.model.heads import MlmModel
from jaxattn.ops.programs import Programs
from jaxattn.profile.synthetic_step import synthetic_step
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.optimizer import make_optimizer
from jaxattn.train.sharding import (
    BatchPlacement,
    gathered,
    make_mesh,
    place,
    sharded_step,
    shardings,
)
from jaxattn.train.steps import make_train_step, mlm_loss

STEPS, SAVED = 5, 3


def losses(attention: str, data: int, fsdp: int) -> dict[str, object]:
    """Losses of a run that is saved, restored and continued; norms of the gradients; placement."""
    values = {
        "model.num_layers": 1,
        "model.hidden_dim": 16,
        "model.mlp_dim": 32,
        "model.num_heads": 2,
        "model.qkv_dim": 16,
        "attention.type": attention,
        "attention.reformer_lsh.chunk_size": 8,
        "attention.reformer_lsh.num_hashes": 2,
        "attention.local.window": 8,
        "train.accumulation": 2,
        "train.warmup_ratio": 0.0,
        "train.learning_rate": 0.01,
        "train.mesh_data": data,
        "train.mesh_fsdp": fsdp,
    }
    config = replace(Config(), values)
    made = synthetic_step(config, task="mlm", batch_size=16, length=24, vocab_size=41)
    mesh = make_mesh(config.train)
    state = place(mesh, made.make_state(0))
    function = make_train_step(
        gathered(mesh, mlm_loss(MlmModel(config, 41))),
        make_optimizer(config.train, 100),
        accumulation=config.train.accumulation,
        redraw_interval=1,
        loss_scale_steps=1,
    )
    function = sharded_step(function, shardings(mesh, state))
    step = Programs(function, donate=True, place=BatchPlacement(mesh))
    found: dict[str, object] = {"loss": [], "grad_norm": []}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder) / "c", keep=1)
        for number in range(STEPS):
            if number == SAVED:
                checkpoints.save(number, state, {}, best_step=None)
                state = checkpoints.load(number, place(mesh, made.make_state(1)))
            state, sums = step(state, made.make_batch(number))
            for name in ("loss", "grad_norm"):
                found[name].append(float(sums[name]))
    kernel = state.params["encoder"]["blocks_0"]["mlp"]["up"]["kernel"]
    moment = state.opt_state[1][0].mu["encoder"]["blocks_0"]["mlp"]["up"]["kernel"]
    found["pieces"] = [x.addressable_shards[0].data.shape for x in (kernel, moment)]
    found["devices"] = len(kernel.sharding.device_set)
    return found


if __name__ == "__main__":
    print(json.dumps([losses(sys.argv[1], *map(int, m.split("x"))) for m in sys.argv[2:]]))
