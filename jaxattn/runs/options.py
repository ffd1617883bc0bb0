"""The options that are saved in a run folder: read, compared when it goes on, and written."""

import re
from pathlib import Path
from typing import Any

from jaxattn.config import (
    AUTO_PRECISION,
    Config,
    Scope,
    as_begun,
    commented,
    flatten,
    read_tree,
    read_yaml,
    replace,
    scope_of,
    to_plain,
    write_yaml,
)
from jaxattn.errors import InputError
from jaxattn.files import write_text
from jaxattn.runs.formats import ENTRY, FORMAT, check_format
from jaxattn.runs.kinds import KINDS
from jaxattn.runs.manifest import DATA_PATH, Manifest

_AUTO_LINE = re.compile(rf"^( +precision: ){AUTO_PRECISION}\b", re.MULTILINE)


class SavedOptions:
    """The YAML file of a run's options, with what else stands there."""

    def __init__(self, folder: Path, kind: str) -> None:
        """Names the file of a run of this kind, and touches nothing."""
        self._folder, self._kind = folder, kind
        self.path = folder / KINDS[kind].config_file

    def flat(self) -> dict[str, Any]:
        """All that stands there, flat and as it is.

        Options are not checked against today's: a run of an older version can still be compared.

        Raises:
          InputError: there are none to read, or one is not as it was when the run finished.
        """
        flat = flatten(read_tree(self.path))
        check_format(flat, self.path)
        flat.pop(ENTRY, None)
        if manifest := Manifest.read(self._folder):
            manifest.require_options(flat, self.path)
        return flat

    def config(self) -> tuple[Config, dict[str, Any]]:
        """The configuration of the run, and the other entries.

        Raises InputError where they cannot be read, or are not as when the run finished.
        """
        config, extra = read_yaml(self.path)
        check_format(extra, self.path)
        extra.pop(ENTRY, None)
        if manifest := Manifest.read(self._folder):
            manifest.require_options(flatten(to_plain(config)) | extra, self.path)
        return config, extra

    def continued(self, given: Config | None) -> Config:
        """The saved configuration, with what `given` may change of it.

        "auto" is the precision that it was begun with, whatever this machine would take; and what
        later versions do otherwise by default it goes on with as it was begun.
        Raises InputError naming the first option in which `given` would change the result.
        """
        saved, _ = self.config()
        if given is None:
            return saved
        if given.train.precision == AUTO_PRECISION:
            given = replace(given, {"train.precision": saved.train.precision})
        given = as_begun(given, saved)
        self.must_agree(flatten(to_plain(saved)), flatten(to_plain(given)))
        return given

    def must_agree(self, begun_with: dict[str, Any], given: dict[str, Any]) -> None:
        """Raises InputError naming the first of the flat options that would change the result.

        Where the data lie is not one: `jaxattn.stages.moved` compares what is read.
        """
        for name, value in given.items():
            # For a baseline its own section is no bookkeeping.
            own = name.partition(".")[0] == self._kind
            free = scope_of(name) & (Scope.BOOKKEEPING | Scope.EXACTNESS) and not own
            free = free or name == DATA_PATH
            if not free and value != begun_with.get(name):
                raise InputError(
                    f"{name}: found {value!r}, but {self._folder} was begun with "
                    f"{begun_with.get(name)!r}; a run is resumed with its own options, or begun "
                    "anew under another --exp"
                )

    def begin(self, config: Config, extra: dict[str, Any], drafted: bool) -> None:
        """Writes the options of a run that begins, unless they stand there: with comments, perhaps.

        `drafted`: whether the file is a draft, of which as much is kept as can be.
        """
        tree = self._tree(config, extra)
        if self._holds(tree):
            return
        if not drafted:
            write_yaml(self.path, {ENTRY: FORMAT} | tree)
        elif not self._settle_draft(config, tree):
            self.draft(config, f"Options of {self._folder.name}.")

    def move_data(self, path: str) -> None:
        """Saves that the data of the run lie at `path` now; all else stays as it was saved."""
        config, extra = self.config()
        moved = self._tree(replace(config, {DATA_PATH: path}), extra)
        write_yaml(self.path, {ENTRY: FORMAT} | moved)

    def draft(self, config: Config, head: str) -> None:
        """Writes the options with comments, to be edited, after the comment `head`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_text(self.path, f"{commented(config, head)}\n{ENTRY}: {FORMAT}\n")

    def _tree(self, config: Config, extra: dict[str, Any]) -> dict[str, Any]:
        plain = to_plain(config)
        return (flatten(plain) if self._kind == "finetune" else plain) | extra

    def _holds(self, tree: dict[str, Any]) -> bool:
        """Whether these options are in the file already, whatever its format."""
        if not self.path.exists():
            return False
        saved = read_tree(self.path)
        return {name: value for name, value in saved.items() if name != ENTRY} == tree

    def _settle_draft(self, config: Config, tree: dict[str, Any]) -> bool:
        """Exchanges the precision in a draft's text; whether that makes it `tree`."""
        lines = self.path.read_text(encoding="utf-8")
        lines = _AUTO_LINE.sub(rf"\g<1>{config.train.precision}", lines, count=1)
        write_text(self.path, lines)
        return self._holds(tree)
