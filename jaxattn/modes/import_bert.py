"""--mode=import: a Hugging Face BERT folder becomes a run that later stages start from."""

from pathlib import Path

from jaxattn.config import replace
from jaxattn.errors import InputError
from jaxattn.interop.published import read_published
from jaxattn.request import Request, run_folder_of
from jaxattn.stages.imported import import_bert


def run(request: Request) -> None:
    """Writes runs/pretrain/<exp>/ from the folder of --input.

    Of --config only the data are read, as texts for --mode=profile; lengths are the model's.
    """
    folder = run_folder_of(request)
    if folder.begun or folder.drafted:
        raise InputError(f"{folder.path} already exists; choose another --exp")
    source = Path(request.needed("input", "bert-base-uncased")).expanduser()
    bert = read_published(source)
    config = bert.config
    if request.config is not None:
        config = replace(config, request.data_options())
    import_bert(folder, config, bert, source.resolve())
