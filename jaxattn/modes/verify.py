"""--mode=verify: repeat steps of a finished run, and say whether the parameters are the same."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxattn.config import Config, replace
from jaxattn.errors import InputError
from jaxattn.modes import environment
from jaxattn.modes.finetune import finetune
from jaxattn.modes.pretrain import pretrain
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder, given_run, read_json
from jaxattn.modes.tapt import tapt
from jaxattn.modes.training import say
from jaxattn.ops.trees import path_names
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.job import InterruptedRun

VERSIONS = ("jaxattn", "jax", "jaxlib", "flax", "optax", "numpy")
"""Packages whose versions may change a bit of the result."""
DEVICE = ("device", "device_kind", "device_count")
"""Entries of environment.json that may; the device's name says how many cores a CPU has."""


def run(request: Request) -> int:
    """Repeats runs/<kind>/<exp> from one checkpoint to the next; 1 where a parameter differs.

    Nothing is written into the run. The steps are those between two of its checkpoints, or from
    step 0 to the first: the fewest there are, or with --steps=N the most that are at most N.
    """
    original = given_run(request.needed("run", "runs/finetune/imdb_lsh"))
    if original.kind == "baseline":
        raise InputError(f"--run={request.run}: a baseline has no steps to repeat")
    original.must_be_trained()
    if original.state == "running":
        raise InputError(f"{original.path} is still running; wait for it")
    checkpoints = Checkpoints(original.path / "checkpoints", keep=1)
    begin, end = stretch(checkpoints.steps(), request.steps, original.path)
    config, _ = original.saved_config()
    here = environment.describe(config)
    elsewhere = differences(read_json(original.path / "environment.json"), here)
    say(f"verify {original.path}: steps {begin + 1} to {end}")
    with tempfile.TemporaryDirectory(prefix="jaxattn-verify-") as root:
        copy = _copy(original, Path(root), begin)
        try:
            _train(
                copy, original, replace(config, {"log.wandb": "off", "log.tensorboard": False}), end
            )
        except InterruptedRun:
            repeated = Checkpoints(copy.path / "checkpoints", keep=1)
            if repeated.steps()[-1:] != [end]:
                raise
        if repeated.document(end)["data_hash"] != checkpoints.document(end)["data_hash"]:
            raise InputError(f"{original.path}: the data have changed since the run")
        differing = unequal(checkpoints.load_params(end), repeated.load_params(end))
    for line in differing:
        print(line)
    for line in elsewhere:
        print(f"not the machine of the run, so exactness is not promised here: {line}")
    if reason := environment.inexact(config):
        print(f"exactness is not promised: {reason}")
    verdict = (
        f"{len(differing)} parameters differ" if differing else "all parameters are bitwise equal"
    )
    print(f"{original.path}: steps {begin + 1} to {end} repeated; {verdict}")
    return 1 if differing else 0


def stretch(steps: Sequence[int], most: int, path: Path) -> tuple[int, int]:
    """The two neighbouring checkpoints to go from and to; step 0 counts as one.

    The nearest two for `most` = 0, else those that are furthest apart within `most` steps.

    Raises:
      InputError: there is no checkpoint, or all are further apart.
    """
    pairs = list(zip([0, *steps], steps, strict=False))
    if not pairs:
        raise InputError(f"{path}: no finished checkpoint to compare with")
    shortest = min(pairs, key=lambda pair: pair[1] - pair[0])
    if not most:
        return shortest
    within = [pair for pair in pairs if pair[1] - pair[0] <= most]
    if not within:
        least = shortest[1] - shortest[0]
        raise InputError(
            f"--steps={most}: the nearest checkpoints of {path} are {least} steps apart; allowed: "
            f"{least} or more"
        )
    return max(within, key=lambda pair: pair[1] - pair[0])


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What may make the bits differ: versions, cores and device, as lines."""
    pairs = [(name, there.get(name), here.get(name)) for name in DEVICE]
    versions = there.get("versions", {}), here["versions"]
    pairs += [(name, *(found.get(name) for found in versions)) for name in VERSIONS]
    return [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new]


def unequal(there: Any, here: Any) -> list[str]:
    """The parameters that are not the same bit for bit, each with its largest difference."""
    lines = []
    found = jax.tree_util.tree_leaves_with_path(there)
    for (path, old), new in zip(found, jax.tree.leaves(here), strict=True):
        if old.tobytes() != new.tobytes():
            largest = np.abs(np.asarray(old, np.float64) - new).max()
            lines.append(f"{'/'.join(path_names(path))}: differs by up to {largest:.3g}")
    return lines


def _copy(original: RunFolder, root: Path, step: int) -> RunFolder:
    """A folder in which training goes on from that checkpoint; from nothing for step 0."""
    copy = RunFolder(root, original.kind, original.exp)
    copy.path.mkdir(parents=True)
    shutil.copy(original.path / "tokenizer.json", copy.path)
    if step:
        name = f"checkpoints/step_{step:08d}"
        shutil.copytree(original.path / name, copy.path / name)
    return copy


def _train(copy: RunFolder, original: RunFolder, config: Config, end: int) -> None:
    if original.kind == "pretrain":
        pretrain(copy, config, stop_after=end)
    else:
        stage = tapt if original.kind == "tapt" else finetune
        stage(copy, config, original.runs, original.pretrained_from(), stop_after=end)
