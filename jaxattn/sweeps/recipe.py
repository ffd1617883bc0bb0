"""The stages of one experiment, each once."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxattn.config import Config, binding_options
from jaxattn.config.flags import config_dict
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.files import write_json
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH, called
from jaxattn.stages.moved import hash_of_data
from jaxattn.stages.origin import pretrained_config, reference, source_of
from jaxattn.sweeps.chain import Call, pretrain_of_call, run_stages

ANEW = "run the recipe under another --exp"


def recipe_calls(exp: str, stages: Sequence[str], pretrain: str, pretrain_path: str) -> list[Call]:
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


def run_recipe(request: Request) -> tuple[int, list[dict[str, Any]]]:
    """Runs what is missing of a recipe; the exit code, and `stage_summary` of what is finished.

    Raises:
      InputError: the recipe cannot be, or a result is not that of what is asked for now.
    """
    exp, request = request.run_name("imdb"), request.started()
    recipe = request.resolved().recipe
    calls = recipe_calls(exp, recipe.stages, request.pretrain, recipe.pretrain_path)
    stands = functools.partial(result_stands, request)
    # Asked for all before any is run: hours later is late to hear that an option has changed.
    for call in calls:
        stands(call)
    flags = (*request.config_args, *request.for_stages())
    code, _ = run_stages(calls, flags, stands=stands)
    if code > 2:
        say("the recipe was stopped; go on with --resume")
    folders = [RunFolder(request.runs, stage, exp) for stage in recipe.stages]
    records = [stage_summary(folder) for folder in folders if folder.state == "finished"]
    if records:
        path = record_path(request)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"exp": exp, "stages": records})
    return code, records


def record_path(request: Request) -> Path:
    """runs/recipe/<exp>/recipe.json."""
    return request.runs / "recipe" / request.exp / "recipe.json"


def result_stands(request: Request, call: Call) -> bool:
    """Whether the stage is finished; then everything it depends on is compared.

    False also where the stage it starts from is not there (yet) to compare with.

    Raises:
      InputError: the result is there, but not that of these options, data and parameters.
    """
    kind, exp = (flag.partition("=")[2] for flag in call[:2])
    folder, source = RunFolder(request.runs, kind, exp), pretrain_of_call(call)
    if folder.state != "finished" or (source and not start_is_finished(request.runs, source)):
        return False
    args = (*request.config_args, *(flag for flag in call if flag.startswith("--config.")))
    stage = dataclasses.replace(request, config=config_dict(args, kind), config_args=args)
    inherited = pretrained_config(request.runs, source) if source else None
    config = folder.saved.continued(stage.resolved(inherited))
    if source:
        require_same_start(folder, source)
    if folder.results().data_hash != hash_of_data(kind, config.data):
        raise InputError(f"{folder.path}: the data have changed since it was run; {ANEW}")
    return True


def start_is_finished(runs: Path, source: str) -> bool:
    """Whether what --pretrain names needs no training, or is a run that is finished."""
    try:
        return source == SCRATCH or source_of(runs, source)[0].state == "finished"
    except InputError:
        return False


def require_same_start(folder: RunFolder, source: str) -> None:
    """Raises InputError unless the run began with the parameters that `source` has now."""
    if source == SCRATCH:
        return
    _, extra = folder.saved.config()
    before, step = source_of(folder.runs, source)
    results = before.results()
    best = results.best_step
    now = reference(before, best if step is None else step)
    if extra.get("pretrain") != now:
        raise InputError(
            f"{folder.path} was begun from {extra.get('pretrain')}, now it would be from {now}; "
            f"{ANEW}"
        )
    known = results.best_hash if step in (None, best) else None
    if known is not None and extra.get("pretrain_hash") not in (None, known):
        raise InputError(
            f"{folder.path} was begun from other parameters than {before.path} has now; {ANEW}"
        )


def stage_summary(folder: RunFolder) -> dict[str, Any]:
    """What recipe.json says of a finished stage: what it was made of, and what came out."""
    config, _ = folder.saved.config()
    results = folder.results()
    names = ("data_hash", "pretrain", "pretrain_hash", "best_step", "best_hash")
    quality = results.test or results.validation or {}
    return {
        "kind": folder.kind,
        "exp": folder.exp,
        "attention": config.attention.label,
        "config_hash": config_hash(config),
        **{name: getattr(results, name) for name in names},
        "train_seconds": results.cost and results.cost.train_seconds,
        "quality": {k: quality[k] for k in ("loss", "macro_f1", "accuracy") if k in quality},
    }


def config_hash(config: Config) -> str:
    """SHA-256 over the options that change the result."""
    bound = binding_options(config)
    return hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()
