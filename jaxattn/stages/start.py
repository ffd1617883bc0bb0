"""What --pretrain may name beside a run: a published encoder, which is imported first."""

import re
from collections.abc import Mapping
from pathlib import Path

from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.files import expanded
from jaxattn.interop.folder import CONFIG
from jaxattn.interop.hub import Fetched, fetched
from jaxattn.interop.published import read_published
from jaxattn.runs.folder import NAME, RunFolder
from jaxattn.runs.kinds import KINDS, SCRATCH, called
from jaxattn.runs.results import Facts
from jaxattn.runs.values import text
from jaxattn.stages.imported import import_published

_IMPORT_PATIENCE = 600.0
"""Seconds that an import by another process may take, its download included."""


def started_from(runs: Path, given: str, revision: str = "") -> str:
    """The run that `given` names; a published encoder becomes one, runs/pretrain/<its name>.

    Args:
      runs: the folder of all runs.
      given: a run, `tapt/<exp>`, with `@<step>` or without, none, a folder of a published encoder,
        or an id of the hub, which has a "/".
      revision: branch, tag or commit of the hub; "" for the newest, or for what was imported.

    Raises:
      InputError: the encoder cannot be imported, or another run has its name.
    """
    if not is_published(runs, given):
        if revision:
            what = f"--pretrain={given} is a run" if given else "--pretrain is not given"
            raise InputError(
                f"--revision={revision}: {what}; a revision is for an id of "
                "the hub, as --pretrain=google-bert/bert-base-uncased"
            )
        return given
    run = RunFolder.at(expanded(given))
    if run.is_run:
        raise InputError(
            f"--pretrain={given}: the folder of a run; give its name, {called(run.kind, run.exp)}"
        )
    folder = RunFolder(runs, "pretrain", imported_name(given, revision))
    if (pid := folder.writer) is not None:
        # The runs of a study begin together: the first one imports what all start from.
        say(f"--pretrain={given}: waiting for process {pid}, which imports it")
    with folder.locked(_IMPORT_PATIENCE):
        if folder.begun and not revision and _hub_id(folder) == given:
            # The encoder that was taken stays the one that is used, whatever the hub has by now.
            return folder.exp
        source = fetched(given, revision, flag="--pretrain")
        if folder.begun or folder.drafted:
            _must_be(folder, source, given)
            return folder.exp
        published = read_published(source.folder)
        import_published(folder, published.config, published, source)
    return folder.exp


def is_published(runs: Path, given: str) -> bool:
    """Whether --pretrain=<given> is no run but a folder, or an id of the hub."""
    name = given.partition("@")[0]
    kind, slash, exp = name.rpartition("/")
    if given in ("", SCRATCH) or (slash and kind in KINDS):
        return False
    if NAME.fullmatch(exp) and not slash and RunFolder(runs, "pretrain", exp).saved.path.exists():
        return False
    return bool(slash) or given.startswith((".", "~")) or (Path(given) / CONFIG).is_file()


def imported_name(given: str, revision: str = "") -> str:
    """The name of the run: the last part of a path or an id, and the revision where one is given.

    The hub's owners are left out: what a run is from stands in its results.
    """
    last = expanded(given).absolute().name
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{last}-{revision}" if revision else last)
    return name.lstrip("-._")[:64] or "encoder"


def _imported(folder: RunFolder) -> Facts:
    return (folder.results().imported or {}) if folder.results_path.exists() else {}


def _hub_id(folder: RunFolder) -> str | None:
    hub = _imported(folder).get("hub")
    return text(hub, "id") if isinstance(hub, Mapping) else None


def _must_be(folder: RunFolder, source: Fetched, given: str) -> None:
    """Raises InputError unless the run was imported from the same files."""
    if _imported(folder).get("from") == source.origin:
        say(f"--pretrain={given}: imported before, as {folder.path}")
        return
    raise InputError(
        f"--pretrain={given}: {folder.path} is another run; import it under a name of its own, "
        f"with --mode=import --input={given} --exp=<name>, and give that name"
    )
