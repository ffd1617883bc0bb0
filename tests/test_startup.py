"""What is settled before jax starts, and what the compilation cache keeps apart."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.config import Config, replace, saved
from jaxattn.request import settle

ROOT = Path(__file__).parents[1]
BASE = f"--config={ROOT / 'configs' / 'base.py'}"
FLAG = "--xla_gpu_deterministic_ops=true"


def settled(*argv: str, **environment: str) -> dict[str, str]:
    request = cli.parse(argv)
    assert request is not None
    settle(request, environment)
    return environment


def test_the_configuration_decides_on_deterministic_kernels() -> None:
    assert "XLA_FLAGS" not in settled("--mode=pretrain", BASE)
    on = "--config.train.deterministic=True"
    assert settled("--mode=pretrain", BASE, on)["XLA_FLAGS"] == FLAG
    assert settled("--mode=pretrain", BASE, on, XLA_FLAGS="--a=1")["XLA_FLAGS"] == f"--a=1 {FLAG}"
    own = "--xla_gpu_deterministic_ops=false"
    assert settled("--mode=pretrain", BASE, on, XLA_FLAGS=own)["XLA_FLAGS"] == own


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_saved_run_decides_where_no_configuration_is_given(
    tmp_path: Path, deterministic: bool
) -> None:
    config = replace(Config(), {"train.deterministic": deterministic})
    folder = tmp_path / "finetune" / "x"
    folder.mkdir(parents=True)
    saved.write_yaml(folder / "resolved_config.yaml", saved.flatten(saved.to_plain(config)))
    runs = f"--runs={tmp_path}"
    for argv in (
        ("--mode=verify", f"--run={folder}"),
        ("--mode=eval", "--exp=x", runs),
        ("--mode=eval", "--exp=x", runs, "--config.predict.long=window"),
        ("--mode=finetune", "--exp=x", "--resume", runs),
    ):
        assert ("XLA_FLAGS" in settled(*argv)) == deterministic
    assert "XLA_FLAGS" not in settled("--mode=compare", runs)


def test_the_cache_is_on_but_where_compiling_is_measured(tmp_path: Path) -> None:
    found = settled("--mode=pretrain", BASE, XDG_CACHE_HOME=str(tmp_path))
    assert Path(found["JAX_COMPILATION_CACHE_DIR"]).parent == tmp_path / "jaxattn" / "programs"
    assert "JAX_ENABLE_COMPILATION_CACHE" not in found
    own = settled("--mode=pretrain", BASE, JAX_COMPILATION_CACHE_DIR="/elsewhere")
    assert own["JAX_COMPILATION_CACHE_DIR"] == "/elsewhere"
    for argv in (("--mode=pretrain", "--nocompilation_cache"), ("--mode=plan",)):
        assert settled(*argv, BASE)["JAX_ENABLE_COMPILATION_CACHE"] == "false"


SCRIPT = """
import json
import jax, jax.numpy as jnp
from jaxattn.ops.programs import Programs
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append("cache_hits" in name))
program = Programs(lambda x, batch: jnp.sin(batch["x"] @ batch["x"] + x).sum(), donate=False)
batch = {"x": jnp.ones((8, 8))}
before = sum(hits)
value = program(jnp.zeros(()), batch)
ours = sum(hits) - before
lowered = program.lower(jnp.zeros(()), batch)
lowered.compile()
print(json.dumps([float(value).hex(), ours, sum(hits) - before]))
"""


def test_a_second_process_reads_the_program_it_would_compile(tmp_path: Path) -> None:
    """The order of operations that a CPU program is compiled with is part of its key."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_ENABLE_COMPILATION_CACHE": "true",
    }
    found = []
    for _ in range(2):
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True)
        found.append(json.loads(done.stdout))
    (value, *first), (again, *second) = found
    assert value == again
    # Nothing is found at first, though the same function is there compiled with other options.
    assert first == [0, 0]
    assert second == [1, 2]
