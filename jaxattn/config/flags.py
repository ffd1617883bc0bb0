"""The flags --config=<file> and --config.section.option=<value> of a command line."""

import ast
import traceback
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import config_flags

from jaxattn.config.checked import declared
from jaxattn.config.config import Config
from jaxattn.config.editable import defaults
from jaxattn.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_PACKAGE = Path(__file__).parents[1]


def shipped() -> dict[str, Path]:
    """Name, as "imdb" or "sweeps/quick", -> file of every configuration that comes with jaxattn."""
    # An installed package holds the folder; in a checkout it lies beside the package.
    inside, beside = _PACKAGE / "configs", _PACKAGE.parent / "configs"
    folder = inside if inside.is_dir() else beside
    files = sorted(folder.rglob("*.py"), key=lambda path: (len(path.parts), path))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def config_file(given: str) -> str:
    """The file that --config=<given> means: that of this path, else the shipped one of this name.

    As the documents write it, with configs/ before the name and .py after it, it is found too.

    Raises:
      InputError: there is neither; names what there is.
    """
    # What may follow after a colon is handed to get_config.
    if Path(given).is_file() or Path(given.rpartition(":")[0]).is_file():
        return given
    known = shipped()
    name = given.removeprefix("configs/")
    if name != given:
        name = name.removesuffix(".py")
    if name in known:
        return str(known[name])
    raise InputError(
        f"--config={given}: no such file, and none of the configurations that come with jaxattn "
        f"({', '.join(known)}){did_you_mean(name.removesuffix('.py'), known)}"
    )


def config_dict(config_args: Sequence[str], mode: str, *, file_needed: bool = True) -> "ConfigDict":
    """The ConfigDict of --config=<file> with its overrides.

    Args:
      config_args: the flags that begin with --config, as they were given.
      mode: handed to `get_config` where that has a parameter.
      file_needed: else single options are those of a finished run, and no file is needed.

    Raises:
      InputError: no file, one that cannot be run, an unknown option, or a value of a wrong type.
    """
    # Of a flag given twice the last one counts; a list would be given both values.
    last = {arg.partition("=")[0]: _normalized(arg, mode) for arg in config_args}
    # The file has to be read before options of it can be overridden.
    normalized = sorted(last.values(), key=lambda arg: not arg.startswith("--config="))
    argv = ["jaxattn", *normalized]
    values = flags.FlagValues()
    if "--config" in last:
        holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    elif file_needed:
        raise InputError("options are overridden on top of a file: give --config=<file> too")
    else:
        holder = config_flags.DEFINE_config_dict(
            "config", defaults(), flag_values=values, sys_argv=argv
        )
    try:
        values(argv)
        return holder.value
    except InputError:
        raise
    except Exception as error:
        # Whatever a configuration file may raise when it is run: told in one line, by its name.
        detail = " ".join(str(error).split())[:300]
        place = normalized[0] + _line_of(error, normalized[0].removeprefix("--config="))
        raise InputError(f"{place}: {type(error).__name__}: {detail}") from None


def _line_of(error: Exception, given: str) -> str:
    """Where in the configuration file, as ":3"; "" where it was not the file that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    files = [str(Path(name).absolute()) for name in (given, given.rpartition(":")[0]) if name]
    lines = [f.lineno for f in frames if str(Path(f.filename).absolute()) in files]
    return f":{lines[-1]}" if lines else ""


def _normalized(arg: str, mode: str) -> str:
    """One --config flag: file and option checked, lists as Python tuples, the mode handed on."""
    flag, equals, value = arg.partition("=")
    if not equals:
        raise InputError(f"{flag}: needs a value, as {flag}=<value>")
    if flag == "--config":
        file = config_file(value)
        return f"--config={file}:{mode}" if _takes_mode(file) else f"--config={file}"
    options, name = declared(Config), flag.removeprefix("--config.")
    if name not in options:
        raise InputError(f"unknown option {name!r}{did_you_mean(name, options)}")
    kind = options[name].type
    if typing.get_origin(kind) is tuple and not value.startswith(("(", "[")):
        text = typing.get_args(kind)[0] is str
        items = [item.strip() for item in value.split(",") if item.strip()]
        return f"{flag}=({''.join(f'{item!r},' if text else f'{item},' for item in items)})"
    return arg


def _takes_mode(path: str) -> bool:
    """Whether get_config of a configuration file has a parameter; checks that it has a get_config.

    A file that gives each mode other settings (another learning rate for fine-tuning, say) has
    `get_config(mode)`.
    """
    if not Path(path).is_file():
        return False
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InputError(f"--config={path}: not a Python file ({error})") from None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "get_config":
            return bool(node.args.args)
    raise InputError(f"--config={path}: defines no function get_config")
