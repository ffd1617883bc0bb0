"""What options are declared with: dataclasses whose fields are checked as they are built."""

import dataclasses
import enum
import functools
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar, cast

from jaxattn.errors import InputError, did_you_mean

MAX_SEQ_LEN = 16384

Value = TypeVar("Value")

Annotation: TypeAlias = type | types.UnionType | types.GenericAlias
"""Of an option: bool, int, float, str, a union of these, or tuple[int, ...] and the like."""


class Scope(enum.Flag):
    """What an option means to a run; scopes of a section are those of all its options too.

    What resuming, inheriting, comparing, planning and exporting do with an option follows from it.
    """

    RESULT = 0
    """Where nothing else is said: it is part of what a run computes, and costs something."""
    BOOKKEEPING = enum.auto()
    """Nothing that a run computes depends on it: it may change when the run goes on, and runs
    that differ in it are alike."""
    EXACTNESS = enum.auto()
    """How exactly a run can be repeated; it may change when the run goes on."""
    SEED = enum.auto()
    """Runs that differ in it alone repeat each other, as seeds, folds and cuts do."""
    MACHINE = enum.auto()
    """Where files lie on this machine: left out of exports; not compared, unless it is `STAGE`."""
    INHERITED = enum.auto()
    """Architecture: a later stage takes it from the stage before and may not change it."""
    STAGE = enum.auto()
    """Each stage's own, in a section that is otherwise inherited."""
    TUNED = enum.auto()
    """May be chosen anew for each attention: what a step costs can still be compared."""
    COST_FREE = enum.auto()
    """Neither time nor memory of a step depends on it."""


def option(
    default: Value,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
    distinct: bool = False,
    scope: Scope = Scope.RESULT,
) -> Value:
    """A dataclass field that is an option.

    Args:
      default: its value where none is given.
      doc: its description.
      low: the smallest value allowed.
      high: the largest value allowed.
      choices: the values allowed.
      distinct: whether a list has to have values, each once.
      scope: what it means.
    """
    metadata = {
        "doc": doc, "low": low, "high": high, "choices": choices, "distinct": distinct,
        "scope": scope,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


def section(kind: Callable[[], Value], doc: str, *, scope: Scope = Scope.RESULT) -> Value:
    """A dataclass field that holds a nested section of options."""
    return dataclasses.field(default_factory=kind, metadata={"doc": doc, "scope": scope})


class Declared(NamedTuple):
    """An option as it is declared: its annotated type, and what `option` was given."""

    type: Annotation
    doc: str
    low: float | None
    high: float | None
    choices: Sequence[str] | None
    distinct: bool
    scope: Scope

    @property
    def allowed(self) -> str:
        """Its values in words; "" where its type says it all."""
        if self.choices is not None:
            return ", ".join(self.choices)
        if self.low is None:
            return ""
        return f"at least {self.low}" if self.high is None else f"{self.low} to {self.high}"


@functools.cache
def declared(kind: type) -> Mapping[str, Declared]:
    """Dotted name -> every option of a section, or of all, in their order.

    Scopes include those of the sections in which an option stands.
    """
    options: dict[str, Declared] = {}
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            for name, option in declared(cast(type, hint)).items():
                scope = field.metadata["scope"] | option.scope
                options[f"{field.name}.{name}"] = option._replace(scope=scope)
        else:
            options[field.name] = Declared(hint, **field.metadata)
    return options


def of_scope(kind: type, *scopes: Scope) -> tuple[str, ...]:
    """Dotted names of the options that have one of these scopes, in their order."""
    return tuple(
        name
        for name, option in declared(kind).items()
        if any(scope in option.scope for scope in scopes)
    )


class Checked:
    """Checks the types and ranges of a section as it is built; subclasses add rules in `_rules`."""

    PATH: ClassVar[str]

    def __init_subclass__(cls, path: str = "") -> None:
        """`path` stands before the names of the options, as messages tell them: "train."."""
        cls.PATH = path

    def __post_init__(self) -> None:
        """Converts and checks every field, then the rules between them."""
        kind: type = type(self)
        for name, option in declared(kind).items():
            if "." not in name:
                value = _checked(self.PATH + name, getattr(self, name), option)
                object.__setattr__(self, name, value)
        self._rules()

    def _rules(self) -> None:
        """Conditions between fields; raises InputError."""


_NOT_UNICODE = re.compile("[\ud800-\udfff]")


def _checked(name: str, given: object, option: Declared) -> object:
    """The value of an option as its type; raises InputError where it may not have it."""
    low, high, choices = option.low, option.high, option.choices
    try:
        value = _converted(given, option.type)
    except TypeError:
        wanted = _type_name(option.type)
        raise InputError(
            f"{name}: found {given!r} ({type(given).__name__}), expected {wanted}"
        ) from None
    items = value if isinstance(value, tuple) else (value,)
    for item in items:
        if isinstance(item, str) and _NOT_UNICODE.search(item):
            # As it comes from a file's name of another encoding; no file of a run can hold it.
            raise InputError(f"{name}: found {item!r}, which is not UTF-8; rename the file")
        if choices is not None and item not in choices:
            hint = did_you_mean(str(item), choices)
            raise InputError(f"{name}: found {item!r}, allowed: {option.allowed}{hint}")
        # `not (low <= item)` rather than `item < low`: NaN must be refused too.
        if not (low is None or low <= item) or not (high is None or item <= high):
            raise InputError(f"{name}: found {item!r}, allowed: {option.allowed}")
    if option.distinct and (not items or len(set(items)) != len(items)):
        what = f"ones of {option.allowed}" if choices else "values"
        raise InputError(f"{name}: found {list(items)}, allowed: one or more different {what}")
    return value


def _converted(value: object, annotation: Annotation) -> Any:
    """`value` as the annotated type, or TypeError. Only lossless conversions are made."""
    if isinstance(annotation, types.UnionType):
        for member in typing.get_args(annotation):
            try:
                return _converted(value, member)
            except TypeError:
                continue
        raise TypeError
    if isinstance(annotation, types.GenericAlias):
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise TypeError
        return tuple(_converted(item, typing.get_args(annotation)[0]) for item in value)
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, annotation) or (annotation is int and isinstance(value, bool)):
        raise TypeError
    return value


def _type_name(annotation: Annotation) -> str:
    if isinstance(annotation, types.GenericAlias):
        return f"a list of {typing.get_args(annotation)[0].__name__}"
    if isinstance(annotation, types.UnionType):
        return " or ".join(member.__name__ for member in typing.get_args(annotation))
    return annotation.__name__
