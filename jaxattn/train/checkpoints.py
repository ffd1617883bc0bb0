"""Orbax checkpoints that are whole and unchanged, or not read at all.

A checkpoint folder `step_<n>` holds the training state and a document (configuration, tokenizer,
progress); of a run that trains a part of the parameters, that part only. Orbax makes the folder
appear whole; the manifest, written last, holds the SHA-256 of every file in it, because Orbax
restores a flipped bit without a word. A folder whose manifest is missing was cut short and is
passed over. Nothing is deleted that was not made here, and a checkpoint that was damaged is put
aside as `step_<n>.bad`.
"""

import hashlib
import itertools
import json
import logging
import os
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree
from orbax.checkpoint import v1 as ocp

from jaxattn.disk import naming
from jaxattn.errors import InputError
from jaxattn.files import read_object, real, write_json
from jaxattn.ops.trees import Params
from jaxattn.runs.formats import ENTRY, FORMAT, check_format
from jaxattn.signals import held_back

MANIFEST = "manifest.json"

EVAL_PARAMS = "eval_params"

_OURS = re.compile(r"step_\d{8}(\.orbax-checkpoint-tmp.*)?")
"""Names of checkpoints, and of what Orbax has begun to write."""

# A thread of Orbax that fails says so with a traceback; the error itself comes to who waits for it.
logging.getLogger("absl").addFilter(
    lambda record: "_SignalingThread.run() raised" not in str(record.msg)
)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _on_disk(folder: Path) -> None:
    """Returns when what is in the folder would survive a power cut."""
    if os.name == "nt":
        return  # it opens no folders, and writes no files that are open to be read
    for path in (*folder.rglob("*"), folder, folder.parent):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _abstract(tree: PyTree) -> PyTree:
    def describe(leaf: PyTree) -> PyTree:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)

    return jax.tree.map(describe, tree)


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, keep: int) -> None:
        """`folder` is made when the first checkpoint is saved; `keep`: latest ones not deleted."""
        self.folder = real(folder)
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, oldest first."""
        found = (path.parent.name for path in self.folder.glob(f"step_*/{MANIFEST}"))
        return sorted(int(name.removeprefix("step_")) for name in found if _OURS.fullmatch(name))

    def _path(self, step: int) -> Path:
        return self.folder / f"step_{step:08d}"

    @held_back()
    def save(
        self,
        step: int,
        state: PyTree,
        document: dict[str, Any],
        best_step: int | None,
        eval_params: Params | None = None,
    ) -> None:
        """Saves, then deletes what is neither among the latest `keep` nor the best.

        `eval_params` are what `load_params` is to give where that is not `state.params`.
        """
        path = self._path(step)
        self._make_room(step)
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = {"state": state} | ({} if eval_params is None else {EVAL_PARAMS: eval_params})
        about = {"document": json.dumps(document)}
        try:
            with naming(path):
                ocp.save_checkpointables(path, saved, custom_metadata=about)
            write_json(path / MANIFEST, {ENTRY: FORMAT} | _digests(path))
            with naming(path):
                _on_disk(path)
        except BaseException:
            # What there is of it fills the disk, and why the run failed has to be written yet.
            self._remove(lambda name: name.startswith(path.name))
            raise
        kept = {*self.steps()[-self.keep :], step, best_step}
        names = {self._path(s).name for s in kept if s is not None}
        self._remove(lambda name: name not in names)

    def _remove(self, wanted: Callable[[str], bool]) -> None:
        """Takes away those of the checkpoints, finished or begun, whose names are `wanted`."""
        for path in self.folder.iterdir():
            if _OURS.fullmatch(path.name) and wanted(path.name):
                shutil.rmtree(path, ignore_errors=True)

    def _make_room(self, step: int) -> None:
        """Takes away what stands at a step that is saved again: cut short, or of another time."""
        path = self._path(step)
        if (path / MANIFEST).exists():
            try:
                self.verify(step)
            except InputError:
                # One that was put aside before stays.
                names = itertools.chain([".bad"], (f".{n}.bad" for n in itertools.count(2)))
                places = (path.with_name(path.name + name) for name in names)
                path.rename(next(place for place in places if not place.exists()))
        shutil.rmtree(path, ignore_errors=True)

    def verify(self, step: int) -> None:
        """Raises InputError unless every file of the checkpoint is as it was written."""
        path = self._path(step)
        try:
            expected = read_object(path / MANIFEST)
        except InputError:
            raise InputError(f"{path}: no readable {MANIFEST}; checkpoint unusable") from None
        check_format(expected, path / MANIFEST)
        expected.pop(ENTRY, None)
        found = _digests(path)
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                what = "changed" if name in found and name in expected else "missing or unexpected"
                raise InputError(f"{path / name}: {what} since it was saved; checkpoint unusable")

    @held_back()
    def document(self, step: int) -> dict[str, Any]:
        """The verified checkpoint's document."""
        self.verify(step)
        path = self._path(step)
        try:
            metadata = ocp.checkpointables_metadata(path)
            document: dict[str, Any] = json.loads(metadata.custom_metadata["document"])
        except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
            # Its manifest is right, and is of something else.
            raise InputError(
                f"{path}: not a checkpoint of jaxattn ({type(error).__name__}: {error}); if it is "
                "none, take it away"
            ) from None
        return document

    @held_back()
    def load(self, step: int, like: PyTree) -> PyTree:
        """The verified checkpoint's state, in the structure, shapes and dtypes of `like`.

        Raises InputError when the checkpoint holds arrays of other names, shapes or dtypes.
        """
        self.verify(step)
        path = self._path(step)
        metadata = ocp.checkpointables_metadata(path).metadata["state"]
        wanted, found = _described(like), _described(metadata)
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                raise InputError(
                    f"{path}: {name} is {found.get(name, 'absent')} in the checkpoint, but this "
                    f"configuration needs {wanted.get(name, 'none')}"
                )
        return ocp.load_checkpointables(path, {"state": _abstract(like)})["state"]

    @held_back()
    def load_params(self, step: int) -> Params:
        """The verified checkpoint's parameters as NumPy arrays, nested dicts as saved.

        They are those to evaluate: of a schedule-free optimizer not those that are trained.
        """
        self.verify(step)
        path = self._path(step)
        found = ocp.checkpointables_metadata(path).metadata
        is_array = lambda leaf: hasattr(leaf, "shape")  # noqa: E731

        def empty(tree: PyTree) -> PyTree:
            return jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree, is_leaf=is_array)

        if EVAL_PARAMS in found:
            apart = ocp.load_checkpointables(path, {EVAL_PARAMS: empty(found[EVAL_PARAMS])})
            evaluated: Params = jax.tree.map(np.asarray, apart[EVAL_PARAMS])
            return evaluated
        metadata = found["state"]
        params = empty(metadata["params"])
        rest = jax.tree.map(lambda _: ..., dict(metadata), is_leaf=is_array)
        loaded = ocp.load_checkpointables(path, {"state": {**rest, "params": params}})
        params = jax.tree.map(np.asarray, loaded["state"]["params"])
        result: Params = params
        return result

    def latest(self) -> int | None:
        """The newest checkpoint to go on from; None when none was ever finished.

        It passes verification, and so does the best one until then, which the run will end with.

        Raises InputError when there are checkpoints and not one of them is whole: beginning anew
        without a word would lose what they hold.
        """
        problem = None
        for step in reversed(self.steps()):
            try:
                best = self.document(step)["tally"]["best_step"]
                if best not in (None, step):
                    self.verify(best)
            except InputError as error:
                problem = problem or error
                continue
            if problem:
                warnings.warn(f"{problem}; going back to step {step}", stacklevel=2)
            return step
        if problem:
            raise problem
        return None


def _described(tree: PyTree) -> dict[str, str]:
    """Parameter path -> 'dtype[shape]'; PRNG keys and empty optimizer states are left out."""
    leaves = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))[0]
    described = {}
    for path, leaf in leaves:
        names = [str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path]
        if names[0] == "params":
            described["/".join(names)] = f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
    return described
