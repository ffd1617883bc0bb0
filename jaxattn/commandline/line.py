"""A command line taken apart; which modes and flags there are stands in `jaxattn.commands`."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from jaxattn.commands import FLAGS
from jaxattn.config import Config, declared
from jaxattn.errors import InputError, did_you_mean
from jaxattn.request import Request

DEFAULTS = {field.name: field.default for field in dataclasses.fields(Request)}

SWITCHES = [name for name, default in DEFAULTS.items() if isinstance(default, bool)]


class Line(NamedTuple):
    """A command line in parts: --name=value, the same of --config, and words without dashes."""

    flags: dict[str, str]
    config: list[str]
    words: list[str]


def taken_apart(argv: Sequence[str]) -> Line:
    """The parts; raises InputError for a flag that there is not, or that lacks its value."""
    line, rest = Line({}, [], []), list(argv)
    while rest:
        arg = rest.pop(0)
        name, equals, value = arg.lstrip("-").partition("=")
        if not arg.startswith("-"):
            line.words.append(arg)
        elif name in ("h", "help", "helpshort", "version"):
            line.flags["version" if name == "version" else "help"] = ""
        elif name in SWITCHES or (name.removeprefix("no") in SWITCHES and not equals):
            line.flags[name.removeprefix("no")] = value if equals else str(name in SWITCHES)
        else:
            of_config = name == "config" or name.startswith("config.")
            if not (of_config or name in FLAGS or name == "mode"):
                _unknown(name, value)
            if not equals:
                if not rest or rest[0].startswith("--"):
                    raise InputError(f"--{name}: needs a value, as --{name}=<value>")
                value = rest.pop(0)
            if of_config:
                line.config.append(f"--{name}={value}")
            else:
                line.flags[name] = value
    return line


def _unknown(name: str, value: str) -> NoReturn:
    """Raises InputError for a flag that is none, but perhaps an option without its --config."""
    options = [option for option in declared(Config) if f".{option}".endswith(f".{name}")]
    if options:
        known = " or ".join(f"--config.{option}={value or '<value>'}" for option in options)
        raise InputError(f"unknown flag --{name}; an option of the configuration: {known}")
    paths = [f"config.{option}" for option in declared(Config)] if "." in name else []
    hint = did_you_mean(f"config.{name}" if paths else name, [*paths, "config", "mode", *FLAGS])
    raise InputError(f"unknown flag --{name}{hint}")
