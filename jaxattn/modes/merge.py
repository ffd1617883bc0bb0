"""--mode=merge: a run that trained a part of the parameters as a run of ordinary parameters."""

from jaxattn.console import say
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.merged import merge


def run(request: Request) -> None:
    """Writes runs/finetune/<exp>_merged/ (or --output=<name>): it predicts what <exp> does."""
    source = RunFolder(request.runs, "finetune", request.needed("exp", "imdb_lora"))
    name = request.output or f"{source.exp}_merged"
    merged = RunFolder(request.runs, "finetune", name, "--output")
    with merged.locked():
        parameters = merge(source, merged)
    say(f"finished: {merged.path}: {parameters:,} parameters, those of {source.path}")
