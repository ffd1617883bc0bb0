"""The stages of one experiment, each once."""

import dataclasses
import functools
import hashlib
import json
from typing import Any

from jaxattn.config import Config, DataConfig, binding_options
from jaxattn.config.flags import config_dict
from jaxattn.data.corpora.splits import (
    data_hash,
    load_labelled,
    load_task_texts,
    load_texts,
    texts_hash,
)
from jaxattn.errors import InputError
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH, called
from jaxattn.stages.origin import pretrained_config, reference, source_of
from jaxattn.sweeps.chain import Call


def recipe_calls(
    exp: str, stages: tuple[str, ...], pretrain: str, pretrain_path: str
) -> list[Call]:
    """The flags of every stage.

    Raises:
      InputError: --pretrain is given and the recipe pretrains, or it is missing and it does not.
    """
    if stages[0] == "pretrain" and pretrain:
        raise InputError(
            f"--pretrain={pretrain}: this recipe pretrains; leave it out, or leave pretrain out of "
            "recipe.stages"
        )
    if stages[0] != "pretrain" and not pretrain:
        raise InputError(
            f"recipe.stages begins with {stages[0]}: needs the run it starts from, for example "
            "--pretrain=wiki_lsh"
        )
    calls: list[Call] = []
    source = pretrain
    for stage in stages:
        call: Call = (f"--mode={stage}", f"--exp={exp}")
        if stage != "pretrain":
            call += (f"--pretrain={source}",)
        elif pretrain_path:
            call += (f"--config.data.path={pretrain_path}",)
        calls.append(call)
        source = called(stage, exp)
    return calls


def result_stands(request: Request, call: Call) -> bool:
    """Whether the stage is finished; then everything it depends on is compared.

    False also where the stage it starts from is not there (yet) to compare with.

    Raises:
      InputError: the result is there, but not that of these options, data and parameters.
    """
    folder = _folder(request, call)
    source = next((f.removeprefix("--pretrain=") for f in call if f.startswith("--pretrain=")), "")
    if folder.state != "finished":
        return False
    if source and not _is_there(request, source):
        return False
    args = (*request.config_args, *(flag for flag in call if flag.startswith("--config.")))
    stage = dataclasses.replace(request, config=config_dict(args, folder.kind), config_args=args)
    inherited = pretrained_config(request.runs, source) if source else None
    config = folder.continued_config(stage.resolved(inherited))
    if source:
        require_same_start(folder, request, source)
    if folder.results().data_hash != hash_of_data(folder.kind, config.data):
        raise InputError(
            f"{folder.path}: the data have changed since it was run; run the recipe under another "
            "--exp"
        )
    return True


def _folder(request: Request, call: Call) -> RunFolder:
    kind, exp = (flag.partition("=")[2] for flag in call[:2])
    return RunFolder(request.runs, kind, exp)


def _is_there(request: Request, source: str) -> bool:
    if source == SCRATCH:
        return True
    try:
        return source_of(request.runs, source)[0].state == "finished"
    except InputError:
        return False


def require_same_start(folder: RunFolder, request: Request, source: str) -> None:
    """Raises InputError unless the run began with the parameters that `source` has now."""
    if source == SCRATCH:
        return
    _, extra = folder.saved_config()
    before, step = source_of(request.runs, source)
    results = before.results()
    best = results.best_step
    now = reference(before, best if step is None else step)
    if extra.get("pretrain") != now:
        raise InputError(
            f"{folder.path} was begun from {extra.get('pretrain')}, now it would be from {now}; "
            "run the recipe under another --exp"
        )
    known = results.best_hash if step in (None, best) else None
    if known is not None and extra.get("pretrain_hash") not in (None, known):
        raise InputError(
            f"{folder.path} was begun from other parameters than {before.path} has now; run the "
            "recipe under another --exp"
        )


@functools.cache
def hash_of_data(kind: str, data: DataConfig) -> str:
    """`data_hash` of results.json as a run of this kind would record it now."""
    if kind == "finetune":
        return data_hash(load_labelled(data))
    corpus = load_task_texts(data) if kind == "tapt" else load_texts(data)
    return texts_hash(corpus.train, corpus.validation)


def stage_summary(folder: RunFolder) -> dict[str, Any]:
    """What recipe.json says of a finished stage: what it was made of, and what came out."""
    config, _ = folder.saved_config()
    results = folder.results()
    names = ("data_hash", "pretrain", "pretrain_hash", "best_step", "best_hash")
    quality = results.test or results.validation or {}
    return {
        "kind": folder.kind,
        "exp": folder.exp,
        "attention": config.attention.type,
        "config_hash": config_hash(config),
        **{name: getattr(results, name) for name in names},
        "train_seconds": results.cost and results.cost.train_seconds,
        "quality": {k: quality[k] for k in ("loss", "macro_f1", "accuracy") if k in quality},
    }


def config_hash(config: Config) -> str:
    """SHA-256 over the options that change the result."""
    bound = binding_options(config)
    return hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()
