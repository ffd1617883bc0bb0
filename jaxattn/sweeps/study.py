"""The whole question at once: each attention pretrained, fine-tuned and compared."""

import time
from collections.abc import Sequence

from jaxattn.console import say
from jaxattn.report.compare import compare
from jaxattn.request import Request
from jaxattn.sweeps.chain import Call, run_stages


def study_calls(exp: str, attentions: Sequence[str], tapt: bool = False) -> list[Call]:
    """The flags of every stage, in order; a stage follows from the one of its --pretrain."""
    calls: list[Call] = []
    for attention in attentions:
        name = f"{exp}_{attention}"
        chosen = f"--config.attention.type={attention}"
        calls.append(("--mode=pretrain", f"--exp={name}", chosen))
        source = name
        if tapt:
            calls.append(("--mode=tapt", f"--exp={name}", f"--pretrain={name}"))
            source = f"tapt/{name}"
        calls.append(("--mode=finetune", f"--exp={name}", f"--pretrain={source}"))
    calls.append(("--mode=baseline", f"--exp={exp}_tfidf"))
    return calls


def run_study(request: Request) -> int:
    """Runs what is missing of a study, then compares all runs under --runs; its exit code."""
    config = request.resolved()
    exp = request.exp_or(config.data.name)
    calls = study_calls(exp, config.study.attentions, config.study.tapt)
    # The study chooses the attention; later stages inherit it.
    flags = [arg for arg in request.config_args if "--config.attention.type" not in arg]
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
