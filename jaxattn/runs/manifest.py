"""manifest.json: what the files of a run, or of an export, were when it was finished.

It holds the SHA-256 of every file that stays as it is from then on, and the options by name and
value: comments in the YAML, and where the data lie, may change. Who reads a file of a run checks it
first, so that no number comes from a tokenizer, an option or a table that is not the run's own.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from jaxattn.config import Config, Scope, as_meant, declared, scope_of
from jaxattn.errors import InputError, quoted
from jaxattn.files import entry, read_object
from jaxattn.runs.formats import ENTRY, FORMAT, check_format
from jaxattn.runs.predictions import NAME as PREDICTIONS
from jaxattn.runs.signed import read_signed, write_signed

NAME = "manifest.json"

TOKENIZER = "tokenizer.json"

RESULTS = "results.json"

METRICS = "metrics.csv"

SIGNED = (
    TOKENIZER, RESULTS, PREDICTIONS, METRICS, "environment.json", "events.jsonl", "merged.json",
    "tfidf_model.npz", "tfidf_model.json", "tfidf_terms.txt",
)  # fmt: skip
"""Files that nobody writes any more once the run is finished, as far as it has them."""

SIGNED_ENTRY = "signed"
"""Of status.json, and of the options of an export: whether there is a manifest."""

DATA_PATH = "data.path"
"""May change when a run goes on: the hash of the data tells whether they are the same."""

_USE = "predict"
"""Options that may change when a run goes on, and yet decide what its classifier answers."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What was written down of a folder.

    Attributes:
      folder: where it stands.
      files: path within the folder -> SHA-256 in hexadecimal.
      options: dotted name -> value, those that change a result or an answer.
      weights: of an export: name -> dtype and shape.
    """

    folder: Path
    files: Mapping[str, str]
    options: Mapping[str, Any]
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """That of `folder`; None where the run is not finished, or older than manifests.

        Raises:
          InputError: it cannot be read, is not as it was written, or was there and is gone.
        """
        path = folder / NAME
        if not path.exists():
            if _had_one(folder):
                raise InputError(
                    f"{path}: missing, though the run has written it; {_advice(folder)}"
                )
            return None
        tree, is_right = read_signed(path)
        check_format(tree, path)
        if not is_right:
            raise InputError(f"{path}: changed since it was written; {_advice(folder)}")
        # Those of a run have no weights.
        tree = {"weights": {}, **tree}
        files, options, weights = (
            entry(tree, name, dict, path) for name in ("files", "options", "weights")
        )
        for name in files:
            # It may be anybody's: files outside of the folder are none of its business.
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise InputError(f"{path}: files: found {quoted(name)}, expected one in the folder")
        return cls(folder, files, options, weights)

    def write(self) -> None:
        """Writes it whole or not at all, with its own SHA-256."""
        tree = {ENTRY: FORMAT, "files": dict(self.files), "options": _plain(self.options)}
        if self.weights:
            tree["weights"] = dict(self.weights)
        write_signed(self.folder / NAME, tree)

    def fault(self, name: str) -> str:
        """What is wrong with a file, in a word or two; "" where it is as it was, or not listed."""
        if name not in self.files:
            return ""
        path = self.folder / name
        if not path.is_file():
            return "no file" if path.exists() else "missing"
        try:
            same = file_digest(path) == self.files[name]
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        return "" if same else "changed"

    def require(self, names: Iterable[str]) -> None:
        """Raises InputError for the first of these files that is not as it was."""
        for name in names:
            if fault := self.fault(name):
                since = " since it was finished" if fault == "changed" else ""
                raise InputError(f"{self.folder / name}: {fault}{since}; {_advice(self.folder)}")

    def changed_option(self, options: Mapping[str, Any]) -> str:
        """The first option of these that is not as it was, in words; "" where all are.

        `options`: flat, of any version.
        """
        now = _plain(as_meant(options))
        for name, value in self.options.items():
            if not _same(now.get(name), value):
                return f"{name} is {quoted(now.get(name))}, but was {quoted(value)}"
        # An option that came with a later version has its default.
        known = self.options.keys() | declared(Config).keys() | {ENTRY}
        return next((f"{name} is new, but was not there" for name in now if name not in known), "")

    def require_options(self, options: Mapping[str, Any], path: Path) -> None:
        """Raises InputError, naming the file `path`, for an option that is not as it was."""
        if changed := self.changed_option(options):
            raise InputError(f"{path}: {changed} when it was finished; {_advice(self.folder)}")


def sign(folder: Path, kind: str, options: Mapping[str, Any], files: Iterable[str]) -> None:
    """Writes the manifest of a run of this kind, of those of `files` that are there."""
    digests = {name: file_digest(folder / name) for name in files if (folder / name).is_file()}
    Manifest(folder, digests, counting(options, kind)).write()


def counting(options: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The flat options, as they are meant, that change what a run of this kind gives or answers."""
    return {
        name: value
        for name, value in as_meant(options).items()
        if name != DATA_PATH
        and not (scope_of(name) & Scope.BOOKKEEPING and name.partition(".")[0] not in (kind, _USE))
    }


def checkpoint_file(step: int) -> str:
    """The manifest of a checkpoint, by its path within the run: it stands for all its files."""
    return f"checkpoints/step_{step:08d}/{NAME}"


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _had_one(folder: Path) -> bool:
    """Whether status.json says of a finished run that it has one."""
    with contextlib.suppress(InputError):
        status = read_object(folder / "status.json")
        return status.get("state") == "finished" and status.get(SIGNED_ENTRY) is True
    return False


def _advice(folder: Path) -> str:
    return (
        "restore it from a copy, or make the folder anew (`jaxattn check "
        f"--run={folder}` lists what differs)"
    )


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(options), default=str))
    return plain


def _same(one: Any, other: Any) -> bool:
    """Whether two values mean the same: to YAML 3e-4 is a text, since it has no point."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, str) == isinstance(other, str):
        return bool(one == other)
    try:
        return float(one) == float(other)
    except (TypeError, ValueError):
        return False
