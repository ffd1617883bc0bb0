"""Checkpoints come back bitwise, and damaged ones are never read."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import TrainConfig
from jaxattn.errors import InputError
from jaxattn.train import checkpoints as checkpoints_module
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.optimizer import make_optimizer
from jaxattn.train.state import TrainState, create_state


def state(width: int = 4) -> TrainState:
    params = {"encoder": {"kernel": jnp.arange(3.0 * width).reshape(3, width)}, "b": jnp.ones(2)}
    return create_state(params, make_optimizer(TrainConfig(), 10), seed=7)


def document(best: int | None) -> dict[str, Any]:
    return {"tally": {"best_step": best}}


def damage(checkpoint: Path) -> None:
    """Flips a bit of the parameters."""
    data = next(path for path in (checkpoint / "state/d").iterdir() if path.is_file())
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(bytes(content))


def bits(tree: TrainState) -> list[np.ndarray]:
    tree = tree.replace(key=jax.random.key_data(tree.key))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_state_and_document_come_back_bitwise(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", keep=1)
    content = {"text": "é\u2028\n", "number": 0.1, "none": None}
    checkpoints.save(5, state(), content, best_step=5)
    loaded = checkpoints.load(5, state())
    for one, other in zip(bits(state()), bits(loaded), strict=True):
        np.testing.assert_array_equal(one, other)
    assert checkpoints.document(5) == content
    np.testing.assert_array_equal(checkpoints.load_params(5)["b"], [1, 1])


def test_keeps_the_latest_and_the_best(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    for step in (1, 2, 3, 4, 5):
        checkpoints.save(step, state(), {}, best_step=min(step, 2))
    assert checkpoints.steps() == [2, 4, 5]


def test_a_flipped_bit_is_found_and_the_one_before_is_used(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    checkpoints.save(1, state(), document(1), best_step=1)
    checkpoints.save(2, state(), document(1), best_step=1)
    damage(tmp_path / "c/step_00000002")
    with pytest.raises(InputError, match="changed since it was saved"):
        checkpoints.load(2, state())
    with pytest.warns(UserWarning, match="going back to step 1"):
        assert checkpoints.latest() == 1
    (tmp_path / "c/step_00000001/manifest.json").write_text("{}")
    with pytest.raises(InputError, match="unusable"):
        checkpoints.latest()


def test_a_damaged_best_one_is_found_before_the_run_goes_on(tmp_path: Path) -> None:
    """It would train to the end and then have nothing to end with."""
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    for step in (1, 2, 3):
        checkpoints.save(step, state(), document(min(step, 2)), best_step=min(step, 2))
    checkpoints.save(4, state(), document(2), best_step=2)
    assert checkpoints.steps() == [2, 3, 4]
    damage(tmp_path / "c/step_00000002")
    with pytest.raises(InputError, match="step_00000002.*changed since"):
        checkpoints.latest()
    other = Checkpoints(tmp_path / "d", keep=3)
    for step in (1, 2, 3):
        other.save(step, state(), document(min(step, 2)), best_step=min(step, 2))
    damage(tmp_path / "d/step_00000002")
    with pytest.warns(UserWarning, match=r"step_00000002.*going back to step 1"):
        assert other.latest() == 1
    # It is made again; the damaged one stays for who wants to know, and so does one of before.
    (tmp_path / "d/step_00000002.bad").mkdir()
    (tmp_path / "d/step_00000002.bad/mine").touch()
    other.save(2, state(), document(2), best_step=2)
    assert other.steps() == [1, 2, 3] and (tmp_path / "d/step_00000002.bad/mine").exists()
    assert (tmp_path / "d/step_00000002.2.bad" / "state").is_dir()


def fail(*_: object) -> None:
    raise OSError("full")


def test_nothing_is_deleted_that_was_not_made_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    for name in ("mine", "step_1", "step_00000001.old", "step_00000001.bad"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("kept")
    (tmp_path / "step_00000009").mkdir()  # cut short
    (tmp_path / "step_00000009.orbax-checkpoint-tmp").mkdir()
    for step in (1, 2):
        checkpoints.save(step, state(), document(step), best_step=step)
    names = {path.name for path in tmp_path.iterdir() if (path / "file").exists()}
    assert names == {"mine", "step_1", "step_00000001.old", "step_00000001.bad"}
    assert {path.name for path in tmp_path.iterdir()} - names == {"step_00000002"}
    # Nor is it when a save fails.
    (tmp_path / "step_00000003.bad").mkdir()
    monkeypatch.setattr(checkpoints_module, "write_json", fail)
    with pytest.raises(OSError, match="full"):
        checkpoints.save(3, state(), document(3), best_step=3)
    assert checkpoints.steps() == [2] and (tmp_path / "step_00000003.bad").is_dir()
    assert not (tmp_path / "step_00000003").exists()


def test_a_folder_without_manifest_was_cut_short(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", keep=1)
    checkpoints.save(3, state(), {}, best_step=None)
    (tmp_path / "c/step_00000003/manifest.json").unlink()
    assert checkpoints.latest() is None


def test_other_shapes_are_refused_by_name(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", keep=1)
    checkpoints.save(1, state(4), {}, best_step=None)
    with pytest.raises(InputError, match=r"params/encoder/kernel is float32\[3, 4\].*\[3, 5\]"):
        checkpoints.load(1, state(5))


def test_a_checkpoint_of_a_later_version_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", keep=1)
    checkpoints.save(1, state(), document(None), best_step=None)
    manifest = tmp_path / "c/step_00000001/manifest.json"
    saved = manifest.read_text()
    manifest.write_text(saved.replace('"format": 1', '"format": 2'))
    with pytest.raises(InputError, match="format: found 2.*made by a later version"):
        checkpoints.latest()
    manifest.write_text(saved.replace('"format": 1,', ""))  # as version 0.1.0 wrote it
    assert checkpoints.latest() == 1
