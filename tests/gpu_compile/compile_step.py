"""Compiles BERT_SMALL's MLM training step for an NVIDIA GPU that need not be there.

    python tests/gpu_compile/compile_step.py sdpa 32 512 h100 /tmp/step [option=value ...]

writes the optimised program to /tmp/step.txt and its memory, in bytes, to /tmp/step.json. For this
the package is told that the default device is a GPU, and that the probes of its kernels, which run
them once, succeeded; nothing is timed.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
# The plug-in would look for CUDA's libraries, which compiling does not need.
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"

import jax
import numpy as np
import yaml
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxattn.attention import probes
from jaxattn.config import Config, replace
from jaxattn.config.presets import architecture_options
from jaxattn.ops.programs import GPU_OPTIONS
from jaxattn.profile.synthetic_step import synthetic_step

VOCABULARY = 30522
# What XLA asks a device about itself.
_DEVICE = """gpu_device_info {{ threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 threads_per_core_limit: {threads} core_count: {cores}
  fpus_per_core: {units} shared_memory_per_core: {shared} shared_memory_per_block_optin: {optin}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth} l2_cache_size: {cache} clock_rate_ghz: {clock}
  device_memory_size: {memory} registers_per_core_limit: 65536 registers_per_block_limit: 65536
  cuda_compute_capability {{ major: {major} minor: {minor} }} }}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 12 patch: 0 }}
device_description_str: "{name}"
"""
DEVICES = {
    "h100": _DEVICE.format(
        name="NVIDIA H100 80GB HBM3", major=9, minor=0, cores=132, units=128, threads=2048,
        shared=233472, optin=232448, bandwidth=3352320000000, cache=52428800, clock=1.98,
        memory=84978434048,
    ),
    "t4": _DEVICE.format(
        name="Tesla T4", major=7, minor=5, cores=40, units=64, threads=1024,
        shared=65536, optin=65536, bandwidth=320064000000, cache=4194304, clock=1.59,
        memory=15655829504,
    ),
}  # fmt: skip


def pretend() -> None:
    """Has JAX and the package choose what they would choose on an H100 with cuDNN 9.12."""
    from jax._src.cudnn import fused_attention_stablehlo as fused

    jax.default_backend = lambda: "gpu"
    probes.TRUSTED = True
    fused.check_cudnn_version = lambda: 91200
    fused.check_compute_capability = lambda *capability: True
    fused.is_cuda_compute_capability_equal = lambda *capability: False


def compiled_step(
    attention: str, rows: int, length: int, device: str, options: dict[str, Any]
) -> jax.stages.Compiled:
    """The step of `train.batch_size` rows of `length` tokens, with the package's own options and
    deterministic kernels."""
    config = replace(
        Config(),
        architecture_options("bert_small")
        | {
            "attention.type": attention,
            "train.precision": "bfloat16" if device == "h100" else "float16",
            "train.batch_size": rows,
            "data.max_length": length,
            "model.max_seq_len": max(512, length),
        }
        | options,
    )
    step = synthetic_step(config, task="mlm", batch_size=rows, length=length, vocab_size=VOCABULARY)
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=DEVICES[device], topology="1x1x1"
    )
    place = NamedSharding(Mesh(np.array(topology.devices), ("x",)), PartitionSpec())

    def on_device(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)

    traced = jax.jit(step.function, donate_argnums=(0,)).trace(
        on_device(step.state), on_device(step.batch)
    )
    # There is nothing to time the candidates of a product on.
    return traced.lower(lowering_platforms=("cuda",)).compile(
        compiler_options=GPU_OPTIONS
        | {"xla_gpu_deterministic_ops": True, "xla_gpu_autotune_level": 0}
    )


if __name__ == "__main__":
    pretend()
    given = dict(pair.split("=", 1) for pair in sys.argv[6:])
    program = compiled_step(
        sys.argv[1],
        int(sys.argv[2]),
        int(sys.argv[3]),
        sys.argv[4],
        {name: yaml.safe_load(value) for name, value in given.items()},
    )
    path = Path(sys.argv[5])
    path.with_suffix(".txt").write_text(program.as_text(), encoding="utf-8")
    memory = program.memory_analysis()
    path.with_suffix(".json").write_text(
        json.dumps({"temporaries": memory.temp_size_in_bytes}), encoding="utf-8"
    )
