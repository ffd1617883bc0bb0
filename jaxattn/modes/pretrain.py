"""--mode=pretrain: train a vocabulary and an encoder on text alone (masked language model)."""

from jaxattn.config import Config
from jaxattn.errors import InputError
from jaxattn.modes.begin import begun_or_new
from jaxattn.request import Request, run_folder_of
from jaxattn.stages.mlm import pretrain
from jaxattn.stages.precision import settled


def run(request: Request) -> None:
    """Pretrains into runs/pretrain/<exp>/, by --config or by what --mode=new has put there."""
    folder = run_folder_of(request)

    def new() -> Config:
        if not folder.drafted:
            return settled(request.resolved())
        if request.config is not None:
            raise InputError(
                f"--config: {folder.saved.path} has the options of this run; leave --config out, "
                "or choose another --exp"
            )
        return settled(folder.saved.config()[0])

    with folder.locked():
        config = begun_or_new(request, folder, new)
        if config is not None:
            pretrain(folder, config)
