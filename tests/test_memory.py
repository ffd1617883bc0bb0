"""Memory that is not there: refused before it is asked for, or told in one sentence."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn import cli, memory
from jaxattn.config import Config, replace
from jaxattn.console import GIB
from jaxattn.errors import InputError
from jaxattn.memory import main_memory, memory_sentence, out_of_memory
from jaxattn.model.heads import MlmModel, init_mlm
from jaxattn.ops.trees import count_parameters
from jaxattn.runs.folder import RunFolder
from jaxattn.stages import room
from jaxattn.stages.room import parameters, require_memory, require_room

XLA = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 34359738368 bytes."

DISK = "RESOURCE_EXHAUSTED: Failed to write to file: No space left on device [os_error_code='28']"


def test_errors_of_memory_are_known_and_say_what_takes_less() -> None:
    with pytest.raises(MemoryError) as numpy:
        np.zeros((2**30, 2**20))
    for error, wanted in ((ValueError(XLA), "34359738368 bytes"), (numpy.value, "8.00 PiB")):
        assert out_of_memory(error)
        assert f"({wanted} could not be had)" in memory_sentence(error)
    assert "train.accumulation=<n>" in memory_sentence(MemoryError())
    assert not out_of_memory(ValueError(DISK)) and not out_of_memory(ValueError("x"))


def test_the_command_says_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jaxattn.modes import compare

    for error in (jax.errors.JaxRuntimeError(XLA), MemoryError()):

        def run(_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(compare, "run", run)
        assert cli.run(["compare"]) == 1
        said = capsys.readouterr().err
        assert said.startswith("jaxattn: out of memory") and len(said.splitlines()) == 1


def test_the_limit_is_that_of_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = main_memory()
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    inner = tmp_path / "jobs" / "one"
    inner.mkdir(parents=True)
    old = tmp_path / "memory" / "jobs"
    old.mkdir(parents=True)
    groups = tmp_path / "groups"
    monkeypatch.setattr(memory, "GROUPS", groups)
    assert main_memory() == machine
    groups.write_text("0::/jobs/one\n")
    (inner / "memory.max").write_text("max\n")
    (inner.parent / "memory.max").write_text(f"{2 * 2**20}\n")
    assert main_memory() == 2 * 2**20
    groups.write_text("4:memory:/jobs\n3:cpu:/x\n")
    (old / "memory.limit_in_bytes").write_text(f"{2**20}\n")
    assert main_memory() == 2**20


@pytest.mark.parametrize("attention", ["sdpa", "reformer_lsh", "performer_favor"])
def test_what_is_counted_is_a_little_less_than_there_is(attention: str) -> None:
    options = {"attention.type": attention, "attention.reformer_lsh.chunk_size": 64}
    config = replace(Config(), options)
    real = count_parameters(jax.eval_shape(lambda: init_mlm(MlmModel(config, 5000), 0)))
    names = ("hidden_dim", "mlp_dim", "qkv_dim", "num_layers")
    sizes = {f"model.{name}": getattr(config.model, name) for name in names}
    assert 0.75 * real < parameters({**sizes, room.VOCABULARY: 5000}) < real


@pytest.mark.parametrize(
    ("options", "vocabulary", "sentence"),
    [
        ({"model.hidden_dim": 10**9}, 0, "model.hidden_dim: found 1,000,000,000: .* up to about"),
        ({"model.mlp_dim": 10**10}, 0, "model.mlp_dim: found 10,000,000,000"),
        ({}, 10**9, "tokenizer.vocab_size: found 1,000,000,000"),
        ({"train.batch_size": 10**9}, 0, "train.batch_size: found 1,000,000,000: .* fewer than"),
        ({"train.eval_batch_size": 10**9}, 0, "train.eval_batch_size: found 1,000,000,000: "),
    ],
)
def test_sizes_that_cannot_be_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, int],
    vocabulary: int,
    sentence: str,
) -> None:
    monkeypatch.setattr(room, "main_memory", lambda: 24 * GIB)
    folder = RunFolder(tmp_path, "pretrain", "x")
    require_room(folder, Config())
    with pytest.raises(InputError, match=sentence):
        require_room(folder, replace(Config(), options), vocabulary)
    assert not folder.path.exists()


def test_a_step_that_cannot_be_is_refused_before_it_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(Config(), {"train.batch_size": 64})
    program = jax.jit(lambda x: jnp.sort(x @ x.T).sum()).lower(jnp.zeros((1000, 10))).compile()
    require_memory(config, program)
    monkeypatch.setattr(room, "available_memory", lambda: 2**20)
    with pytest.warns(UserWarning, match="only 1.0 MiB are free"):
        require_memory(config, program)
    monkeypatch.setattr(room, "main_memory", lambda: 3 * 2**20)
    with pytest.raises(
        InputError,
        match=r"train.batch_size: found 64 .* train.accumulation=\d+ .train.on_oom=halve",
    ):
        require_memory(config, program)


def test_room_for_checkpoints_is_looked_for_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "runs", "pretrain", "x")
    usage = type("Usage", (), {"free": 500 * 2**20})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    require_room(folder, Config())
    with pytest.raises(InputError, match="checkpoint.keep and one that is written.*keep=[1-9]"):
        require_room(folder, replace(Config(), {"checkpoint.keep": 20}))
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InputError, match="cannot be written to; give another folder, --runs="):
        require_room(folder, Config())
