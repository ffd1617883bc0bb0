"""A new run or one that goes on."""

from collections.abc import Callable

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.moved import settle_moved
from jaxattn.stages.origin import pinned, pretrained_config
from jaxattn.stages.precision import settled
from jaxattn.stages.start import is_published, started_from


def begun_or_new(
    request: Request,
    folder: RunFolder,
    new: Callable[[], Config],
    inherited: Callable[[], Config | None] = lambda: None,
) -> Config | None:
    """The configuration of a run that is to begin, or to go on; None where it is finished already.

    Args:
      request: of the call.
      folder: of the run.
      new: gives that of a run that is to begin.
      inherited: gives that of the run it started from.
    """
    folder.must_be_free(request.resume)
    if not folder.begun:
        return new()
    given = None if request.config is None else request.resolved(inherited())
    config = folder.saved.continued(given)
    settle_moved(folder, config)
    if folder.state == "finished":
        if manifest := folder.manifest:
            manifest.require(manifest.files)
        say(f"{folder.path} is finished already")
        return None
    return config


def begun_or_new_from(
    request: Request, folder: RunFolder, example: str
) -> tuple[Config, str] | None:
    """As `begun_or_new`, of a run that starts from the checkpoint which is returned too.

    `example` is a value of --pretrain for the error where it is missing. A published encoder is
    imported first.
    """
    folder.must_be_free(request.resume)
    begun = folder.begun
    pretrain = folder.pretrained_from() if begun else request.needed("pretrain", example)
    given = request.pretrain
    if not begun or is_published(request.runs, given):
        given = started_from(request.runs, given or pretrain, request.revision)
    pretrain = pretrain if begun else given
    asked = given.removeprefix("pretrain/")
    if begun and asked not in ("", pretrain, pretrain.partition("@")[0]):
        raise InputError(f"--pretrain={request.pretrain}: {folder.path} is from {pretrain!r}")

    def inherited() -> Config | None:
        return pretrained_config(request.runs, pretrain)

    config = begun_or_new(
        request, folder, lambda: settled(request.resolved(inherited())), inherited
    )
    if config is None:
        return None
    return config, pretrain if begun else pinned(request.runs, pretrain)
