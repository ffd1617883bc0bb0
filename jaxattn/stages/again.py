"""A run once more, whole or from one of its checkpoints to the next: is it the same?"""

import dataclasses
import itertools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jaxattn.config import UNTRACKED, Config, replace
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.ops.trees import path_names
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.results import Results
from jaxattn.stages import machine
from jaxattn.stages.baseline import baseline
from jaxattn.stages.finetune import finetune
from jaxattn.stages.mlm import pretrain, tapt
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.job import InterruptedRun

SAME = ("validation", "test", "parameters", "best_step", "data_hash")
"""Entries of results.json that a replay must give again."""


@dataclasses.dataclass(frozen=True)
class Replay:
    """A run done again from its configuration.

    Attributes:
      folder: of the replay.
      differing: results that are not the same, as lines; None where the original has none.
      same_log: whether metrics.csv is the same byte for byte.
      inexact: why they may differ on this device; None: they may not.
    """

    folder: RunFolder
    differing: list[str] | None
    same_log: bool
    inexact: str | None


def replay(original: RunFolder) -> Replay:
    """Runs it again in runs/replays/<kind>/<exp>-<n>, and compares the results.

    A TAPT or fine-tuning starts from its checkpoint, which must still be there.
    """
    config, _ = original.saved.config()
    folder = _new_replay(original)
    with folder.locked():
        # Who made the folder does not decide what leaves this machine.
        _run(folder, original, replace(config, UNTRACKED | _parts(original)))
    differing = None
    if original.state == "finished":
        differing = _differences(original.results(), folder.results())
    logs = [one.path / "metrics.csv" for one in (original, folder)]
    same_log = all(log.exists() for log in logs) and logs[0].read_bytes() == logs[1].read_bytes()
    return Replay(folder, differing, same_log, machine.inexact(config))


def _parts(original: RunFolder) -> dict[str, int]:
    """In how many micro-batches a run was computed, where those of its options did not fit."""
    cost = original.results().cost if original.results_path.exists() else None
    return {"train.accumulation": cost.accumulation} if cost and cost.accumulation else {}


def _new_replay(original: RunFolder) -> RunFolder:
    """The first of the numbered names that is free."""
    names = (f"{original.exp[:50]}-{number}" for number in itertools.count(1))
    folders = (RunFolder(original.runs / "replays", original.kind, name) for name in names)
    return next(folder for folder in folders if not folder.path.exists())


def _differences(old: Results, new: Results) -> list[str]:
    return [
        f"{name}: {getattr(old, name)} before, {getattr(new, name)} now"
        for name in SAME
        if getattr(old, name) != getattr(new, name)
    ]


@dataclasses.dataclass(frozen=True)
class Repetition:
    """Steps of a run done again.

    Attributes:
      begin, end: the checkpoints they lie between.
      differing: the parameters that are not the same bit for bit, as lines.
      elsewhere: what tells this machine from that of the run, as lines.
      inexact: why steps may differ on this device; None: they may not.
    """

    begin: int
    end: int
    differing: list[str]
    elsewhere: list[str]
    inexact: str | None


def repeat(original: RunFolder, most: int) -> Repetition:
    """Trains a copy of a run from one checkpoint to the next; `most` as in `stretch`.

    Raises:
      InputError: the run has no such steps, is still running, or its data have changed.
    """
    if original.state == "running":
        raise InputError(f"{original.path} is still running; wait for it")
    checkpoints = Checkpoints(original.path / "checkpoints", keep=1)
    begin, end = stretch(checkpoints.steps(), most, original.path)
    config, _ = original.saved.config()
    elsewhere = machine.differences(original.environment(), machine.describe(config))
    say(f"verify {original.path}: steps {begin + 1} to {end}")
    with tempfile.TemporaryDirectory(prefix="jaxattn-verify-") as root:
        copy = _copy(original, Path(root), begin)
        repeated = Checkpoints(copy.path / "checkpoints", keep=1)
        # From a checkpoint on it goes on in the parts that this one was reached in.
        quiet = replace(config, UNTRACKED | (_parts(original) if begin == 0 else {}))
        try:
            _run(copy, original, quiet, stop_after=end)
        except InterruptedRun:
            if repeated.steps()[-1:] != [end]:
                raise
        if repeated.document(end)["data_hash"] != checkpoints.document(end)["data_hash"]:
            raise InputError(f"{original.path}: the data have changed since the run")
        differing = unequal(checkpoints.load_params(end), repeated.load_params(end))
    return Repetition(begin, end, differing, elsewhere, machine.inexact(config))


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


def unequal(before: object, now: object) -> list[str]:
    """The parameters that are not the same bit for bit, each with its largest difference."""
    lines = []
    leaves = jax.tree_util.tree_leaves_with_path(before)
    for (path, old), new in zip(leaves, jax.tree.leaves(now), strict=True):
        if old.tobytes() != new.tobytes():
            largest = np.abs(np.asarray(old, np.float64) - new).max()
            lines.append(f"{'/'.join(path_names(path))}: differs by up to {largest:.3g}")
    return lines


def _copy(original: RunFolder, root: Path, step: int) -> RunFolder:
    """A folder in which training goes on from that checkpoint; from nothing for step 0."""
    copy = RunFolder(root, original.kind, original.exp)
    copy.path.mkdir(parents=True)
    # What goes on is compared with its checkpoint.
    for file in (original.tokenizer_path, original.saved.path):
        shutil.copy(file, copy.path)
    if step:
        name = f"checkpoints/step_{step:08d}"
        shutil.copytree(original.path / name, copy.path / name)
    return copy


def _run(
    folder: RunFolder, original: RunFolder, config: Config, stop_after: int | None = None
) -> None:
    """Runs the original's stage in another folder."""
    if original.kind == "baseline":
        baseline(folder, config)
    elif original.kind == "pretrain":
        pretrain(folder, config, stop_after)
    else:
        stage = tapt if original.kind == "tapt" else finetune
        stage(folder, config, original.runs, original.pretrained_from(), stop_after)
