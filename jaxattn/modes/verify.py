"""--mode=verify: repeat steps of a finished run, and say whether the parameters are the same."""

from jaxattn.console import tell
from jaxattn.errors import InputError
from jaxattn.request import Request
from jaxattn.runs.folder import given_run
from jaxattn.stages.again import repeat


def run(request: Request) -> int:
    """Repeats runs/<kind>/<exp> from one checkpoint to the next; 1 where a parameter differs.

    Nothing is written into the run. The steps are those between two of its checkpoints, or from
    step 0 to the first: the fewest there are, or with --steps=N the most that are at most N.
    """
    original = given_run(request.needed("run", "runs/finetune/imdb_lsh"))
    if original.kind == "baseline":
        raise InputError(f"--run={request.run}: a baseline has no steps to repeat")
    original.must_be_trained()
    found = repeat(original, request.steps)
    for line in found.differing:
        tell(line)
    for line in found.elsewhere:
        tell(f"not the machine of the run, so exactness is not promised here: {line}")
    if found.inexact:
        tell(f"exactness is not promised: {found.inexact}")
    count = len(found.differing)
    verdict = f"{count} parameters differ" if count else "all parameters are bitwise equal"
    tell(f"{original.path}: steps {found.begin + 1} to {found.end} repeated; {verdict}")
    return 1 if count else 0
