"""The folder of one run: its name, its state, and the small JSON files in it."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxattn.config import AUTO_PRECISION, Config, Scope, replace, scope_of
from jaxattn.config.draft import commented
from jaxattn.config.saved import flatten, read_tree, read_yaml, to_plain, write_yaml
from jaxattn.errors import InputError
from jaxattn.files import entry, read_json, write_json, write_text
from jaxattn.processes import live_process, this_process
from jaxattn.runs.kinds import CONFIG_FILES

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)

MERGED = "merged.json"
"""Says of a run that it was not trained but folded from another, which stands for both."""

_AUTO_LINE = re.compile(rf"^( +precision: ){AUTO_PRECISION}\b", re.MULTILINE)

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
    if path.parent.name not in CONFIG_FILES:
        raise InputError(
            f"--run={flag}: not a run folder; expected runs/<kind>/<exp> with kind one of "
            f"{', '.join(CONFIG_FILES)}"
        )
    folder = RunFolder(path.parent.parent, path.parent.name, path.name)
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

    def __init__(self, root: Path, kind: str, exp: str) -> None:
        """Names a folder and touches nothing; `kind` is one of `CONFIG_FILES`."""
        if not NAME.fullmatch(exp):
            raise InputError(
                f"experiment name: found {exp!r}, allowed: a letter or digit, then up to 63 "
                "letters, digits, '_', '.', '-'"
            )
        self.runs, self.kind, self.exp = root, kind, exp
        self.path = root / kind / exp
        self.config_path = self.path / CONFIG_FILES[kind]
        self._was_drafted = False

    @property
    def state(self) -> str:
        """running, finished, failed, interrupted; "" before a run has begun."""
        path = self.path / "status.json"
        return entry(read_json(path), "state", str, path) if path.exists() else ""

    @property
    def reason(self) -> str:
        """Why the run is not finished, as far as it is known."""
        path = self.path / "status.json"
        return entry(read_json(path), "reason", str, path) if path.exists() else ""

    @property
    def drafted(self) -> bool:
        """Whether the folder holds the options of a pretraining that has not begun.

        `--mode=new` writes them. A run writes environment.json before anything else.
        """
        marks = ("environment.json", "status.json", "results.json", "checkpoints")
        unmarked = not any((self.path / mark).exists() for mark in marks)
        return self.kind == "pretrain" and self.config_path.is_file() and unmarked

    @property
    def begun(self) -> bool:
        """Whether anything is in the folder but a draft, or the cause why it came to nothing."""
        names = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        return bool(names) and names != {"status.json"} and not self.drafted

    def must_be_trained(self) -> None:
        """Raises InputError for a run whose parameters were imported."""
        if origin := self.saved_config()[1].get(IMPORTED_FROM):
            raise InputError(f"{self.path} was imported from {origin}; nothing was trained in it")

    @property
    def writer(self) -> int | None:
        """The process that is running it; None where the run is not running, or that has died."""
        if self.state != "running":
            return None
        path = self.path / "status.json"
        return live_process(read_json(path), path)

    def must_exist(self) -> None:
        """Raises InputError, with the names there are, unless the run is there."""
        if self.config_path.exists():
            return
        siblings = self.path.parent
        known = sorted(p.name for p in siblings.iterdir()) if siblings.is_dir() else []
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

    def saved_config(self) -> tuple[Config, dict[str, Any]]:
        """The configuration of the run and the other entries of that file."""
        return read_yaml(self.config_path)

    def pretrained_from(self) -> str:
        """The checkpoint that a TAPT or fine-tuning run was begun from: name@step, or none."""
        extra = self.saved_config()[1]
        return entry(extra, "pretrain", str, self.config_path)

    def continued_config(self, given: Config | None) -> Config:
        """The saved configuration, with what `given` may change of it.

        "auto" is the precision that it was begun with, whatever this machine would take.
        Raises InputError naming the first option in which `given` would change the result.
        """
        saved, _ = self.saved_config()
        if given is None:
            return saved
        if given.train.precision == AUTO_PRECISION:
            given = replace(given, {"train.precision": saved.train.precision})
        self.must_agree(flatten(to_plain(saved)), flatten(to_plain(given)))
        return given

    def must_agree(self, begun_with: dict[str, Any], given: dict[str, Any]) -> None:
        """Raises InputError naming the first of the flat options that would change the result."""
        for name, value in given.items():
            # For a baseline its own section is no bookkeeping.
            own = name.partition(".")[0] == self.kind
            free = scope_of(name) & (Scope.BOOKKEEPING | Scope.EXACTNESS) and not own
            if not free and value != begun_with.get(name):
                raise InputError(
                    f"{name}: found {value!r}, but {self.path} was begun with "
                    f"{begun_with.get(name)!r}; a run is resumed with its own options, or begun "
                    "anew under another --exp"
                )

    def begin(self, config: Config, extra: dict[str, Any], environment: dict[str, Any]) -> None:
        """Makes the folder with its configuration and environment.

        A run that is continued keeps the environment it was begun in. A configuration that stands
        there already is not written again: it may have comments.
        """
        self._was_drafted = self.drafted
        self.path.mkdir(parents=True, exist_ok=True)
        plain = to_plain(config)
        if not (self.path / "environment.json").exists():
            write_json(self.path / "environment.json", environment)
        tree = (flatten(plain) if self.kind == "finetune" else plain) | extra
        if not (self.config_path.exists() and read_tree(self.config_path) == tree):
            if not self._was_drafted:
                write_yaml(self.config_path, tree)
            elif not self._settle_draft(config, tree):
                write_text(self.config_path, commented(config, f"Options of {self.exp}."))

    def _settle_draft(self, config: Config, tree: dict[str, Any]) -> bool:
        """Exchanges the precision in a draft's text; whether that makes it `tree`."""
        text = self.config_path.read_text(encoding="utf-8")
        text = _AUTO_LINE.sub(rf"\g<1>{config.train.precision}", text, count=1)
        write_text(self.config_path, text)
        return read_tree(self.config_path) == tree

    def set_state(self, state: str, reason: str = "") -> None:
        """Writes status.json."""
        write_json(self.path / "status.json", {"state": state, "reason": reason} | this_process())

    def fail(self, reason: str) -> None:
        """Notes why the run came to nothing, where its process could not do it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.set_state("failed", reason[:500])

    @contextmanager
    def running(self) -> Iterator[None]:
        """Marks the run as running inside, and as finished, interrupted or failed afterwards.

        Bad input that shows before anything was saved leaves no folder, or a draft as it was.
        """
        self.set_state("running")
        try:
            yield
        except InputError as error:
            if (self.path / "checkpoints").exists():
                self.set_state("failed", str(error))
            else:
                self._clear()
            raise
        except KeyboardInterrupt:
            self.set_state("interrupted", "interrupted by the user")
            raise
        except BaseException as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            if "RESOURCE_EXHAUSTED" in reason or isinstance(error, MemoryError):
                reason = f"out of memory: {reason}"
            state = "interrupted" if type(error).__name__ == "InterruptedRun" else "failed"
            self.set_state(state, reason[:500])
            raise
        self.set_state("finished")

    def _clear(self) -> None:
        """Takes the folder away, or everything that was added to a draft."""
        if not self._was_drafted:
            shutil.rmtree(self.path)
            return
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != self.config_path:
                path.unlink()
