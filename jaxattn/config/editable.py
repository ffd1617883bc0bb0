"""Options as a `ConfigDict`, which configuration files and flags edit, and back as a `Config`."""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxattn.config.checked import Scope, declared, of_scope
from jaxattn.config.config import Config, replace
from jaxattn.config.saved import flatten, to_plain
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

    def build(node: Any) -> "ConfigDict":
        # The number of features may be a count or a multiple, so that section takes any type here;
        # `from_config_dict` checks every type and range in any case.
        kind: type = type(node)
        own = (option.type for name, option in declared(kind).items() if "." not in name)
        mixed = any(isinstance(annotation, types.UnionType) for annotation in own)
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

    options = declared(Config)
    for path in of_scope(Config, Scope.INHERITED):
        *sections, name = path.split(".")
        node = functools.reduce(lambda tree, section: tree[section], sections, config)
        kind = options[path].type
        del node[name]
        # Of several types that of a flag's text; a list holds its items as Python has them.
        plain = str if isinstance(kind, types.UnionType) else typing.get_origin(kind) or kind
        node[name] = config_dict.placeholder(plain)


def from_config_dict(config: "ConfigDict", inherited: Config | None = None) -> Config:
    """The checked `Config` of a ConfigDict; options that are None are taken from `inherited`.

    With `inherited` given, an option of the architecture that differs from it is refused, except
    `model.max_seq_len` (no parameter depends on it unless positions are learned; these grow with
    `model.extend_positions`) and, with `attention.allow_change`, the attention.

    Raises:
      InputError: unknown option, wrong type, value out of range, changed architecture.
    """
    given = flatten(config.to_dict())
    known = declared(Config)
    values: dict[str, Any] = {}
    if inherited is not None:
        at_default = flatten(to_plain(Config()))
        values = {path: at_default[path] for path in STAGE_OPTIONS}
    kept = inherited.attention.pattern if inherited is not None else ()
    kind, pattern = (given.get(f"attention.{name}") for name in ("type", "pattern"))
    if kept and kind is not None and pattern is None:
        raise InputError(
            f"attention.type: found {kind}, but attention.pattern of the stage before says what "
            f"each layer has ({','.join(kept)}); give attention.pattern too, empty for one "
            "attention in all of them"
        )
    for path, value in given.items():
        if path not in known:
            raise InputError(f"unknown option {path!r}{did_you_mean(path, known)}")
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
    plain = list(value) if isinstance(value, tuple) else value
    if plain != kept and not free:
        raise InputError(
            f"{path}: found {plain!r}, but the pretraining run has {kept!r}; a later stage "
            f"inherits the architecture, so leave it out or give the same value{hint}"
        )
