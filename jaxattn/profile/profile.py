"""A profile: everything that was measured, and the files it is kept in."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax

from jaxattn.config import Config
from jaxattn.config.saved import to_plain
from jaxattn.console import say
from jaxattn.files import write_json, write_text
from jaxattn.profile.bench import Key
from jaxattn.profile.errors import Checkpoint, LayerError, errors_by_layer
from jaxattn.profile.measure import Outcome, measure
from jaxattn.profile.plot import cost_against_length, error_by_layer
from jaxattn.profile.rows import Comparison, Row, as_csv, crossovers, rows
from jaxattn.profile.timing import Program
from jaxattn.profile.trace import Trace, traced
from jaxattn.profile.variants import EXACT, FORWARD_BACKWARD, STEP
from jaxattn.stages import machine


@dataclasses.dataclass(frozen=True)
class Profile:
    """What is written to profile.json; times are in seconds, memory in bytes.

    Attributes:
      environment: as in environment.json of a run.
      config: the configuration, in plain types.
      checkpoint: the run on which `errors` were measured, if any.
      rows: what everything costs.
      crossovers: where attentions begin to be faster than exact attention.
      unavailable: name of a variant -> why it does not work here.
      errors: of the approximations, by layer.
      traces: of one program each.
    """

    environment: dict[str, Any]
    config: dict[str, Any]
    checkpoint: str | None
    rows: list[Row]
    crossovers: list[Comparison]
    unavailable: dict[str, str]
    errors: list[LayerError]
    traces: list[Trace]

    def as_json(self) -> dict[str, Any]:
        """As it is written."""
        found = [comparison.as_json() for comparison in self.crossovers]
        return dataclasses.asdict(self) | {"crossovers": found}


def make_profile(config: Config, checkpoint: Checkpoint | None, traces: Path | None) -> Profile:
    """Measures what `config.profile` asks for.

    Args:
      config: the attentions, the model and what is measured.
      checkpoint: on which the errors are measured; None: they are not.
      traces: the folder of traces, which replace those before; None: none are recorded.
    """
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
    return Profile(
        environment=machine.describe(config),
        config=to_plain(config),
        checkpoint=None if checkpoint is None else str(checkpoint.run.path),
        rows=table,
        crossovers=crossovers(table, EXACT),
        unavailable=outcome.unavailable,
        errors=errors,
        traces=[] if traces is None else _traces(outcome, traces),
    )


def write_profile(profile: Profile, config: Config, folder: Path) -> None:
    """Writes files and pictures; those that this profile has nothing for are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    model = config.model
    title = (
        f"{model.num_heads} heads of {model.head_width}, {model.num_layers} layers, "
        f"{profile.rows[0].dtype}, {profile.environment['device']}"
    )

    def write_errors(path: Path) -> bool:
        if profile.errors:
            write_text(path, as_csv(profile.errors))
        return bool(profile.errors)

    write_text(folder / "profile.csv", as_csv(profile.rows))
    write_json(folder / "profile.json", profile.as_json())
    written = [folder / "profile.csv", folder / "profile.json"]
    for name, write in (
        ("errors.csv", write_errors),
        ("cost_vs_length.png", lambda path: cost_against_length(profile.rows, title, path)),
        (
            "error_by_layer.png",
            lambda path: error_by_layer(profile.errors, f"error on {profile.checkpoint}", path),
        ),
    ):
        if write(folder / name):
            written.append(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    for path in written:
        print(f"written: {path}")


def _traces(outcome: Outcome, folder: Path) -> list[Trace]:
    """Records every variant, in a step where one was measured; replaces earlier traces."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    traces = []
    for key, program in _longest(outcome).items():
        variant, what, length = key
        say(f"profile: tracing {variant}, {what.replace('_', ' + ')}, {length:,} tokens")
        traces.append(traced(program, key, folder))
    return traces


def _longest(outcome: Outcome) -> dict[Key, Program]:
    """The programs to record: of every variant the same, at the longest length all share."""
    names = list(dict.fromkeys(found.task.variant.name for found in outcome.measured))
    for what in (STEP, FORWARD_BACKWARD):
        for length in sorted(outcome.shapes, reverse=True):
            keys = [(name, what, length) for name in names]
            if all(key in outcome.programs for key in keys):
                return {key: outcome.programs[key] for key in keys}
    return {}
