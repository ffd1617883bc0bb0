"""A configuration from a file and from flags, as a `ConfigDict` and as a checked `Config`."""

import ast
import dataclasses
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import config_flags

from jaxattn.config.checked import Scope, of_scope
from jaxattn.config.config import Config, replace
from jaxattn.config.saved import flatten, option_types, to_plain
from jaxattn.config.train import AUTO_PRECISION
from jaxattn.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from ml_collections import ConfigDict

STAGE_OPTIONS = of_scope(Config, Scope.STAGE)

ARCHITECTURE = frozenset(of_scope(Config, Scope.INHERITED)).difference(STAGE_OPTIONS)
"""Options that a later stage inherits from the one before and may not change."""


def to_config_dict(config: Config) -> "ConfigDict":
    """`config` as a ConfigDict that a configuration file edits and flags override."""
    from ml_collections import ConfigDict

    def build(node: Any) -> Any:
        # The number of features may be a count or a multiple, so that section takes any type here;
        # `from_config_dict` checks every type and range in any case.
        mixed = any(
            isinstance(hint, types.UnionType) for hint in typing.get_type_hints(type(node)).values()
        )
        result = ConfigDict(type_safe=not mixed)
        for field in dataclasses.fields(node):
            value = getattr(node, field.name)
            result[field.name] = build(value) if dataclasses.is_dataclass(value) else value
        return result

    return build(config)


def defaults() -> "ConfigDict":
    """What a configuration file begins with: every option at its default, the precision "auto".

    `Config()` is float32 on every machine, and so is a saved configuration without that option.
    """
    return to_config_dict(replace(Config(), {"train.precision": AUTO_PRECISION}))


def inherit_architecture(config: "ConfigDict") -> None:
    """Marks the architecture of a later stage's configuration as taken from the stage before."""
    from ml_collections import config_dict

    kinds = option_types()
    for path in of_scope(Config, Scope.INHERITED):
        *sections, name = path.split(".")
        node = functools.reduce(lambda tree, section: tree[section], sections, config)
        kind = str if isinstance(kinds[path], types.UnionType) else kinds[path]
        del node[name]
        node[name] = config_dict.placeholder(kind)


def from_config_dict(config: "ConfigDict", inherited: Config | None = None) -> Config:
    """The checked `Config` of a ConfigDict; options that are None are taken from `inherited`.

    With `inherited` given, an option of the architecture that differs from it is refused, except
    `model.max_seq_len` (no parameter depends on it unless positions are learned; these grow with
    `model.extend_positions`) and, with `attention.allow_change`, the attention.

    Raises:
      InputError: unknown option, wrong type, value out of range, changed architecture.
    """
    given = flatten(config.to_dict())
    kinds = option_types()
    values = {}
    if inherited is not None:
        at_default = flatten(to_plain(Config()))
        values = {path: at_default[path] for path in STAGE_OPTIONS}
    for path, value in given.items():
        if path not in kinds:
            raise InputError(f"unknown option {path!r}{did_you_mean(path, list(kinds))}")
        if value is None:
            continue
        if inherited is not None and path in ARCHITECTURE:
            _refuse_change(path, value, inherited, given)
        values[path] = value
    return replace(inherited or Config(), values)


def _refuse_change(path: str, value: Any, inherited: Config, given: Mapping[str, Any]) -> None:
    kept = flatten(to_plain(inherited))[path]
    of_attention = path.startswith("attention.") or path == "model.attention_dropout"
    free = of_attention and bool(given.get("attention.allow_change"))
    hint = "; attention.allow_change=true allows another attention" if of_attention else ""
    if path == "model.max_seq_len":
        learned = inherited.model.positions == "learned"
        tiles = given.get("model.extend_positions") == "tile"
        free = not learned or (tiles and isinstance(value, int) and value > kept)
        hint = "; model.extend_positions=tile allows more of its learned positions"
    if value != kept and not free:
        raise InputError(
            f"{path}: found {value!r}, but the pretraining run has {kept!r}; a later stage "
            f"inherits the architecture, so leave it out or give the same value{hint}"
        )


def config_dict(config_args: Sequence[str], mode: str, *, file_needed: bool = True) -> typing.Any:
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
    normalized = list(last.values())
    values = flags.FlagValues()
    if not any(arg.startswith("--config=") for arg in normalized):
        if file_needed:
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
