"""A new run or one that goes on."""

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.origin import pinned, pretrained_config
from jaxattn.stages.precision import settled


def continued(
    request: Request, folder: RunFolder, inherited: Config | None = None
) -> Config | None:
    """The configuration of a run that is to go on; None, and a word of it, where it is finished.

    Raises:
      InputError: --config is given and would change the result.
    """
    given = request.resolved(inherited) if request.config is not None else None
    config = folder.continued_config(given)
    if folder.state != "finished":
        return config
    say(f"{folder.path} is finished already")
    return None


def begun_or_new(request: Request, folder: RunFolder, example: str) -> tuple[Config, str] | None:
    """Configuration and starting point of a run that is to begin, or to go on.

    Args:
      request: of the call.
      folder: of the run.
      example: a value of --pretrain for the error where it is missing.

    Returns:
      None where the run is finished already.
    """
    folder.must_be_free(request.resume)
    if not folder.begun:
        pretrain = request.needed("pretrain", example)
        config = settled(request.resolved(pretrained_config(request.runs, pretrain)))
        return config, pinned(request.runs, pretrain)
    pretrain = folder.pretrained_from()
    asked = request.pretrain.removeprefix("pretrain/")
    if asked not in ("", pretrain, pretrain.partition("@")[0]):
        raise InputError(f"--pretrain={request.pretrain}: {folder.path} is from {pretrain!r}")
    inherited = pretrained_config(request.runs, pretrain) if request.config is not None else None
    begun = continued(request, folder, inherited)
    return None if begun is None else (begun, pretrain)
