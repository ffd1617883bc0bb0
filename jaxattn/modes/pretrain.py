"""--mode=pretrain: train a vocabulary and an encoder on text alone (masked language model)."""

from jaxattn.config import Config
from jaxattn.errors import InputError
from jaxattn.modes.begin import continued
from jaxattn.request import Request, run_folder_of
from jaxattn.stages.mlm import pretrain
from jaxattn.stages.precision import settled


def run(request: Request) -> None:
    """Pretrains into runs/pretrain/<exp>/, by --config or by what --mode=new has put there."""
    folder = run_folder_of(request)
    folder.must_be_free(request.resume)
    config: Config | None
    if folder.drafted:
        if request.config is not None:
            raise InputError(
                f"--config: {folder.config_path} has the options of this run; leave --config out, "
                "or choose another --exp"
            )
        config = settled(folder.saved_config()[0])
    elif folder.begun:
        config = continued(request, folder)
    else:
        config = settled(request.resolved())
    if config is not None:
        pretrain(folder, config)
