"""--mode=verify: repeat steps of a finished run, and say whether the parameters are the same."""

import tempfile
from pathlib import Path

from jaxattn.config import replace
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.files import read_json
from jaxattn.request import Request
from jaxattn.runs.folder import given_run
from jaxattn.stages import machine
from jaxattn.stages.again import copy_of, differences, repeat, stretch, unequal
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.job import InterruptedRun


def run(request: Request) -> int:
    """Repeats runs/<kind>/<exp> from one checkpoint to the next; 1 where a parameter differs.

    Nothing is written into the run. The steps are those between two of its checkpoints, or from
    step 0 to the first: the fewest there are, or with --steps=N the most that are at most N.
    """
    original = given_run(request.needed("run", "runs/finetune/imdb_lsh"))
    if original.kind == "baseline":
        raise InputError(f"--run={request.run}: a baseline has no steps to repeat")
    original.must_be_trained()
    if original.writer is not None:
        raise InputError(f"{original.path} is still running; wait for it")
    checkpoints = Checkpoints(original.path / "checkpoints", keep=1)
    begin, end = stretch(checkpoints.steps(), request.steps, original.path)
    config, _ = original.saved_config()
    here = machine.describe(config)
    elsewhere = differences(read_json(original.path / "environment.json"), here)
    say(f"verify {original.path}: steps {begin + 1} to {end}")
    with tempfile.TemporaryDirectory(prefix="jaxattn-verify-") as root:
        copy = copy_of(original, Path(root), begin)
        try:
            quiet = replace(config, {"log.wandb": "off", "log.tensorboard": False})
            repeat(original, copy, quiet, stop_after=end)
        except InterruptedRun:
            repeated = Checkpoints(copy.path / "checkpoints", keep=1)
            if repeated.steps()[-1:] != [end]:
                raise
        if repeated.document(end)["data_hash"] != checkpoints.document(end)["data_hash"]:
            raise InputError(f"{original.path}: the data have changed since the run")
        differing = unequal(checkpoints.load_params(end), repeated.load_params(end))
    for line in differing:
        print(line)
    for line in elsewhere:
        print(f"not the machine of the run, so exactness is not promised here: {line}")
    if reason := machine.inexact(config):
        print(f"exactness is not promised: {reason}")
    verdict = (
        f"{len(differing)} parameters differ" if differing else "all parameters are bitwise equal"
    )
    print(f"{original.path}: steps {begin + 1} to {end} repeated; {verdict}")
    return 1 if differing else 0
