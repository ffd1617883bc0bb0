"""--mode=study: the whole question at once, each attention pretrained, fine-tuned and compared."""

from jaxattn.request import Request
from jaxattn.sweeps.study import run_study


def run(request: Request) -> int:
    """Runs what is missing of a study, then compares all runs under --runs.

    A stage that fails is reported, what follows from it is left out, and the others go on; the
    exit code is then 1. Bad input and a request to stop end the study.
    """
    return run_study(request)
