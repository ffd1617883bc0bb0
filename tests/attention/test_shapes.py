"""What functions of attention/ and model/ say of types and shapes, checked as they are called.

In a process of its own: the check must be there before the modules are imported.
"""

import os
import subprocess
import sys
from pathlib import Path

CALLS = """
import jax, jax.numpy as jnp, jaxtyping
jaxtyping.install_import_hook(("jaxattn.attention", "jaxattn.model"), "beartype.beartype")
from jaxattn.attention import ATTENTIONS
from jaxattn.attention.inputs import hide
from jaxattn.config import Config, replace
from jaxattn.model.heads import ClassifierModel, MlmModel

key = jax.random.key(0)
q = jax.ShapeDtypeStruct((2, 5, 2, 4), jnp.bfloat16)
masks = [
    {},
    {"key_mask": jnp.ones((2, 5), bool), "bias": jnp.ones((1, 2, 1, 5)), "attn_mask": True},
    {"relative_bias": jnp.ones((2, 3)), "segment_ids": jnp.ones((2, 5), int)},
]
for name, op in ATTENTIONS.items():
    for given in masks:
        given = given | ({"attn_mask": jnp.ones(5, bool)} if "attn_mask" in given else {})
        for shared in (False, True)[: 1 + op.shares_qk]:
            def loss(q, v):
                return op.apply(q, None if shared else v, v, key=key, **given).sum()
            jax.eval_shape(jax.grad(loss, (0, 1)), q, q)

tiny = {"model.hidden_dim": 16, "model.qkv_dim": 16, "model.num_heads": 2, "model.num_layers": 2,
        "model.mlp_dim": 32, "model.max_seq_len": 32, "data.max_length": 32}
ids, mask = jnp.ones((2, 8), jnp.int32), jnp.ones((2, 8), bool)
for name in ATTENTIONS:
    for positions in ("relative", "rope"):
        config = replace(Config(), tiny | {"attention.type": name, "model.positions": positions})
        for model, more in ((MlmModel(config, 30), (ids[:, :3], ids)),
                            (ClassifierModel(config, 30, 3), ())):
            keys = {"params": key, "attention": key, "dropout": key}
            def loss(params):
                out = model.apply({"params": params}, ids, mask, *more, deterministic=False,
                                  rngs=keys)
                return out.sum()
            def init():
                return model.init(keys, ids, mask, *more, deterministic=True)["params"]
            jax.eval_shape(jax.grad(loss), jax.eval_shape(init))

try:
    hide(jnp.ones((2, 5, 2, 4)), jnp.ones((2, 6), bool))
except jaxtyping.TypeCheckError:
    print("refused")
"""


def test_types_and_shapes_are_what_the_annotations_say() -> None:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    command = [sys.executable, "-c", CALLS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr[-3000:]
