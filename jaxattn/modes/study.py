"""--mode=study: the whole question at once, each attention pretrained, fine-tuned and compared.

Every stage is a process of its own, so that its peak memory is its own and a failure stays its own.
"""

import signal
import subprocess
import sys
import time

from jaxattn.errors import InputError
from jaxattn.modes.compare import compare
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import NAME
from jaxattn.modes.training import say

STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a stage that was asked to stop."""


def stages(exp: str, attentions: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The flags of every stage, in order; a stage follows from the one of its --pretrain."""
    calls: list[tuple[str, ...]] = []
    for attention in attentions:
        name = f"{exp}_{attention}"
        chosen = f"--config.attention.type={attention}"
        calls.append(("--mode=pretrain", f"--exp={name}", chosen))
        calls.append(("--mode=finetune", f"--exp={name}", f"--pretrain={name}"))
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
    calls = stages(exp, config.study.attentions)
    # The study chooses the attention; fine-tuning inherits it.
    inherited = [arg for arg in request.config_args if "--config.attention.type" not in arg]
    began, failed = time.monotonic(), []
    for number, call in enumerate(calls, 1):
        source = next((flag for flag in call if flag.startswith("--pretrain=")), "")
        if ("--mode=pretrain", source.replace("--pretrain", "--exp")) in failed:
            say(f"\n[{number}/{len(calls)}] {' '.join(call)}: left out, its pretraining failed")
            continue
        say(f"\n[{number}/{len(calls)}] {' '.join(call)}")
        flags = [*inherited, *call, f"--runs={request.runs}"]
        code = _process([*flags, "--resume"] if request.resume else flags)
        if code in STOPPED:
            say("the study was stopped; go on with --resume")
            return 128 + signal.SIGINT if code in (130, -signal.SIGINT) else 128 + signal.SIGTERM
        if code == 2:
            return 2
        if code:
            say(f"this stage failed with exit code {code}")
            failed.append(call[:2])
    if len(failed) < len(calls):
        print()
        compare(request.runs)
    say(f"the study took {(time.monotonic() - began) / 60:.1f} minutes")
    if failed:
        say(f"it is not complete; failed: {'; '.join(' '.join(call) for call in failed)}")
    return 1 if failed else 0


def _process(flags: list[str]) -> int:
    """Runs `jaxattn` with these flags; hands on requests to stop and waits until it has saved."""
    process = subprocess.Popen([sys.executable, "-m", "jaxattn", *flags])
    previous = {
        number: signal.signal(number, lambda n, _: process.send_signal(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
