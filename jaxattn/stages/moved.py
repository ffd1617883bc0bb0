"""Data that lie elsewhere when a run goes on: the same by their hash, or refused."""

import functools
from collections.abc import Mapping
from typing import Any

from jaxattn.config import Config, DataConfig
from jaxattn.console import say
from jaxattn.data.corpora.splits import (
    data_hash,
    load_labelled,
    load_task_texts,
    load_texts,
    texts_hash,
)
from jaxattn.errors import InputError
from jaxattn.runs.folder import RunFolder


@functools.cache
def hash_of_data(kind: str, data: DataConfig) -> str:
    """`data_hash` of results.json as a run of this kind would record it now."""
    if kind in ("finetune", "baseline"):
        return data_hash(load_labelled(data))
    corpus = load_task_texts(data) if kind == "tapt" else load_texts(data)
    return texts_hash(corpus.train, corpus.validation)


def is_moved(folder: RunFolder, config: Config) -> bool:
    """Whether a run that has begun would go on with `data.path` another than it is saved with."""
    saved = folder.saved.path.exists() and not folder.drafted
    return saved and folder.saved.config()[0].data.path != config.data.path


def require_same_data(folder: RunFolder, config: Config) -> None:
    """Raises InputError for a finished run that was trained on other data than lie elsewhere now.

    A run with checkpoints is left to `refuse_other_data`.
    """
    if not is_moved(folder, config) or folder.state != "finished":
        return
    if folder.results().data_hash != hash_of_data(folder.kind, config.data):
        raise _other(folder, config, {}, {})


def settle_moved(folder: RunFolder, config: Config) -> None:
    """Makes sure that a run whose data lie elsewhere now can go on, before anything is trained.

    One that was cut short before its first checkpoint begins anew, its vocabulary too. Of a
    finished one the new place is saved.

    Raises:
      InputError: the run is finished, and was trained on other data.
    """
    require_same_data(folder, config)
    if not is_moved(folder, config):
        return
    if folder.state == "finished":
        # Evaluating, verifying and replaying it read them there.
        folder.saved.move_data(config.data.path)
    elif not (folder.path / "checkpoints").exists():
        folder.must_have_saved_nothing()
        say(f"{folder.path}: nothing was trained yet; it begins anew with {config.data.path!r}")
        folder.tokenizer_path.unlink(missing_ok=True)


def refuse_other_data(
    folder: RunFolder, config: Config, begun: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Raises InputError unless both documents of checkpoints are of the same data."""
    if begun["data_hash"] != now["data_hash"]:
        # Checkpoints of before do not say how many texts there were.
        raise _other(folder, config, begun.get("data_size") or {}, now["data_size"])


def _other(
    folder: RunFolder, config: Config, begun: Mapping[str, int], now: Mapping[str, int]
) -> InputError:
    differing = [
        f"{now[name]:,} {name} texts instead of {begun[name]:,}"
        for name in now
        if name in begun and now[name] != begun[name]
    ]
    what = ", ".join(differing) or (
        "as many texts, but not the same ones, or with other labels" if begun else "by their hash"
    )
    before = folder.saved.config()[0].data.path
    moved = f" (data.path was {before!r})" if is_moved(folder, config) else ""
    return InputError(
        f"data.path: found {config.data.path!r}: the data have changed since "
        f"{folder.path} was begun{moved}: {what}; a run goes on with the data it was begun with, "
        "or is begun anew under another --exp"
    )
