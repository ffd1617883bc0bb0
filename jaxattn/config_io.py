"""`Config` to and from ConfigDict (configuration files and flags) and plain YAML (run folders)."""

import contextlib
import dataclasses
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxattn.checked import did_you_mean
from jaxattn.config import AUTO_PRECISION, Config, replace
from jaxattn.errors import InputError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

ARCHITECTURE = ("model", "attention", "tokenizer")
"""Sections that a later stage inherits from the one before and may not change."""
OWN = (
    "attention.allow_change",
    "tokenizer.extend",
    "tokenizer.extra_tokens",
    "model.extend_positions",
)
"""Options in them that are each stage's own: not inherited, and free."""


def to_plain(config: Any) -> dict[str, Any]:
    """`config` as nested dicts of YAML types (tuples become lists)."""
    plain = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            value = to_plain(value)
        plain[field.name] = list(value) if isinstance(value, tuple) else value
    return plain


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted names, in the order they stand."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def option_types(kind: type = Config, prefix: str = "") -> dict[str, Any]:
    """Dotted name -> annotated type of every option."""
    found: dict[str, Any] = {}
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            found |= option_types(hints[field.name], f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = hints[field.name]
    return found


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

    def clear(node: Any, path: str) -> None:
        for name in list(node):
            where = f"{path}.{name}"
            if isinstance(node[name], config_dict.ConfigDict):
                clear(node[name], where)
            else:
                kind = str if isinstance(kinds[where], types.UnionType) else kinds[where]
                del node[name]
                node[name] = config_dict.placeholder(kind)

    for name in ARCHITECTURE:
        clear(config[name], name)


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
        values = {path: at_default[path] for path in OWN}
    for path, value in given.items():
        if path not in kinds:
            raise InputError(f"unknown option {path!r}{did_you_mean(path, list(kinds))}")
        if value is None:
            continue
        if inherited is not None and path.split(".")[0] in ARCHITECTURE and path not in OWN:
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


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_yaml(path: Path, tree: Mapping[str, Any]) -> None:
    """Writes nested or flat dicts as plain YAML."""
    import yaml

    write_text(path, yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True))


def read_yaml(path: Path) -> tuple[Config, dict[str, Any]]:
    """The `Config` saved in a run folder, nested or flattened, and what else stands there.

    Raises:
      InputError: missing or unreadable file, or an option this version does not know.
    """
    kinds = option_types()
    sections = {name.split(".")[0] for name in kinds}
    flat = flatten(read_tree(path))
    extra = {name: value for name, value in flat.items() if name.split(".")[0] not in sections}
    options = {name: value for name, value in flat.items() if name not in extra}
    for name, value in options.items():
        # To YAML 3e-4 is a text, since it has no point.
        if kinds.get(name) is float and isinstance(value, str):
            with contextlib.suppress(ValueError):
                options[name] = float(value)
    try:
        return replace(Config(), options), extra
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_tree(path: Path) -> Mapping[str, Any]:
    """A YAML file of options as it stands; raises InputError where there is none to read."""
    import yaml

    # The one in C, where there is one: a sweep reads hundreds of these files.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), loader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected the saved configuration") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first_line = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable YAML file ({first_line})") from None
    if not isinstance(tree, Mapping):
        raise InputError(f"{path}: found no options, expected 'section.option: value' lines")
    return tree
