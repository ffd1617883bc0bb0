"""What an epoch of a planned run is made of: steps of each length, vocabulary, classes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from jaxattn.config import Config, replace
from jaxattn.data.corpora.splits import load_labelled, load_task_texts, load_texts
from jaxattn.data.tokens.encode import encode, encode_pieces
from jaxattn.errors import InputError
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder, given_run
from jaxattn.runs.kinds import SCRATCH
from jaxattn.stages.batches import labelled_plan, mlm_plan
from jaxattn.stages.change import attention_change
from jaxattn.stages.distill import to_distill
from jaxattn.stages.origin import pretrained_config, source_of
from jaxattn.stages.precision import settled
from jaxattn.stages.vocabulary import known_tokenizer, make_tokenizer, stage_vocabulary

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Subject:
    """The run that is planned.

    Attributes:
      folder: runs/<pretrain, tapt or finetune>/<exp>, whether it is there or not.
      config: its configuration.
      pretrain: what a later stage starts from, name[@step] or none; "" for a pretraining.
    """

    folder: RunFolder
    config: Config
    pretrain: str

    @property
    def task(self) -> str:
        """The task of `synthetic_step`.

        Raises InputError for a TAPT that distils an exchanged attention: that step is none of them.
        """
        if self._distils():
            raise InputError(
                f"{self.folder.kind}/{self.folder.exp}: it adapts the encoder to another attention "
                "(tapt.objective), holding it twice; such a step is not planned, that of "
                "tapt.objective=mlm and the fine-tuning after it are"
            )
        return "classification" if self.folder.kind == "finetune" else "mlm"

    def _distils(self) -> bool:
        if self.folder.kind != "tapt" or self.pretrain == SCRATCH:
            return False
        before, _ = source_of(self.folder.runs, self.pretrain)
        change = attention_change(self.config, before.saved.config()[0], {})
        return to_distill(self.config, change, self.folder.runs, self.pretrain) is not None

    @property
    def plan_path(self) -> Path:
        """runs/plan/<kind>/<exp>/plan.json: beside the runs, and apart for equal names."""
        return self.folder.runs / "plan" / self.folder.kind / self.folder.exp / "plan.json"


@dataclasses.dataclass(frozen=True)
class Workload:
    """What an epoch is made of.

    Attributes:
      vocab_size: rows of the embedding.
      num_classes: of a classifier.
      steps: padded length -> steps of an epoch; None where the data cannot be read.
      counted: whether steps and vocabulary are those of the run, not estimates.
      origin: how they were found, for the reader.
    """

    vocab_size: int
    num_classes: int
    steps: dict[int, int] | None
    counted: bool
    origin: str

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps of an epoch."""
        return None if self.steps is None else sum(self.steps.values())


def subject_of(request: Request) -> Subject:
    """The run of --run, or the one that --config, --pretrain and --exp would make.

    Options of the plan itself may be changed beside --run, as --config.plan.seconds=20.
    """
    if request.run:
        if request.has_file:
            raise InputError("--mode=plan takes --run or --config=<file>, not both")
        options = request.flagged_options(request.mode.own_options())
        folder = given_run(request.run)
        if folder.kind == "baseline":
            raise InputError(f"--run={request.run}: a baseline has no training steps to plan")
        pretrain = "" if folder.kind == "pretrain" else folder.pretrained_from()
        return Subject(folder, settled(replace(folder.saved.config()[0], options)), pretrain)
    if request.config is None:
        raise InputError(
            "--mode=plan needs --config=<file>, for example configs/lsh_small.py, or --run=<folder>"
        )
    pretrain = request.pretrain
    kind = request.stage or ("finetune" if pretrain else "pretrain")
    if (kind == "pretrain") == bool(pretrain) or (kind == "tapt" and pretrain == SCRATCH):
        wanted = "no --pretrain" if kind == "pretrain" else "the --pretrain it starts from"
        raise InputError(f"--mode=plan --stage={kind} needs {wanted}")
    config = request.resolved(pretrained_config(request.runs, pretrain) if pretrain else None)
    file = next(arg for arg in request.config_args if arg.startswith("--config="))
    name = request.exp_or(Path(file.partition("=")[2]).stem, "--config", what="plan")
    return Subject(RunFolder(request.runs, kind, name), settled(config), pretrain)


def workload_of(subject: Subject) -> Workload:
    """The workload as the data tell it; without them, what the configuration says alone."""
    try:
        return _from_data(subject)
    except InputError as error:
        data, problem = subject.config.data, str(error)
    config, folder = subject.config, subject.folder
    tokenizer = known_tokenizer(folder, config, folder.runs, subject.pretrain or SCRATCH)
    if tokenizer is None:
        size, known = subject.config.tokenizer.vocab_size, "vocabulary as configured"
    else:
        size, known = tokenizer.get_vocab_size(), "vocabulary of the tokenizer given"
        if (
            subject.config.tokenizer.extend
            and not (subject.folder.path / "tokenizer.json").exists()
        ):
            size += subject.config.tokenizer.extend
            known += ", extended as configured"
    origin = f"the data could not be read ({problem}); {known}"
    return Workload(size, max(2, len(data.label_names)), None, False, origin)


def _from_data(subject: Subject) -> Workload:
    """Tokenises the training texts, or `plan.sample_texts` of them spread over the corpus."""
    config, folder = subject.config, subject.folder
    num_classes, cut, labels = 2, encode_pieces, None
    if subject.task == "mlm":
        load = load_task_texts if folder.kind == "tapt" else load_texts
        texts: Sequence[str] = load(config.data).train
    else:
        corpus = load_labelled(config.data)
        texts, num_classes, cut = corpus.train.texts, len(corpus.label_names), encode
        labels = np.array(spread(corpus.train.labels.tolist(), config.plan.sample_texts))
    sample = spread(texts, config.plan.sample_texts)
    tokenizer = known_tokenizer(folder, config, folder.runs, subject.pretrain or SCRATCH)
    trained = tokenizer is None
    if tokenizer is None:
        tokenizer = make_tokenizer(folder, config, sample)
    elif subject.pretrain not in ("", SCRATCH):
        tokenizer = stage_vocabulary(
            folder, config, folder.runs, subject.pretrain, sample
        ).tokenizer
    lengths = cut(tokenizer, sample, config.data.max_length)[0].lengths
    counted, origin = len(sample) == len(texts), f"counted: {len(texts):,} texts"
    vocab_size = tokenizer.get_vocab_size()
    if not counted:
        origin = f"estimated from {len(sample):,} of {len(texts):,} texts"
        lengths = np.resize(lengths, round(len(lengths) * len(texts) / len(sample)))
        if trained:
            vocab_size = config.tokenizer.vocab_size
            origin += "; vocabulary as configured"
    if labels is None:
        steps = mlm_plan(config, lengths).steps_by_length
    else:
        steps = labelled_plan(config, lengths, np.resize(labels, len(lengths))).steps_by_length
    return Workload(vocab_size, num_classes, steps, counted, origin)


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` items, evenly spaced: files are often sorted."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]
