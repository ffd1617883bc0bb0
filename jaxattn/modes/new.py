"""--mode=new: the options of a pretraining as a file to edit, before anything is trained."""

from jaxattn.config import defaults, from_config_dict
from jaxattn.data.corpora.known import filled_in
from jaxattn.errors import InputError
from jaxattn.request import Request, run_folder_of


def run(request: Request) -> None:
    """Writes runs/pretrain/<exp>/config.yaml, from --config or from the defaults."""
    folder = run_folder_of(request)
    with folder.locked():
        if folder.path.exists() and any(folder.path.iterdir()):
            what = "is drafted already; edit it" if folder.drafted else "already exists"
            raise InputError(f"{folder.path} {what}, or choose another --exp")
        if request.config is not None:
            config = request.resolved()
        else:
            config = filled_in(from_config_dict(defaults()), ())
        where = "" if str(folder.runs) == "runs" else f" --runs={folder.runs}"
        command = f"jaxattn --mode=pretrain --exp={folder.exp}{where}"
        folder.saved.draft(config, _HEAD.format(command=command))
    print(f"written: {folder.saved.path}; edit it, then run\n  {command}")


_HEAD = """\
Options of a pretraining that has not begun. Edit what should differ, then run
{command}
What is taken out has its default. In brackets: the values there may be. A corpus known by name has
options of its own: --mode=new with --config.data.name=<name> fills them in, this file does not."""
