"""--mode=study: the whole question at once, each attention pretrained, fine-tuned and compared.

Every stage is a process of its own, so that its peak memory is its own and a failure stays its own.
"""

import subprocess
import sys
import time

from jaxattn.errors import InputError
from jaxattn.modes.compare import compare
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import NAME
from jaxattn.modes.training import say


def stages(exp: str, attentions: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The flags of every stage, in order."""
    calls: list[tuple[str, ...]] = []
    for attention in attentions:
        name = f"{exp}_{attention}"
        chosen = f"--config.attention.type={attention}"
        calls.append(("--mode=pretrain", f"--exp={name}", chosen))
        calls.append(("--mode=finetune", f"--exp={name}", f"--pretrain={name}"))
    calls.append(("--mode=baseline", f"--exp={exp}_tfidf"))
    return calls


def run(request: Request) -> None:
    """Runs what is missing of a study, then compares all runs under --runs.

    A stage that fails is reported and the others go on; the study then fails with their names.
    """
    config = request.resolved()
    exp = request.exp or config.data.name
    if not NAME.fullmatch(exp):
        raise InputError(f"--exp: found {exp!r}, allowed: letters, digits, '_', '.', '-'")
    calls = stages(exp, config.study.attentions)
    began, failed = time.monotonic(), []
    for number, call in enumerate(calls, 1):
        say(f"\n[{number}/{len(calls)}] {' '.join(call)}")
        # An attention chosen with a flag would be given twice: the study chooses it.
        inherited = [
            flag for flag in request.config_args if not flag.startswith("--config.attention.type")
        ]
        flags = [*inherited, *call, f"--runs={request.runs}"]
        if request.resume:
            flags.append("--resume")
        code = subprocess.run([sys.executable, "-m", "jaxattn", *flags], check=False).returncode
        if code:
            failed.append(" ".join(call[:2]))
            say(f"this stage failed with exit code {code}")
            if code in (2, 130, 143):
                break
    if len(failed) < len(calls):
        print()
        compare(request.runs)
    say(f"the study took {(time.monotonic() - began) / 60:.1f} minutes")
    if failed:
        raise InputError(f"the study is not complete; failed: {'; '.join(failed)}")
