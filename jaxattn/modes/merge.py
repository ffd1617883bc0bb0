"""--mode=merge: a run that trained a part of the parameters as a run of ordinary parameters."""

from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.model.peft import FOLDABLE
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.merged import merge

WHY_NOT = {
    "full": "it trained all parameters: there is nothing to merge",
    "soft_prompt": "a soft prompt lengthens the input and is no part of any weight",
    "adapter": "an adapter is a layer with an activation and is no part of any weight",
}


def run(request: Request) -> None:
    """Writes runs/finetune/<exp>_merged/ (or --output=<name>): it predicts what <exp> does.

    It needs neither the base nor `peft`, and holds no optimizer: it can be read, not trained.

    Raises:
      InputError: the method cannot be folded, the run is not finished, or the name is taken.
    """
    source = RunFolder(request.runs, "finetune", request.needed("exp", "imdb_lora"))
    source.must_exist()
    method = source.saved_config()[0].peft.method
    if method not in FOLDABLE:
        raise InputError(f"{source.path} cannot be merged: {WHY_NOT[method]}")
    if source.state != "finished":
        raise InputError(f"{source.path} is {source.state}, not finished; merge it when it is")
    merged = RunFolder(request.runs, "finetune", request.output or f"{source.exp}_merged")
    if merged.path.exists():
        raise InputError(f"{merged.path} already exists; choose another name with --output=<name>")
    parameters = merge(source, merged)
    say(f"finished: {merged.path}: {parameters:,} parameters, those of {source.path}")
