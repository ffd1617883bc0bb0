"""The request of a command line, without a look at the texts."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxattn.commandline.encoder import ON_CPU, ON_GPU, fitting_file
from jaxattn.commandline.help import help_of, overview, version
from jaxattn.commandline.line import DEFAULTS, taken_apart
from jaxattn.commands import FLAGS, MODES
from jaxattn.config.flags import config_dict
from jaxattn.errors import InputError, did_you_mean
from jaxattn.request import Mode, Request
from jaxattn.runs.kinds import SCRATCH

_PUBLISHED = "published"

OWN_FILES = (ON_CPU, ON_GPU, _PUBLISHED)
"""The configurations that --data takes by itself: from nothing, and from a published encoder."""

YES, NO = ("true", "t", "1", "yes", "y"), ("false", "f", "0", "no", "n")


def parse(argv: Sequence[str]) -> Request | None:
    """The request of a command line; None after showing what was asked of the program itself.

    Raises:
      InputError: unknown mode, flag or option, a flag that the mode does not take, missing or
        broken configuration file, bad value.
    """
    line = taken_apart(argv)
    asked = line.words + ([line.flags["mode"]] if "mode" in line.flags else [])
    # Beside a mode that there is, any other word is one too many.
    asked.sort(key=lambda word: word not in MODES)
    if "version" in line.flags:
        print(f"jaxattn {version()}")
        return None
    if "help" in line.flags and not (asked and asked[0] in MODES):
        print(overview())
        return None
    if not asked or asked[0] not in MODES:
        name = asked[0] if asked else ""
        hint = did_you_mean(name, list(MODES))
        raise InputError(f"--mode: found {name!r}, allowed: {', '.join(MODES)}{hint}")
    mode = MODES[asked[0]]
    if "help" in line.flags:
        print(help_of(mode))
        return None
    if len(asked) > 1:
        raise InputError(f"unexpected argument {asked[1]!r}; flags have the form --name=value")
    given = {name: text for name, text in line.flags.items() if name != "mode"}
    _check(mode, given, line.config)
    values: dict[str, Any] = {name: _value(name, text) for name, text in given.items()}
    if values.get("dry_run") and "data" in mode.flags and "data" not in given:
        raise InputError(f"--mode={mode.name} --dry_run: give --data=<file, folder or hub id> too")
    request = Request(mode=mode, config_args=tuple(line.config), **values)
    if request.data and not request.has_file:
        file = _own_file(request)
        request = dataclasses.replace(
            request, config_args=(f"--config={file}", *request.config_args)
        )
    return configured(request) if request.config_args else request


def _own_file(request: Request) -> str:
    if not request.pretrain:
        return fitting_file(request.mode, os.environ)[0]
    return ON_CPU if request.pretrain == SCRATCH else _PUBLISHED


def configured(request: Request) -> Request:
    """The request with what its --config flags say; raises InputError as `parse` does."""
    mode = request.mode
    file_needed = not (mode.config.startswith("options") or request.run)
    config = config_dict(request.config_args, _settings(request), file_needed=file_needed)
    return dataclasses.replace(request, config=config)


def _check(mode: Mode, given: Mapping[str, str], config: Sequence[str]) -> None:
    """Raises InputError for flags that the mode does not take, and for a configuration it lacks."""
    takes = _taken(mode)
    for name in [*given, *(["config"] if config else [])]:
        if name not in takes:
            others = [m.name for m in MODES.values() if name in _taken(m)]
            raise InputError(
                f"--mode={mode.name} does not take --{name} (modes that do: {', '.join(others)}); "
                f"it takes {', '.join(f'--{flag}' for flag in takes)}"
            )
    beside = [name for name in ("exp", "pretrain", "stage", "data") if name in given]
    if "run" in given and beside:
        raise InputError(f"--run and --{beside[0]}: give one of them; --run names the whole run")
    if mode.config == "options" and any(arg.startswith("--config=") for arg in config):
        raise InputError(
            f"--mode={mode.name} takes no file as --config: its options are those of the run; "
            f"change single ones, as --config.{mode.own_options()[0]}=<value>"
        )
    if mode.config == "needed" and not config and "data" not in given:
        raise mode.needs_config()


def _taken(mode: Mode) -> list[str]:
    return [*([] if mode.config == "none" else ["config"]), *mode.flags]


def _settings(request: Request) -> str:
    """The mode whose settings a configuration file is asked for."""
    if "stage" in request.mode.flags:
        return request.stage or ("finetune" if request.pretrain else "pretrain")
    return request.mode.settings or request.mode.name


def _value(name: str, text: str) -> str | int | bool | Path:
    """What a flag says, as the type of its default."""
    default, choices = DEFAULTS[name], FLAGS[name].choices
    if isinstance(default, bool):
        if text.lower() not in YES + NO:
            raise InputError(f"--{name}: found {text!r}, allowed: true, false")
        return text.lower() in YES
    if isinstance(default, int):
        if not text.isdecimal():
            raise InputError(f"--{name}: found {text!r}, allowed: a whole number, at least 0")
        return int(text)
    if name == "data" and not text:
        raise InputError("--data: found '', allowed: a file, folder or hub id")
    if text and choices and text not in choices:
        hint = did_you_mean(text, choices)
        raise InputError(f"--{name}: found {text!r}, allowed: {', '.join(choices)}{hint}")
    return Path(text) if isinstance(default, Path) else text
