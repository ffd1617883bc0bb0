"""The whole question at once: each attention trained, fine-tuned and compared."""

import dataclasses
import time
from collections.abc import Callable, Sequence

from jaxattn.attention import ATTENTIONS
from jaxattn.config import Config, StudyConfig, flatten, replace, to_plain
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.report.compare import compare
from jaxattn.request import Request
from jaxattn.stages.origin import pretrained_config
from jaxattn.sweeps.chain import Call, run_stages


def baseline_calls(exp: str, study: StudyConfig) -> list[Call]:
    """The flags of every baseline."""
    return [
        ("--mode=baseline", f"--exp={exp}_{kind}", f"--config.baseline.kind={kind}")
        for kind in study.baselines
    ]


def study_calls(exp: str, study: StudyConfig) -> list[Call]:
    """The flags of every stage, in order; a stage follows from the one of its --pretrain."""
    calls: list[Call] = []
    for attention in study.attentions:
        name = f"{exp}_{attention}"
        chosen = f"--config.attention.type={attention}"
        calls.append(("--mode=pretrain", f"--exp={name}", chosen))
        source = name
        if study.tapt:
            calls.append(("--mode=tapt", f"--exp={name}", f"--pretrain={name}", chosen))
            source = f"tapt/{name}"
        # Said again: a file that does not inherit the architecture has an attention of its own.
        calls.append(("--mode=finetune", f"--exp={name}", f"--pretrain={source}", chosen))
    return calls + baseline_calls(exp, study)


_IN_EXCHANGE = {"reformer_lsh": {"attention.reformer_lsh.shared_qk": False}}
"""Attention -> its options where it takes the place of another: the published keys stay."""


@dataclasses.dataclass(frozen=True)
class Start:
    """The encoder that a study begins with.

    Attributes:
      run: as --pretrain names it.
      config: its configuration; None for random weights.
      given: the options that flags of the study set; they count for every attention.
      lossless: attentions that compute what exact attention does for texts of this length.
    """

    run: str
    config: Config | None
    given: frozenset[str]
    lossless: frozenset[str] = frozenset()

    def exchange(self, attention: str) -> dict[str, object]:
        """The options by which a stage has this attention.

        What an attention cannot do is done by none of them: weights are dropped by exact attention
        alone.
        """
        if self.config is None:
            return {"attention.type": attention}
        options: dict[str, object] = {"attention.type": attention}
        if attention != self.config.attention.type:
            options |= _IN_EXCHANGE.get(attention, {})
        options["model.attention_dropout"] = 0.0
        options = {name: value for name, value in options.items() if name not in self.given}
        before = flatten(to_plain(self.config))
        changed = {name: value for name, value in options.items() if before[name] != value}
        # Also for what the file or a flag says of an attention's options.
        return changed | {"attention.allow_change": True}

    def is_changed(self, attention: str) -> bool:
        """Whether the blocks compute something else with this attention than in the encoder."""
        if self.config is None:
            return False
        if self.config.attention.type == "sdpa" and attention in self.lossless:
            return False
        section = f"attention.{attention}."
        own = any(name.startswith(section) for name in self.given)
        return attention != self.config.attention.type or own


def published_calls(exp: str, study: StudyConfig, start: Start) -> list[Call]:
    """As `study_calls`, with one encoder for all: exchanged, adapted where it was, fine-tuned."""
    calls: list[Call] = []
    for attention in study.attentions:
        name = f"{exp}_{attention}"
        own = start.exchange(attention)
        flags = tuple(f"--config.{option}={value}" for option, value in own.items())
        source = start.run
        if study.tapt or (study.adapt_steps and start.is_changed(attention)):
            adapt = (
                ()
                if study.tapt
                else (
                    f"--config.train.max_steps={study.adapt_steps}",
                    f"--config.train.epochs={study.adapt_steps}",
                    # An MLM would teach it the task's texts, which the exact one has not had.
                    "--config.tapt.objective=distill",
                )
            )
            calls.append(("--mode=tapt", f"--exp={name}", f"--pretrain={source}", *flags, *adapt))
            source = f"tapt/{name}"
        calls.append(("--mode=finetune", f"--exp={name}", f"--pretrain={source}", *flags))
    return calls + baseline_calls(exp, study)


def calls_of(request: Request, config: Config, exp: str) -> list[Call]:
    """All stages of the study that is asked for; a published encoder is imported now.

    Of a cross-validation those of all folds, or of the one that a flag names, in every repeat.

    Raises:
      InputError: --pretrain names nothing to start from, or a flag gives what the study varies.
    """
    if "baseline.kind" in request.given:
        raise InputError(
            "baseline.kind: a study fits each of study.baselines; give "
            f"--config.study.baselines={config.baseline.kind} for this one alone"
        )
    folds = range(config.data.folds)
    if "data.fold" in request.given and folds:
        folds = range(config.data.fold, config.data.fold + 1)
    first, repeats = config.data.split_seed, config.study.repeats
    cuts = range(first, first + repeats) if repeats > 1 else ()
    if not request.pretrain:
        return of_folds(lambda name: study_calls(name, config.study), exp, folds, cuts)
    request = request.started()
    inherited = pretrained_config(request.runs, request.pretrain)
    lossless = lossless_exchanges(config, request.given)
    start = Start(request.pretrain, inherited, request.given, lossless)
    return of_folds(lambda name: published_calls(name, config.study, start), exp, folds, cuts)


def lossless_exchanges(config: Config, given: frozenset[str]) -> frozenset[str]:
    """The attentions that, as `Start.exchange` sets them, are exact for texts of this length."""

    def is_exact(name: str) -> bool:
        own = {n: v for n, v in _IN_EXCHANGE.get(name, {}).items() if n not in given}
        options = getattr(replace(config, own).attention, name)
        exact_up_to = ATTENTIONS[name].exact_up_to
        return exact_up_to is not None and config.data.max_length <= exact_up_to(options)

    return frozenset(filter(is_exact, ATTENTIONS))


def of_folds(
    calls: Callable[[str], list[Call]], exp: str, folds: Sequence[int], cuts: Sequence[int] = ()
) -> list[Call]:
    """The calls of <exp>_fold0, ..., fold by fold; without folds those of `exp`.

    Every fold has a pretraining of its own, which must not read the texts it is tested on.

    Args:
      calls: those of the study that has this name.
      exp: what all names begin with.
      folds: data.fold of each.
      cuts: data.split_seed of each repeat, whose names are <exp>_repeat0_fold0, ...; empty: one
        cross-validation, named without a repeat.
    """
    if not folds:
        return calls(exp)
    repeats: list[tuple[str, Call]] = [
        (f"{exp}_repeat{repeat}", (f"--config.data.split_seed={cut}",))
        for repeat, cut in enumerate(cuts)
    ]
    return [
        (*call, *own, f"--config.data.fold={fold}")
        for name, own in repeats or [(exp, ())]
        for fold in folds
        for call in calls(f"{name}_fold{fold}")
    ]


def run_study(request: Request) -> int:
    """Runs what is missing of a study, then compares all runs under --runs; its exit code."""
    config = request.resolved()
    exp = request.exp_or(config.data.name, "data.name", what="study")
    calls = calls_of(request, config, exp)
    # The study chooses the attention, which later stages inherit.
    flags = [arg for arg in request.config_args if not arg.startswith("--config.attention.type")]
    began = time.monotonic()
    code, failed = run_stages(calls, [*flags, *request.for_stages()])
    if code > 2:
        say("the study was stopped; go on with --resume")
    if code >= 2:
        return code
    if len(failed) < len(calls):
        print()
        compare(request.runs, config.log)
    say(f"the study took {(time.monotonic() - began) / 60:.1f} minutes")
    if failed:
        say(f"it is not complete; failed: {'; '.join(' '.join(call[:2]) for call in failed)}")
    return code
