"""The folder of one run: its name, its state, and the small files in it."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from jaxattn.config import Config
from jaxattn.errors import InputError
from jaxattn.files import entry, read_json, read_object, real, write_json
from jaxattn.runs.events import last_saved
from jaxattn.runs.kinds import KINDS
from jaxattn.runs.lock import PATIENCE, locked
from jaxattn.runs.manifest import NAME as MANIFEST
from jaxattn.runs.manifest import RESULTS, SIGNED, Manifest, checkpoint_file, sign
from jaxattn.runs.options import SavedOptions
from jaxattn.runs.results import Results
from jaxattn.runs.status import (
    Status,
    marked_running,
    noted,
    read_status,
    write_status,
    writer_of,
)
from jaxattn.runs.values import text

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)

NAMES = "a letter or digit, then up to 63 letters, digits, '_', '.', '-'"
"""What `NAME` is, in words."""

MERGED = "merged.json"
"""Says of a run that it was not trained but folded from another, which stands for both."""

MARKS = (
    "status.json", "results.json", "environment.json",
    *dict.fromkeys(kind.config_file for kind in KINDS.values()),
)  # fmt: skip
"""A folder that holds one of these is a run."""

RESULTS_TABLE = "results.csv"
"""The file of a report that lists its runs."""

IMPORTED_FROM = "imported_from"
"""Entry beside the options of a run whose parameters were imported: the folder they are from."""


def is_report(folder: Path) -> bool:
    """Whether `folder` is what --mode=compare wrote."""
    return (folder / RESULTS_TABLE).is_file()


def given_run(flag: str) -> "RunFolder":
    """The folder of `--run=<flag>`; raises InputError where that cannot be a run."""
    path = Path(flag).absolute()
    if path.parent.name not in KINDS:
        raise InputError(
            f"--run={flag}: not a run folder; expected runs/<kind>/<exp> with kind one of "
            f"{', '.join(KINDS)}"
        )
    folder = RunFolder(path.parent.parent, path.parent.name, path.name, "--run")
    folder.must_exist()
    merged = folder.path / MERGED
    if merged.exists():
        origin = entry(read_json(merged), "exp", str, merged)
        raise InputError(
            f"--run={flag}: it was not trained but merged from {origin}; give that run instead"
        )
    return folder


class RunFolder:
    """runs/<kind>/<exp>/."""

    def __init__(self, root: Path, kind: str, exp: str, named_by: str = "--exp") -> None:
        """Names a folder and touches nothing; `kind` is one of `KINDS`.

        `named_by`: the flag or option that gave the name, for the InputError where it can be none.
        """
        if not NAME.fullmatch(exp):
            raise InputError(f"{named_by}: found {exp[:100]!r}, allowed: {NAMES}")
        self._name(root / kind / exp, kind, exp)
        self.runs = root

    @classmethod
    def at(cls, path: Path, kind: str = "") -> Self:
        """The run in a folder that may have been moved, or renamed by hand.

        Its kind, where it is not given, is that of the folder it stands in, or what its files say.
        """
        folder = cls.__new__(cls)
        # Resolved, so that the kind is known for `.` and for `runs/finetune/imdb/..` too.
        resolved = real(path)
        if not kind:
            kind = resolved.parent.name if resolved.parent.name in KINDS else _guessed_kind(path)
        folder._name(path, kind, resolved.name)
        folder.runs = resolved.parent.parent
        return folder

    def _name(self, path: Path, kind: str, exp: str) -> None:
        self.path, self.kind, self.exp = path, kind, exp
        self.saved = SavedOptions(path, kind)
        self.results_path = path / "results.json"
        self.tokenizer_path = path / "tokenizer.json"
        self._status_path = path / "status.json"
        self._was_drafted = False
        self._before: frozenset[str] | None = None

    def locked(self, patience: float = PATIENCE) -> contextlib.AbstractContextManager[None]:
        """Inside, no other process writes the run; raises InputError where one does for long."""
        return locked(self.path, patience)

    @property
    def is_run(self) -> bool:
        """Whether anything in the folder says that it is one."""
        return any((self.path / mark).is_file() for mark in MARKS)

    @property
    def state(self) -> str:
        """running, finished, failed, interrupted, as the run wrote it; "" before it has begun."""
        return noted(self._status_path, "state")

    @property
    def reason(self) -> str:
        """Why the run is not finished, as far as it is known."""
        return noted(self._status_path, "reason")

    @property
    def writer(self) -> int | None:
        """The process that is running it; None where the run is not running, or that has died."""
        return writer_of(self._status_path)

    def status(self) -> Status:
        """What became of the run; raises InputError as `read_status` does."""
        return read_status(self._status_path)

    @property
    def drafted(self) -> bool:
        """Whether the folder holds the options of a pretraining that has not begun.

        `--mode=new` writes them. A run writes environment.json before anything else.
        """
        marks = ("environment.json", "status.json", "results.json", "checkpoints")
        unmarked = not any((self.path / mark).exists() for mark in marks)
        return self.kind == "pretrain" and self.saved.path.is_file() and unmarked

    @property
    def begun(self) -> bool:
        """Whether anything is in the folder but a draft, or the cause why it came to nothing."""
        return self._names() not in (set(), {"status.json"}) and not self.drafted

    def _names(self) -> frozenset[str]:
        """What is in the folder; nothing where there is none."""
        return frozenset(path.name for path in self.path.glob("*"))

    @property
    def merged(self) -> bool:
        """Whether it holds the parameters of another run, which is listed, in another form."""
        return (self.path / MERGED).is_file()

    @property
    def imported(self) -> bool:
        """Whether its parameters are from elsewhere: nothing was trained here."""
        with contextlib.suppress(InputError):
            return self.kind == "pretrain" and IMPORTED_FROM in self.saved.flat()
        return False

    def environment(self) -> dict[str, Any]:
        """What the run was begun on; {} where that is not there to be read."""
        with contextlib.suppress(InputError):
            return read_object(self.path / "environment.json")
        return {}

    def must_be_trained(self) -> None:
        """Raises InputError for a run whose parameters were imported."""
        if origin := self.saved.config()[1].get(IMPORTED_FROM):
            raise InputError(f"{self.path} was imported from {origin}; nothing was trained in it")

    def must_exist(self) -> None:
        """Raises InputError, with the names there are, unless the run is there."""
        if self.saved.path.exists():
            return
        if self.is_run:
            raise InputError(f"{self.saved.path}: missing; bring it back from a copy of the run")
        siblings = self.path.parent
        found = siblings.iterdir() if siblings.is_dir() else ()
        known = sorted(path.name for path in found if not path.name.startswith("."))
        there = f"there are: {', '.join(known)}" if known else "there are none"
        raise InputError(f"{self.path}: no such {self.kind} run; {there}")

    def must_be_free(self, resume: bool) -> None:
        """Raises InputError for an experiment that exists, unless it is to be continued."""
        if not self.begun:
            return
        if not resume:
            raise InputError(
                f"{self.path} already exists; add --resume to continue it, or choose another --exp"
            )
        if (pid := self.writer) not in (None, os.getpid()):
            raise InputError(f"{self.path} is being written by process {pid}; wait for it")

    def must_have_saved_nothing(self) -> None:
        """Raises InputError for a run without a checkpoint that once had one.

        To begin it anew without a word would overwrite what is left of it.
        """
        if (step := last_saved(self.path)) is not None:
            raise InputError(
                f"{self.path / 'checkpoints'}: found no finished checkpoint, but step {step} was "
                "saved; bring the folder back, or begin anew under another --exp"
            )

    def results(self) -> Results:
        """What the run reached; raises InputError where results.json is not as it was written."""
        if manifest := self.manifest:
            manifest.require([RESULTS])
        return Results.read(self.results_path)

    @property
    def manifest(self) -> Manifest | None:
        """What its files were when it finished; None where that was not written down."""
        return Manifest.read(self.path)

    def write_results(self, results: Results) -> None:
        """Writes results.json, then the manifest: all else that is signed is there by now."""
        results.write(self.results_path)
        best = [] if results.best_step is None else [checkpoint_file(results.best_step)]
        sign(self.path, self.kind, self.saved.flat(), [*SIGNED, *best])

    def pretrained_from(self) -> str:
        """The checkpoint that a TAPT or fine-tuning run was begun from: name@step, or none."""
        extra = self.saved.config()[1]
        name: str = entry(extra, "pretrain", str, self.saved.path)
        return name

    def begin(self, config: Config, extra: dict[str, Any], environment: dict[str, Any]) -> None:
        """Makes the folder with its configuration and environment.

        A run that is continued keeps the environment it was begun in. A configuration that stands
        there already is not written again: it may have comments.
        """
        self._was_drafted = self.drafted
        self._before = self._names() if self.path.exists() else None
        try:
            self._begin(config, extra, environment)
        except OSError:
            self._clear()
            raise

    def _begin(self, config: Config, extra: dict[str, Any], environment: dict[str, Any]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if (self.path / MANIFEST).exists():
            # What goes on is no longer what was signed.
            self.set_state("interrupted", "it is begun again")
            (self.path / MANIFEST).unlink()
        if not (self.path / "environment.json").exists():
            write_json(self.path / "environment.json", environment)
        self.saved.begin(config, extra, self._was_drafted)

    def set_state(self, state: str, reason: str = "") -> None:
        """Writes status.json."""
        write_status(self._status_path, state, reason)

    def fail(self, reason: str) -> None:
        """Notes why the run came to nothing, where its process could not do it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.set_state("failed", reason[:500])

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Marks the run as running inside, and as finished, interrupted or failed afterwards.

        Bad input that shows before anything was saved leaves the folder as it was before `begin`.
        """
        with self.locked():
            try:
                with marked_running(self._status_path):
                    yield
            except InputError:
                if not (self.path / "checkpoints").exists():
                    self._clear()
                raise

    def _clear(self) -> None:
        """Takes away what was not there when the run was begun, and nothing else."""
        for path in self.path.glob("*"):
            if path.name in (self._before or ()):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                # Of a disk that is read-only now the error that led here is told.
                with contextlib.suppress(OSError):
                    path.unlink()
        if self._before is None:
            with contextlib.suppress(OSError):
                self.path.rmdir()


def _guessed_kind(folder: Path) -> str:
    """The kind of a run that was moved out of the folder of its kind."""
    with contextlib.suppress(InputError):
        if (kind := text(read_object(folder / "results.json"), "kind")) in KINDS:
            return str(kind)
    return "finetune" if (folder / KINDS["finetune"].config_file).is_file() else "pretrain"
