"""`Config` to and from ConfigDict (configuration files and flags) and plain YAML (run folders)."""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxattn.config.checked import Checked, Scope, declared
from jaxattn.config.config import Config, replace, scope_of
from jaxattn.config.yaml_tree import read_tree
from jaxattn.errors import InputError
from jaxattn.files import write_text


def to_plain(config: Checked) -> dict[str, Any]:
    """`config`, or a section of it, as nested dicts of YAML types (tuples become lists)."""
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]  # subclasses are dataclasses
        value = getattr(config, field.name)
        if isinstance(value, Checked):
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


def binding_options(config: Config) -> dict[str, Any]:
    """The flat options, as YAML types, on which depends what a run computes."""
    flat = flatten(to_plain(config))
    return {name: flat[name] for name in flat if Scope.BOOKKEEPING not in scope_of(name)}


def write_yaml(path: Path, tree: Mapping[str, Any]) -> None:
    """Writes nested or flat dicts as plain YAML."""
    import yaml

    write_text(path, yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True))


_BEFORE = {"train.dropout_prng": "threefry"}
"""What a saved configuration means that lacks one of these options, which came later."""


@functools.cache
def _lacking() -> dict[str, Any]:
    return flatten(to_plain(Config())) | _BEFORE


def as_meant(options: Mapping[str, Any]) -> dict[str, Any]:
    """Flat options as they were saved, and what they mean for those that came later."""
    return {**_lacking(), **options}


def as_begun(given: Config, saved: Config) -> Config:
    """`given`, with what a run of an earlier version was begun with in place of new defaults."""
    old, new = flatten(to_plain(saved)), flatten(to_plain(given))
    default = flatten(to_plain(Config()))
    return replace(given, {n: old[n] for n in _BEFORE if new[n] == default[n]})


def from_saved(options: Mapping[str, Any]) -> Config:
    """The `Config` that was saved as these options, nested or flat, by any version.

    Raises InputError naming an option that this version does not know.
    """
    return replace(Config(), _BEFORE | flatten(options))


def read_yaml(path: Path) -> tuple[Config, dict[str, Any]]:
    """The `Config` saved in a run folder, nested or flattened, and what else stands there.

    Raises:
      InputError: missing or unreadable file, or an option this version does not know.
    """
    known = declared(Config)
    sections = {name.split(".")[0] for name in known}
    flat = flatten(read_tree(path))
    extra = {name: value for name, value in flat.items() if name.split(".")[0] not in sections}
    options = {name: value for name, value in flat.items() if name not in extra}
    for name, value in options.items():
        # To YAML 3e-4 is a text, since it has no point.
        if isinstance(value, str) and name in known and known[name].type is float:
            with contextlib.suppress(ValueError):
                options[name] = float(value)
    try:
        return from_saved(options), extra
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
