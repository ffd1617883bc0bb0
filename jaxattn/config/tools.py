"""Options of the commands that do not train: baselines, studies, sweeps, plans, profiles."""

import dataclasses
import re

from jaxattn.config.attention import ATTENTION_TYPES, attention_names
from jaxattn.config.checked import MAX_SEQ_LEN, Checked, Scope, option
from jaxattn.errors import InputError, did_you_mean

BASELINES = ("tfidf", "chars", "nb", "svm")
"""Kinds of baseline; the first is the yardstick of the criteria."""


@dataclasses.dataclass(frozen=True)
class BaselineConfig(Checked, path="baseline."):
    """A linear classifier of n-grams, chosen on validation macro-F1."""

    kind: str = option(
        "tfidf", "tfidf: TF-IDF of words and pairs with logistic regression, the yardstick of the "
        "criteria; chars: of up to four characters; nb: words and pairs weighted by naive Bayes; "
        "svm: TF-IDF of words and pairs with a linear SVM", choices=BASELINES,
    )  # fmt: skip
    features: tuple[int, ...] = option(
        (20_000, 50_000), "most frequent n-grams that are kept, to choose from",
        low=1, distinct=True,
    )  # fmt: skip
    strengths: tuple[float, ...] = option(
        (1.0, 10.0), "inverse regularisation (C), to choose from",
        low=1e-6, high=1e6, distinct=True,
    )  # fmt: skip
    words: int = option(0, "words read of each text, from its beginning; 0: all", low=0)


@dataclasses.dataclass(frozen=True)
class StudyConfig(Checked, path="study."):
    """What `--mode=study` compares."""

    attentions: tuple[str, ...] = option(
        ATTENTION_TYPES, f"attentions to compare: {', '.join(ATTENTION_TYPES)}, or a pattern of "
        "several in turn, as in local-local-sdpa", distinct=True,
    )  # fmt: skip
    baselines: tuple[str, ...] = option(
        BASELINES, "kinds of baseline to compare with (baseline.kind)",
        choices=BASELINES, distinct=True,
    )  # fmt: skip
    tapt: bool = option(
        False, "TAPT between pretraining and fine-tuning; from a published encoder (--pretrain) "
        "with every attention, in place of study.adapt_steps",
    )  # fmt: skip
    adapt_steps: int = option(
        300, "from a published encoder (--pretrain): steps on the task's texts (TAPT) where the "
        "attention was exchanged; 0: fine-tuned at once", low=0,
    )  # fmt: skip
    repeats: int = option(
        1, "times that a cross-validation (data.folds) is run, each with another cut: "
        "data.split_seed, data.split_seed + 1, ...", low=1,
    )  # fmt: skip

    def _rules(self) -> None:
        for attention in self.attentions:
            for name in attention_names(attention):
                if name not in ATTENTION_TYPES:
                    raise InputError(
                        f"study.attentions: found {attention!r}, allowed: "
                        f"{', '.join(ATTENTION_TYPES)}, or several of them in turn as in "
                        f"local-local-sdpa{did_you_mean(name, ATTENTION_TYPES)}"
                    )


@dataclasses.dataclass(frozen=True)
class RecipeConfig(Checked, path="recipe."):
    """What `--mode=recipe` runs."""

    stages: tuple[str, ...] = option(
        ("pretrain", "tapt", "finetune"), "stages to run, each from the one before",
        choices=("pretrain", "tapt", "finetune"),
    )  # fmt: skip
    pretrain_path: str = option(
        "",
        "data.path of the pretraining, where it reads other files than the later stages",
        scope=Scope.MACHINE,
    )

    def _rules(self) -> None:
        order = ("pretrain", "tapt", "finetune")
        if not self.stages or list(self.stages) != [s for s in order if s in self.stages]:
            raise InputError(
                f"recipe.stages: found {list(self.stages)}, allowed: one or more of "
                f"{', '.join(order)}, each once and in this order"
            )


DEVICE = re.compile(r"cpu:\d+(-\d+)?(,\d+(-\d+)?)*|[A-Za-z0-9][\w.-]*(,[\w.-]+)*", re.ASCII)
"""An entry of `sweep.devices`."""


@dataclasses.dataclass(frozen=True)
class SweepConfig(Checked, path="sweep."):
    """How `--mode=sweep` runs the cells of a grid; `get_sweep` of the file says which they are."""

    parallel: int = option(1, "cells that run side by side", low=1, high=1024)
    devices: tuple[str, ...] = option(
        (), "what the cells running side by side are bound to, one entry each and in turn: GPUs as "
        "in CUDA_VISIBLE_DEVICES ('0', '1'), or cores ('cpu:0-3', 'cpu:4-7'); empty: to nothing",
    )  # fmt: skip

    executor: str = option(
        "local", "where cells run: as processes here, or on the Ray cluster that RAY_ADDRESS names "
        "(else one on this machine)", choices=("local", "ray"),
    )  # fmt: skip
    cell_cpus: float = option(1.0, "cores that a cell takes of a Ray cluster", low=0.0)
    cell_gpus: float = option(0.0, "GPUs that a cell takes of a Ray cluster", low=0.0)

    def _rules(self) -> None:
        for entry in self.devices:
            if not DEVICE.fullmatch(entry):
                raise InputError(
                    f"sweep.devices: found {entry!r}, allowed: GPUs such as '0' or '0,1', or cores "
                    "such as 'cpu:0-3'"
                )


@dataclasses.dataclass(frozen=True)
class PredictConfig(Checked, path="predict."):
    """How a finished classifier reads texts (`--mode=predict`, `jaxattn.load`)."""

    long: str = option(
        "truncate",
        "a text of more than data.max_length tokens: cut as data.truncate says, or read whole in "
        "windows, whose probabilities are averaged by their tokens",
        choices=("truncate", "window"),
    )
    overlap: int = option(
        32, "tokens that a window shares with the one before; less than a window holds", low=0
    )


@dataclasses.dataclass(frozen=True)
class PlanConfig(Checked, path="plan."):
    """How `--mode=plan` looks ahead."""

    memory_gb: float = option(
        0.0, "memory of a further device to plan for, in GB; 0: none", low=0.0, high=100_000.0
    )
    seconds: float = option(
        120.0, "time that compiling and timing may take, about; reading the data not counted",
        low=0.0,
    )  # fmt: skip
    timed_steps: int = option(3, "steps timed for each length, after a first one", low=1)
    sample_texts: int = option(
        20_000,
        "of a larger corpus so many texts are tokenised to tell its lengths; for --mode=data too",
        low=1,
    )


@dataclasses.dataclass(frozen=True)
class ProfileConfig(Checked, path="profile."):
    """What `--mode=profile` measures."""

    attentions: tuple[str, ...] = option(
        ATTENTION_TYPES, "attentions to measure; the exact one in all ways it can be computed",
        choices=ATTENTION_TYPES, distinct=True,
    )  # fmt: skip
    lengths: tuple[int, ...] = option(
        (), "tokens of a row; empty: 512 to 4096 on a CPU, to 16384 elsewhere",
        low=8, high=MAX_SEQ_LEN,
    )  # fmt: skip
    tokens: int = option(
        0, "tokens of a batch, one row at least; 0: one row on a CPU, 16384 elsewhere", low=0
    )
    repeats: int = option(7, "times everything is measured, if time allows", low=1)
    seconds: float = option(
        150.0, "time that compiling and measuring may take, about", low=1.0, high=1e6
    )
    step: bool = option(True, "measure the whole training step too")
    task: str = option("mlm", "what the step trains", choices=("mlm", "classification"))
    texts: int = option(4, "validation texts that show the error on a checkpoint", low=1, high=64)

    def _rules(self) -> None:
        if list(self.lengths) != sorted(set(self.lengths)):
            raise InputError(
                f"profile.lengths: found {list(self.lengths)}, allowed: increasing lengths"
            )
