"""--mode=tapt: the MLM again on a task's texts, from a pretrained checkpoint.

Task-adaptive pretraining (Gururangan et al. 2020). Encoder and MLM head go on from the checkpoint;
optimizer and schedule begin anew.
"""

from jaxattn.errors import InputError
from jaxattn.modes.begin import begun_or_new_from
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH
from jaxattn.stages.mlm import tapt


def run(request: Request) -> None:
    """Goes on with the MLM in runs/tapt/<exp>/."""
    folder = RunFolder(request.runs, "tapt", request.run_name("imdb_lsh"))
    if request.pretrain == SCRATCH:
        raise InputError(
            f"--pretrain={SCRATCH}: TAPT starts from a pretrained run; --mode=pretrain trains "
            "from random weights"
        )
    with folder.locked():
        begun = begun_or_new_from(request, folder, "wiki_lsh")
        if begun is not None:
            tapt(folder, begun[0], request.runs, begun[1])
