"""--config=<file> and the flags that override its options."""

import ast
import typing
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from jaxattn.checked import did_you_mean
from jaxattn.config_io import defaults, option_types
from jaxattn.errors import InputError

OF_A_RUN = ("predict", "export", "eval")
"""Modes whose options are those of a finished run: a few can be given, and no file is needed."""


def config_dict(config_args: Sequence[str], mode: str) -> typing.Any:
    """The ConfigDict of --config=<file> with its overrides.

    Args:
      config_args: the flags that begin with --config, as they were given.
      mode: handed to `get_config` where that has a parameter.

    Raises:
      InputError: no file, one that cannot be run, an unknown option, or a value of a wrong type.
    """
    # Of a flag given twice the last one counts; a list would be given both values.
    last = {arg.partition("=")[0]: _normalized(arg, mode) for arg in config_args}
    normalized = list(last.values())
    values = flags.FlagValues()
    if not any(arg.startswith("--config=") for arg in normalized):
        if mode not in OF_A_RUN:
            raise InputError("options are overridden on top of a file: give --config=<file> too")
        argv = ["jaxattn", *normalized]
        holder = config_flags.DEFINE_config_dict(
            "config", defaults(), flag_values=values, sys_argv=argv
        )
        return _parsed(holder, values, normalized)
    # The file has to be read before options of it can be overridden.
    normalized.sort(key=lambda arg: not arg.startswith("--config="))
    argv = ["jaxattn", *normalized]
    holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    return _parsed(holder, values, normalized)


def _parsed(holder: typing.Any, values: flags.FlagValues, normalized: list[str]) -> typing.Any:
    try:
        values(["jaxattn", *normalized])
        return holder.value
    except InputError:
        raise
    except Exception as error:
        # Whatever a configuration file may raise when it is run: told in one line, by its name.
        file = next((arg for arg in normalized if arg.startswith("--config=")), normalized[0])
        detail = " ".join(str(error).split())
        raise InputError(f"{file}: {type(error).__name__}: {detail}") from None


def _normalized(arg: str, mode: str) -> str:
    """One --config flag: file and option checked, lists as Python tuples, the mode handed on."""
    flag, equals, value = arg.partition("=")
    if not equals:
        raise InputError(f"{flag}: needs a value, as {flag}=<value>")
    if flag == "--config":
        return f"{arg}:{mode}" if _takes_mode(value) else arg
    kinds, name = option_types(), flag.removeprefix("--config.")
    if name not in kinds:
        raise InputError(f"unknown option {name!r}{did_you_mean(name, list(kinds))}")
    if typing.get_origin(kinds[name]) is tuple and not value.startswith(("(", "[")):
        kind = typing.get_args(kinds[name])[0]
        items = [item.strip() for item in value.split(",") if item.strip()]
        value = "".join(f"{item!r}," if kind is str else f"{item}," for item in items)
        return f"{flag}=({value})"
    return arg


def _takes_mode(path: str) -> bool:
    """Whether get_config of a configuration file has a parameter; checks that there is such a file.

    A file that gives each mode other settings (another learning rate for fine-tuning, say) has
    `get_config(mode)`.
    """
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        if Path(path.rpartition(":")[0]).is_file():
            return False
        raise InputError(f"--config={path}: no such file") from None
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InputError(f"--config={path}: not a Python file ({error})") from None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "get_config":
            return bool(node.args.args)
    raise InputError(f"--config={path}: defines no function get_config")
