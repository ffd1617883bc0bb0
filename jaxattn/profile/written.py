"""Where the tables, pictures and traces of a profile are written."""

import shutil
from pathlib import Path
from typing import Any

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.files import write_json, write_text
from jaxattn.profile.measure import Outcome
from jaxattn.profile.plot import cost_against_length, error_by_layer
from jaxattn.profile.rows import as_csv
from jaxattn.profile.trace import named, read_events, record, seconds_by_part, write_events
from jaxattn.profile.variants import FORWARD_BACKWARD, STEP


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
