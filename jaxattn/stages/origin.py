"""What --pretrain names: the checkpoint of an earlier stage that TAPT or fine-tuning begins with.

`<exp>` is a run of runs/pretrain, `tapt/<exp>` one of runs/tapt, `<name>@<step>` one of its
checkpoints instead of the best. A bare name never means a TAPT run, so that what is saved with a
run means the same for ever, whatever runs are added later.
"""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

from jaxattn.config import Config
from jaxattn.errors import InputError
from jaxattn.ops.trees import Params, tree_hash
from jaxattn.runs.folder import IMPORTED_FROM, RunFolder
from jaxattn.runs.kinds import SCRATCH, called
from jaxattn.runs.results import Stage
from jaxattn.stages.agreement import require_agreement
from jaxattn.train.checkpoints import Checkpoints

POOLER = "pooler"
"""Name of the pooler among the parameters of an import, and of a classifier."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """The checkpoint that a stage begins with.

    `pretrain` is its name, name@step or none; `digest` the hash of its parameters, and `stages` are
    those that led to it.
    """

    pretrain: str
    digest: str | None
    stages: tuple[Stage, ...]

    @property
    def run(self) -> str | None:
        """The run it is from; None for random weights."""
        return None if self.pretrain == SCRATCH else self.pretrain.partition("@")[0]

    @property
    def saved(self) -> dict[str, Any]:
        """What is saved of it beside the options of the run."""
        return {"pretrain": self.pretrain, "pretrain_hash": self.digest}


FROM_SCRATCH = Origin(SCRATCH, None, ())


def begin_with(folder: RunFolder, runs: Path, pretrain: str) -> tuple[Params, Origin]:
    """The parameters of `name@step`, for the run in `folder`, and where they are from.

    Raises:
      InputError: the run in `folder` was begun with other parameters under this name.
    """
    params, digest = unchanged_params(folder, runs, pretrain)
    return params, Origin(pretrain, digest, tuple(stages_before(runs, pretrain)))


def source_of(runs: Path, pretrain: str) -> tuple[RunFolder, int | None]:
    """The run that `pretrain` names, and the step where it names one.

    Raises:
      InputError: the name cannot be one, or there is no such run.
    """
    name, _, step = pretrain.partition("@")
    if step and not step.isdigit():
        raise InputError(f"--pretrain={pretrain}: found step {step!r}, expected <exp>@<number>")
    kind, slash, exp = name.rpartition("/")
    if slash and kind not in ("pretrain", "tapt"):
        raise InputError(f"--pretrain={pretrain}: found {kind}/, allowed: <exp> or tapt/<exp>")
    source = RunFolder(runs, kind or "pretrain", exp, "--pretrain")
    other = RunFolder(runs, "tapt", exp, "--pretrain")
    if not slash and not source.saved.path.exists() and other.saved.path.exists():
        raise InputError(f"{source.path}: no such pretrain run; for {other.path} say tapt/{exp}")
    source.must_exist()
    return source, int(step) if step else None


def reference(source: RunFolder, step: int | None) -> str:
    """What --pretrain calls a run, or a checkpoint of it."""
    name = called(source.kind, source.exp)
    return name if step is None else f"{name}@{step}"


def pretrained_config(runs: Path, pretrain: str) -> Config | None:
    """The configuration whose architecture is inherited; None when training from scratch."""
    return None if pretrain == SCRATCH else source_of(runs, pretrain)[0].saved.config()[0]


def pinned(runs: Path, pretrain: str) -> str:
    """`name@step` for `name`, with the step of the best checkpoint; else what was given.

    The step is kept with the run: a pretraining that goes on may find a better one later.
    """
    if pretrain == SCRATCH:
        return pretrain
    source, step = source_of(runs, pretrain)
    checkpoints = Checkpoints(source.path / "checkpoints", keep=1)
    if step is None:
        latest = checkpoints.latest()
        if latest is None:
            raise InputError(f"{source.path}: no finished checkpoint to start from")
        if source.state != "finished":
            warnings.warn(
                f"{source.path} is {source.state}; using its best checkpoint so far", stacklevel=1
            )
        step = checkpoints.document(latest)["tally"]["best_step"] or latest
    return reference(source, step)


def pretrained_params(runs: Path, pretrain: str) -> Params:
    """Parameters of `name@step`; InputError where the files of that run do not go together."""
    source, step = source_of(runs, pretrain)
    checkpoints = Checkpoints(source.path / "checkpoints", keep=1)
    if step not in checkpoints.steps():
        there = ", ".join(map(str, checkpoints.steps())) or "none"
        raise InputError(f"{source.path}: no checkpoint of step {step}; there are: {there}")
    require_agreement(source, checkpoints, step)
    return checkpoints.load_params(step)


def has_trained_head(runs: Path, pretrain: str) -> bool:
    """Whether any stage to `pretrain` has trained an MLM head."""
    source, _ = source_of(runs, pretrain)
    if not source.results_path.exists():
        return True
    results = source.results()
    if source.kind == "tapt":
        distilled = (results.attention_change or {}).get("objective") == "distill"
        return not distilled or has_trained_head(runs, source.pretrained_from())
    return not (results.imported or {}).get("new")


def inherited_pooler(runs: Path, pretrain: str) -> Params | None:
    """The pooler of the BERT that the stages to `name@step` began with, or None.

    An MLM has none, so that TAPT leaves it as it was imported.
    """
    source, _ = source_of(runs, pretrain)
    if source.kind == "tapt":
        before = source.pretrained_from()
        pooler = inherited_pooler(runs, before)
        if pooler is not None:
            unchanged_params(source, runs, before)
        return pooler
    imported = IMPORTED_FROM in source.saved.config()[1]
    return pretrained_params(runs, pretrain).get(POOLER) if imported else None


def unchanged_params(folder: RunFolder, runs: Path, pretrain: str) -> tuple[Params, str]:
    """Parameters of `name@step` and their hash.

    Raises:
      InputError: the run in `folder` was begun with other parameters under this name.
    """
    params = pretrained_params(runs, pretrain)
    digest = tree_hash(params)
    begun = folder.saved.path.exists()
    begun_with = folder.saved.config()[1].get("pretrain_hash") if begun else None
    if begun_with not in (None, digest):
        raise InputError(
            f"--pretrain={pretrain}: this checkpoint is no longer the one that {folder.path} was "
            "begun from; begin anew under another --exp"
        )
    return params, digest


def stages_before(runs: Path, pretrain: str) -> list[Stage]:
    """The stages that led to `name@step`, the first one first."""
    source, step = source_of(runs, pretrain)
    config, extra = source.saved.config()
    before = stages_before(runs, source.pretrained_from()) if source.kind == "tapt" else []
    cost = source.results().cost if source.results_path.exists() else None
    stage = Stage.of(source.kind, source.exp, config, step, cost)
    if origin := extra.get(IMPORTED_FROM):
        stage = dataclasses.replace(stage, data=None, imported_from=origin)
        told = source.results().imported if source.results_path.exists() else None
        stage = dataclasses.replace(stage, model_type=(told or {}).get("model_type"))
    return [*before, stage]
