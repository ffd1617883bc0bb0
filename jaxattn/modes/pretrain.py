"""--mode=pretrain: train a vocabulary and an encoder on text alone (masked language model)."""

from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.request import Request, run_folder_of
from jaxattn.stages.mlm import pretrain
from jaxattn.stages.precision import settled


def run(request: Request) -> None:
    """Pretrains into runs/pretrain/<exp>/, by --config or by what --mode=new has put there."""
    folder = run_folder_of(request)
    folder.must_be_free(request.resume)
    if folder.drafted:
        if request.config is not None:
            raise InputError(
                f"--config: {folder.config_path} has the options of this run; leave --config out, "
                "or choose another --exp"
            )
        config = settled(folder.saved_config()[0])
    elif folder.begun:
        given = request.resolved() if request.config is not None else None
        config = folder.continued_config(given)
        if folder.state == "finished":
            say(f"{folder.path} is finished already")
            return
    else:
        config = settled(request.resolved())
    pretrain(folder, config)
