"""--mode=study: the whole question at once, each attention pretrained, fine-tuned and compared."""

import time

from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.report.compare import compare
from jaxattn.request import Request
from jaxattn.runs.folder import NAME
from jaxattn.sweeps.chain import Call, run_stages


def stages(exp: str, attentions: tuple[str, ...], tapt: bool = False) -> list[Call]:
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


def run(request: Request) -> int:
    """Runs what is missing of a study, then compares all runs under --runs.

    A stage that fails is reported, what follows from it is left out, and the others go on; the
    exit code is then 1. Bad input and a request to stop end the study.
    """
    config = request.resolved()
    exp = request.exp or config.data.name
    if not NAME.fullmatch(exp):
        raise InputError(f"--exp: found {exp!r}, allowed: letters, digits, '_', '.', '-'")
    calls = stages(exp, config.study.attentions, config.study.tapt)
    # The study chooses the attention; later stages inherit it.
    flags = [arg for arg in request.config_args if "--config.attention.type" not in arg]
    began = time.monotonic()
    code, failed = run_stages(calls, flags, runs=request.runs, resume=request.resume)
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
