"""Dataclasses whose fields are checked as they are built: what `jaxattn.config` is written in."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Sequence
from typing import Any, ClassVar

from jaxattn.errors import InputError


def option(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """A dataclass field with its description and its allowed values (bounds are inclusive)."""
    metadata = {"doc": doc, "low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def section(kind: type, doc: str) -> Any:
    """A dataclass field that holds a nested section of options."""
    return dataclasses.field(default_factory=kind, metadata={"doc": doc})


def allowed(field: dataclasses.Field) -> str:
    """The values that an option may have, in words; "" where its type says it all."""
    low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
    if choices is not None:
        return ", ".join(map(str, choices))
    if low is None:
        return ""
    return f"at least {low}" if high is None else f"{low} to {high}"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """'' or "; did you mean 'x'?" for a misspelt `name`."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _converted(value: Any, annotation: Any) -> Any:
    """`value` as the annotated type, or TypeError. Only lossless conversions are made."""
    if isinstance(annotation, types.UnionType):
        for member in typing.get_args(annotation):
            try:
                return _converted(value, member)
            except TypeError:
                continue
        raise TypeError
    if typing.get_origin(annotation) is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise TypeError
        return tuple(_converted(item, typing.get_args(annotation)[0]) for item in value)
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, annotation) or (annotation is int and isinstance(value, bool)):
        raise TypeError
    return value


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is tuple:
        return f"a list of {typing.get_args(annotation)[0].__name__}"
    if isinstance(annotation, types.UnionType):
        return " or ".join(member.__name__ for member in typing.get_args(annotation))
    return annotation.__name__


class Checked:
    """Checks the types and ranges of a section as it is built; subclasses add rules in `_rules`."""

    PATH: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Converts and checks every field, then the rules between them."""
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            if dataclasses.is_dataclass(hints[field.name]):
                continue
            value = self._checked_value(field, hints[field.name])
            object.__setattr__(self, field.name, value)
        self._rules()

    def _checked_value(self, field: dataclasses.Field, annotation: Any) -> Any:
        name, found = self.PATH + field.name, getattr(self, field.name)
        low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
        try:
            value = _converted(found, annotation)
        except TypeError:
            wanted = _type_name(annotation)
            raise InputError(
                f"{name}: found {found!r} ({type(found).__name__}), expected {wanted}"
            ) from None
        for item in value if isinstance(value, tuple) else (value,):
            if choices is not None and item not in choices:
                hint = did_you_mean(str(item), choices)
                raise InputError(f"{name}: found {item!r}, allowed: {allowed(field)}{hint}")
            # `not (low <= item)` rather than `item < low`: NaN must be refused too.
            if not (low is None or low <= item) or not (high is None or item <= high):
                raise InputError(f"{name}: found {item!r}, allowed: {allowed(field)}")
        return value

    def _rules(self) -> None:
        """Conditions between fields; raises InputError."""


MAX_SEQ_LEN = 16384
