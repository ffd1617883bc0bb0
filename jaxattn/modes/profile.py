"""--mode=profile: what the attentions cost, where they cross, and how exact they are.

Everything is measured side by side in one process. Tables are printed; rows, crossovers and
pictures are written to runs/profile/<name>/.
"""

from pathlib import Path

from jaxattn.profile.errors import Checkpoint, load_checkpoint
from jaxattn.profile.profile import make_profile, write_profile
from jaxattn.profile.show import print_profile
from jaxattn.request import Request
from jaxattn.stages.precision import settled


def run(request: Request) -> None:
    """Profiles the attentions of --config, or of the run whose checkpoint is given.

    With --exp or --pretrain the errors on that checkpoint are measured too. A profile replaces the
    one before it of the same name.
    """
    checkpoint = load_checkpoint(request)
    if checkpoint is None or request.config is not None:
        config = settled(request.resolved())
    else:
        config = checkpoint.config
    folder = request.runs / "profile" / _name(request, checkpoint)
    profile = make_profile(config, checkpoint, folder / "trace" if request.trace else None)
    print_profile(profile)
    write_profile(profile, config, folder)


def _name(request: Request, checkpoint: Checkpoint | None) -> str:
    """The name of the run, or else of the configuration file."""
    if checkpoint is not None:
        return checkpoint.run.exp
    file = next(arg for arg in request.config_args if arg.startswith("--config="))
    return Path(file.partition("=")[2]).stem
