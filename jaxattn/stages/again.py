"""Steps or a whole run once more: are they the same?"""

import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxattn.config import Config
from jaxattn.errors import InputError
from jaxattn.ops.trees import path_names
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.results import Results
from jaxattn.stages.baseline import baseline
from jaxattn.stages.finetune import finetune
from jaxattn.stages.mlm import pretrain, tapt

SAME = ("validation", "test", "parameters", "best_step", "data_hash")
"""Entries of results.json that a replay must give again."""


def replay_folder(original: RunFolder) -> RunFolder:
    """The first free runs/replays/<kind>/<exp>-<n>."""
    root = original.runs / "replays"
    names = (f"{original.exp[:50]}-{number}" for number in itertools.count(1))
    folders = (RunFolder(root, original.kind, name) for name in names)
    return next(folder for folder in folders if not folder.path.exists())


def repeat(
    original: RunFolder, copy: RunFolder, config: Config, stop_after: int | None = None
) -> None:
    """Runs in `copy` what was run in `original`; `stop_after`: see `train`."""
    if original.kind == "baseline":
        baseline(copy, config)
    elif original.kind == "pretrain":
        pretrain(copy, config, stop_after)
    else:
        stage = tapt if original.kind == "tapt" else finetune
        stage(copy, config, original.runs, original.pretrained_from(), stop_after)


def unlike(old: Results, new: Results) -> Iterator[str]:
    """The entries of `SAME` that differ, each as a line."""
    for name in SAME:
        before, now = getattr(old, name), getattr(new, name)
        if before != now:
            yield f"{name}: {before} before, {now} now"


VERSIONS = ("jaxattn", "jax", "jaxlib", "flax", "optax", "numpy")
"""Packages whose versions may change a bit of the result."""

DEVICE = ("device", "device_kind", "device_count")
"""Entries of environment.json that may; the device's name says how many cores a CPU has."""


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


def copy_of(original: RunFolder, root: Path, step: int) -> RunFolder:
    """A folder in which training goes on from that checkpoint; from nothing for step 0."""
    copy = RunFolder(root, original.kind, original.exp)
    copy.path.mkdir(parents=True)
    shutil.copy(original.tokenizer_path, copy.path)
    if step:
        name = f"checkpoints/step_{step:08d}"
        shutil.copytree(original.path / name, copy.path / name)
    return copy
