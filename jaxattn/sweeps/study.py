"""The whole question at once: each attention trained, fine-tuned and compared."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

from jaxattn.attention import ATTENTIONS
from jaxattn.config import (
    ATTENTION_TYPES,
    Config,
    StudyConfig,
    attention_names,
    attention_of,
    flatten,
    replace,
    to_plain,
)
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
        chosen = _flags(_chosen(attention))
        calls.append(("--mode=pretrain", f"--exp={name}", *chosen))
        source = name
        if study.tapt:
            calls.append(("--mode=tapt", f"--exp={name}", f"--pretrain={name}", *chosen))
            source = f"tapt/{name}"
        # Said again: a file that does not inherit the architecture has an attention of its own.
        calls.append(("--mode=finetune", f"--exp={name}", f"--pretrain={source}", *chosen))
    return calls + baseline_calls(exp, study)


def _chosen(attention: str) -> dict[str, object]:
    """The options that choose an attention; a pattern is told only where there is one."""
    return {name: value for name, value in attention_of(attention).items() if value}


def _flags(options: Mapping[str, object]) -> tuple[str, ...]:
    def text(value: object) -> str:
        return ",".join(value) if isinstance(value, tuple) else str(value)

    return tuple(f"--config.{option}={text(value)}" for option, value in options.items())


def _in_exchange(attention: str) -> dict[str, object]:
    """Its options, or those of all in turn, where it takes the place of another."""
    return {
        f"attention.{name}.{option}": value
        for name in dict.fromkeys(attention_names(attention))
        for option, value in ATTENTIONS[name].in_exchange.items()
    }


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
            return _chosen(attention)
        options = attention_of(attention)
        if attention != self.config.attention.label:
            options |= _in_exchange(attention)
        options["model.attention_dropout"] = 0.0
        options = {name: value for name, value in options.items() if name not in self.given}
        before = flatten(to_plain(self.config))
        before["attention.pattern"] = self.config.attention.pattern
        changed = {name: value for name, value in options.items() if before[name] != value}
        # Also for what the file or a flag says of an attention's options.
        return changed | {"attention.allow_change": True}

    def is_changed(self, attention: str) -> bool:
        """Whether the blocks compute something else with this attention than in the encoder."""
        if self.config is None:
            return False
        names = attention_names(attention)
        if self.config.attention.label == "sdpa" and self.lossless.issuperset(names):
            return False
        sections = tuple(f"attention.{name}." for name in names)
        own = any(name.startswith(sections) for name in self.given)
        return attention != self.config.attention.label or own


def published_calls(exp: str, study: StudyConfig, start: Start) -> list[Call]:
    """As `study_calls`, with one encoder for all: exchanged, adapted where it was, fine-tuned."""
    calls: list[Call] = []
    for attention in study.attentions:
        name = f"{exp}_{attention}"
        own = start.exchange(attention)
        flags = _flags(own)
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
    if config.attention.pattern:
        raise InputError(
            f"attention.pattern: found {config.attention.label}; a study trains each of "
            f"study.attentions, which may name it: --config.study.attentions=sdpa,"
            f"{config.attention.label}"
        )
    folds = range(config.data.folds)
    if "data.fold" in request.given and folds:
        folds = range(config.data.fold, config.data.fold + 1)
    first, repeats = config.data.split_seed, config.study.repeats
    cuts = range(first, first + repeats) if repeats > 1 else ()
    if not request.pretrain:
        study = chosen_for(config, lossless(config))
        for attention in study.attentions:
            replace(config, attention_of(attention))  # refused now, not when its turn comes
        return of_folds(lambda name: study_calls(name, study), exp, folds, cuts)
    request = request.started()
    inherited = pretrained_config(request.runs, request.pretrain)
    alike = lossless_exchanges(config, request.given)
    start = Start(request.pretrain, inherited, request.given, alike)
    study = chosen_for(config, alike, inherited.attention.label if inherited else "sdpa")
    for attention in study.attentions:
        replace(inherited or config, start.exchange(attention))
    return of_folds(lambda name: published_calls(name, study, start), exp, folds, cuts)


def chosen_for(config: Config, alike: frozenset[str], own: str = "sdpa") -> StudyConfig:
    """`config.study` without the attentions that would repeat exact attention's numbers, and with
    that of the encoder it begins with.

    Where attentions were chosen, these are trained and no others.

    Args:
      config: of the study.
      alike: attentions that compute what exact attention does for texts of this length.
      own: the encoder's attention, or pattern.
    """
    study = config.study
    if study.attentions != ATTENTION_TYPES:
        return study
    out = [name for name in study.attentions if name in alike - {"sdpa"}]
    for name in out:
        say(
            f"{name} is left out: of texts of at most {config.data.max_length} tokens it sees "
            "every pair, as sdpa does; study.attentions can name it"
        )
    kept = tuple(name for name in study.attentions if name not in out)
    if own not in study.attentions:
        say(f"{own}, the encoder's own attention, is fine-tuned beside the others")
        kept = own, *kept
    return dataclasses.replace(study, attentions=kept)


def lossless(config: Config) -> frozenset[str]:
    """The attentions that, with these options, are exact for texts of this length."""

    def is_exact(name: str) -> bool:
        exact_up_to = ATTENTIONS[name].exact_up_to
        if exact_up_to is None:
            return name == "sdpa"
        return config.data.max_length <= exact_up_to(getattr(config.attention, name))

    return frozenset(filter(is_exact, ATTENTIONS))


def lossless_exchanges(config: Config, given: frozenset[str]) -> frozenset[str]:
    """Those that are exact as `Start.exchange` sets them."""
    own = {
        option: value
        for name in ATTENTIONS
        for option, value in _in_exchange(name).items()
        if option not in given
    }
    return lossless(replace(config, own))


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
