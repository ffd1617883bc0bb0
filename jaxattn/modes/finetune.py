"""--mode=finetune: train a classifier from a pretrained encoder (or from nothing), then test it."""

from jaxattn.modes.begin import begun_or_new_from
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.finetune import finetune


def run(request: Request) -> None:
    """Fine-tunes into runs/finetune/<exp>/ and reports on the test split."""
    folder = RunFolder(request.runs, "finetune", request.run_name("imdb_lsh"))
    example = "wiki_lsh (or none, to start from random weights)"
    with folder.locked():
        begun = begun_or_new_from(request, folder, example)
        if begun is not None:
            finetune(folder, begun[0], request.runs, begun[1])
