"""--mode=profile: what the attentions cost, where they cross, and how exact they are.

Everything is measured side by side in one process. Tables are printed; rows, crossovers and
pictures are written to runs/profile/<name>/.
"""

from pathlib import Path

import jax

from jaxattn.config import to_plain
from jaxattn.console import say
from jaxattn.profile.errors import Checkpoint, errors_by_layer, load_checkpoint
from jaxattn.profile.measure import measure
from jaxattn.profile.rows import crossovers, rows
from jaxattn.profile.show import print_profile
from jaxattn.profile.variants import EXACT
from jaxattn.profile.written import _traces, _write
from jaxattn.request import Request
from jaxattn.stages import machine
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
    errors = []
    if checkpoint is not None:
        say(f"profile: errors on {checkpoint.run.path}")
        errors = errors_by_layer(checkpoint, config)
    outcome = measure(config)
    table = rows(
        outcome.measured,
        outcome.shapes,
        layers=config.model.num_layers,
        remat=config.train.remat != "none",
        cpu=jax.devices()[0].platform == "cpu",
    )
    folder.mkdir(parents=True, exist_ok=True)
    profile = {
        "environment": machine.describe(config),
        "config": to_plain(config),
        "checkpoint": None if checkpoint is None else str(checkpoint.run.path),
        "rows": table,
        "crossovers": crossovers(table, EXACT),
        "unavailable": outcome.unavailable,
        "errors": errors,
        "traces": _traces(outcome, folder / "trace") if request.trace else [],
    }
    print_profile(profile)
    _write(folder, profile, config)


def _name(request: Request, checkpoint: Checkpoint | None) -> str:
    """The name of the run, or else of the configuration file."""
    if checkpoint is not None:
        return checkpoint.run.exp
    file = next(arg for arg in request.config_args if arg.startswith("--config="))
    return Path(file.partition("=")[2]).stem
