"""A finished run repeated from a checkpoint: bitwise the same, or told where not."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxattn import cli
from jaxattn.errors import InputError
from jaxattn.stages.again import stretch, unequal
from jaxattn.train import steps


@pytest.fixture(scope="module")
def finished(tiny_flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 steps of three epochs, checkpoints after 8, 10, 16, 20 and 24."""
    runs = tmp_path_factory.mktemp("runs")
    flags = [
        *tiny_flags,
        "--config.train.epochs=3",
        "--config.data.length_buckets=32",
        "--config.checkpoint.every_steps=10",
        "--config.checkpoint.keep=9",
        "--config.finetune.freeze_blocks=1",
    ]
    argv = [*flags, "--mode=finetune", "--exp=x", "--pretrain=none", f"--runs={runs}"]
    assert cli.run(argv) == 0
    return runs / "finetune" / "x"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_repeated_steps_are_bitwise_the_same(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(finished)
    assert cli.run(["--mode=verify", f"--run={finished}"]) == 0
    out = capsys.readouterr().out
    assert "steps 9 to 10 repeated; all parameters are bitwise equal" in out
    assert "not promised" not in out
    assert files(finished) == before


def test_other_keys_and_another_machine_are_told(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = finished / "environment.json"
    text = path.read_text()
    changed = json.loads(text)
    changed["versions"]["jax"] = "0.0.1"
    path.write_text(json.dumps(changed))
    monkeypatch.setattr(steps, "dropout_key", lambda root, step, prng: jax.random.fold_in(root, 99))
    try:
        assert cli.run(["--mode=verify", f"--run={finished}", "--steps=8"]) == 1
    finally:
        path.write_text(text)
    out = capsys.readouterr().out
    assert "steps 1 to 8 repeated" in out
    assert "classifier/kernel: differs by up to" in out
    assert "exactness is not promised here: jax was 0.0.1, is " in out


def test_the_stretch_between_checkpoints() -> None:
    path = Path("x")
    assert stretch([8, 10, 16], 0, path) == (8, 10)
    assert stretch([8, 10, 16], 6, path) == (10, 16)
    assert stretch([8, 10, 16], 100, path) == (0, 8)
    assert stretch([30], 0, path) == (0, 30)
    with pytest.raises(InputError, match=r"--steps=1: .* 2 steps apart; allowed: 2 or more"):
        stretch([8, 10, 16], 1, path)
    with pytest.raises(InputError, match="no finished checkpoint"):
        stretch([], 0, path)


def test_one_bit_is_a_difference() -> None:
    old = {"a": np.float32([1.0, 2.0]), "b": np.zeros(2, np.float32)}
    new = {"a": np.nextafter(old["a"], np.float32(9)), "b": np.float32([0.0, -0.0])}
    assert [line.split(":")[0] for line in unequal(old, new)] == ["a", "b"]
    assert unequal(old, old) == []


def test_a_baseline_has_no_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "baseline" / "t"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("train.seed: 0\n")
    assert cli.run(["--mode=verify", f"--run={folder}"]) == 2
    assert "no steps to repeat" in capsys.readouterr().err
