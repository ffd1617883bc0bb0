"""--mode=profile: what the attentions cost, where they cross, and how exact they are.

Everything is measured side by side in one process. Tables are printed; rows, crossovers and
pictures are written to runs/profile/<name>/.
"""

import shutil
from pathlib import Path
from typing import Any

import jax

from jaxattn.config import Config
from jaxattn.config_io import to_plain, write_text
from jaxattn.modes import environment
from jaxattn.modes.precision import settled
from jaxattn.modes.profile_bench import Outcome, measure
from jaxattn.modes.profile_error import Checkpoint, errors_by_layer, load_checkpoint
from jaxattn.modes.profile_print import print_profile
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import write_json
from jaxattn.modes.training import say
from jaxattn.profile.plot import cost_against_length, error_by_layer
from jaxattn.profile.rows import as_csv, crossovers, rows
from jaxattn.profile.trace import named, read_events, record, seconds_by_part, write_events
from jaxattn.profile.variants import EXACT, FORWARD_BACKWARD, STEP


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
        "environment": environment.describe(config),
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


def _write(folder: Path, profile: dict[str, Any], config: Config) -> None:
    """Files and pictures; those that this profile has nothing for are removed."""
    write_text(folder / "profile.csv", as_csv(profile["rows"]))
    write_json(folder / "profile.json", profile)
    written = [folder / "profile.csv", folder / "profile.json"]
    shape = profile["rows"][0]
    model = config.model
    title = (
        f"{model.num_heads} heads of {model.head_width}, {model.num_layers} layers, "
        f"{shape['dtype']}, {profile['environment']['device']}"
    )
    errors = folder / "errors.csv"
    if profile["errors"]:
        write_text(errors, as_csv(profile["errors"]))
        written.append(errors)
    else:
        errors.unlink(missing_ok=True)
    pictures = {
        "cost_vs_length.png": lambda path: cost_against_length(profile["rows"], title, path),
        "error_by_layer.png": lambda path: error_by_layer(
            profile["errors"], f"error on {profile['checkpoint']}", path
        ),
    }
    for name, draw in pictures.items():
        if draw(folder / name):
            written.append(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    for path in written:
        print(f"written: {path}")


def _traces(outcome: Outcome, folder: Path) -> list[dict[str, Any]]:
    """Records every variant, in a step where one was measured; replaces earlier traces."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = []
    for key, program in _longest(outcome).items():
        variant, what, length = key
        say(f"profile: tracing {variant}, {what.replace('_', ' + ')}, {length:,} tokens")
        name = variant.replace(" ", "_")
        raw, path = record(program, folder, name), folder / f"{name}.json.gz"
        events = named(read_events(raw), program.compiled.as_text() or "")
        write_events(events, path)
        found.append(
            {
                "attention": variant,
                "what": what,
                "length": length,
                "perfetto": str(path),
                "xprof": str(folder),
                "seconds_by_part": seconds_by_part(events),
            }
        )
    return found


def _longest(outcome: Outcome) -> dict[tuple[str, str, int], Any]:
    """The programs to record: of every variant the same, at the longest length all share."""
    names = list(dict.fromkeys(found.task.variant.name for found in outcome.measured))
    for what in (STEP, FORWARD_BACKWARD):
        for length in sorted(outcome.shapes, reverse=True):
            keys = [(name, what, length) for name in names]
            if all(key in outcome.programs for key in keys):
                return {key: outcome.programs[key] for key in keys}
    return {}
