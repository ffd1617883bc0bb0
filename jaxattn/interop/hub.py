"""A published encoder by its folder or by its id on the Hugging Face hub: config, words, tensors.

Only config.json, the tokenizer's files and safetensors are fetched, into the cache that all
programs share; of a family that cannot be imported, config.json alone.
"""

import dataclasses
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.files import expanded
from jaxattn.hub import EXAMPLES, TIMEOUT, is_refusal, meaning, silence
from jaxattn.interop.folder import CONFIG, INDEX, WEIGHTS, read_document, weight_files
from jaxattn.interop.hub_files import CONVERT, VOCABULARIES, tokenizer_files, weights_file
from jaxattn.interop.options import model_options

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

ID = re.compile(r"(?!.*(--|\.\.|\.git$))(?=.{1,96}$)(\w[\w.-]*/)?\w([\w.-]*\w)?", re.ASCII)
"""What an id of the hub can be: the rules of `huggingface_hub`."""


@dataclasses.dataclass(frozen=True)
class Fetched:
    """Where the files of a published encoder lie, and what they are.

    Attributes:
      folder: holds config.json, tokenizer and safetensors.
      id: of the hub; "" for a folder that was given.
      revision: the branch, tag or commit that was asked for; "" for the newest.
      commit: hash of the commit that the files are of; "" for a folder that was given.
    """

    folder: Path
    id: str = ""
    revision: str = ""
    commit: str = ""

    @property
    def origin(self) -> str:
        """What a run names as its source: the id with the commit, or the folder."""
        return f"{self.id}@{self.commit}" if self.id else str(self.folder.resolve())

    def provenance(self) -> dict[str, object]:
        """The facts for results.json."""
        hub = {"id": self.id, "revision": self.revision or None, "commit": self.commit}
        return {"from": self.origin, **({"hub": hub} if self.id else {})}


def fetched(source: str, revision: str = "", flag: str = "--input") -> Fetched:
    """The files of a published encoder; those of the hub are downloaded if the cache lacks them.

    Args:
      source: a folder, which wins where it exists, or an id of the hub: owner/name or an old name.
      revision: branch, tag or commit of the hub; "" for the newest.
      flag: that named the source, for messages.

    Raises:
      InputError: there is no such folder or model, it may not be read, cannot be imported, has no
        safetensors, or there is neither network nor a whole copy in the cache.
    """
    folder = expanded(source)
    if folder.exists() or _is_path(source):
        if revision:
            raise InputError(
                f"--revision={revision}: {flag}={source} is a folder; a revision is for an id of "
                f"the hub, as {flag}={EXAMPLES['model']}"
            )
        if not folder.is_dir():
            raise InputError(
                f"{flag}={source}: no such folder; expected one of a Hugging Face model, or an id "
                f"of the hub, as {EXAMPLES['model']}"
            )
        return Fetched(folder)
    where = f"{flag}={source}"
    if not ID.fullmatch(source):
        raise InputError(
            f"{where}: no folder, and no id of the Hugging Face hub either: that is <owner>/<name> "
            f"of letters, digits, '-', '_' and '.', as {EXAMPLES['model']}; a branch, tag or "
            "commit of it is given as --revision"
        )
    silent = silence()
    if silent:
        return _cached(source, revision, where, silent)
    return _downloaded(source, revision, where)


def _is_path(source: str) -> bool:
    return source.startswith((".", "/", "~")) or source.count("/") > 1


def _cached(name: str, revision: str, where: str, why: str) -> Fetched:
    """The copy in the cache, where the hub cannot be asked: as new as it was then."""
    from huggingface_hub import constants, try_to_load_from_cache

    config = try_to_load_from_cache(name, CONFIG, revision=revision or None)
    at = f" at {revision}" if revision else ""
    if not isinstance(config, str):
        raise InputError(
            f"{where}: {why}, and the cache {constants.HF_HUB_CACHE} holds no copy of it{at}; nor "
            "is there a folder of this name: run this again with network, or give a folder with "
            "the model's files"
        )
    folder = Path(config).parent
    if missing := _missing(folder):
        raise InputError(
            f"{where}: {why}, and the copy in the cache ({folder}) lacks {missing}; run this again "
            "with network"
        )
    say(f"{name}: {why}; taken from the cache{at}: commit {folder.name}")
    return Fetched(folder, name, revision, folder.name)


def _missing(folder: Path) -> str:
    """What a folder lacks to be imported; "" where nothing."""
    try:
        weights = weight_files(folder)
    except InputError:
        return WEIGHTS
    absent = [path.name for path in weights if not path.is_file()]
    words = any((folder / name).is_file() for name in VOCABULARIES)
    return ", ".join(absent if words else [*absent, VOCABULARIES[0]])


def _downloaded(name: str, revision: str, where: str) -> Fetched:
    """The copy that the hub has now; what the cache has of it is not fetched again."""
    try:
        info, config = _begun(name, revision, where)
    except InputError:
        raise
    except Exception as error:  # the library, the network and the disk raise dozens of types
        reason = meaning(error, "model", name, revision)
        if is_refusal(error):
            raise InputError(f"{where}: {reason}") from None
        return _cached(name, revision, where, reason)
    model_options(read_document(config), f"{where}: {CONFIG}")
    folder = config.parent
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    convert = CONVERT.format(name=name, revision=f", revision='{revision}'" if revision else "")
    words = tokenizer_files(sizes, where, convert)
    weights = [weights_file(sizes, where, convert)]
    if weights == [INDEX]:
        _fetch(name, weights, folder, where)
        weights += [path.name for path in weight_files(folder)]
    wanted = [*words, *weights]
    absent = [file for file in wanted if not (folder / file).is_file()]
    _announce(name, revision, folder, {file: sizes.get(file, 0) for file in absent}, where)
    _fetch(name, absent, folder, where)
    return Fetched(folder, name, revision, folder.name)


def _begun(name: str, revision: str, where: str) -> tuple["ModelInfo", Path]:
    """What is in the commit of a revision, with the sizes, and its config.json."""
    from huggingface_hub import HfApi, constants, hf_hub_download

    api = HfApi(library_name="jaxattn")

    def listed(at: str) -> "ModelInfo":
        return api.model_info(name, revision=at or None, files_metadata=True, timeout=TIMEOUT)

    info = listed(revision)
    if CONFIG not in {file.rfilename for file in info.siblings or ()}:
        raise InputError(
            f"{where}: no {CONFIG} in commit {info.sha}; expected a model that transformers loads"
        )
    # By its revision and not the commit: so the cache knows later what this revision was.
    at = revision or constants.DEFAULT_REVISION
    config = Path(hf_hub_download(name, CONFIG, revision=at, library_name="jaxattn"))
    commit = config.parent.name
    return info if commit == info.sha else listed(commit), config


def _announce(name: str, revision: str, folder: Path, sizes: Mapping[str, int], where: str) -> None:
    """Says what is taken; InputError where the disk has no room for it."""
    total, free = sum(sizes.values()), shutil.disk_usage(folder).free
    how = f"{len(sizes)} files, {_megabytes(total)}, to fetch" if sizes else "all in the cache"
    say(f"{name} at {revision or 'main'}: commit {folder.name}; {how}")
    if total > free:
        raise InputError(
            f"{where}: {_megabytes(total)} to fetch, but the disk of the cache ({folder}) has "
            f"{_megabytes(free)}; make room, or name a folder on another disk as HF_HOME"
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _fetch(name: str, files: Sequence[str], folder: Path, where: str) -> None:
    """Downloads these files of the commit of `folder`; the library shows how far it is."""
    from huggingface_hub import hf_hub_download

    for file in files:
        try:
            # One after the other, so that an interrupt ends it at once.
            hf_hub_download(name, file, revision=folder.name, library_name="jaxattn")
        except Exception as error:
            reason = meaning(error, "model", name, folder.name)
            raise InputError(
                f"{where}: {file} was not fetched: {reason}; files that are whole are kept, run "
                "the command again to go on"
            ) from None
