"""--mode=import: a published encoder, by folder or hub id, becomes a run that stages start from."""

from jaxattn.config import replace
from jaxattn.errors import InputError
from jaxattn.interop.hub import fetched
from jaxattn.request import Request, run_folder_of
from jaxattn.runs.folder import RunFolder


def run(request: Request) -> None:
    """Writes runs/pretrain/<exp>/ from the folder or the model of the hub that --input names.

    Of --config only the data are read, as texts for --mode=profile; lengths are the model's.
    """
    folder = run_folder_of(request)
    with folder.locked():
        _import(request, folder)


def _import(request: Request, folder: RunFolder) -> None:
    if folder.begun or folder.drafted:
        raise InputError(f"{folder.path} already exists; choose another --exp")
    source = fetched(request.needed("input", "google-bert/bert-base-uncased"), request.revision)
    # Only now, as these import JAX: that there is no network is told without waiting for it.
    from jaxattn.interop.published import read_published
    from jaxattn.stages.imported import import_published

    bert = read_published(source.folder)
    config = bert.config
    if request.config is not None:
        config = replace(config, request.data_options())
    import_published(folder, config, bert, source)
