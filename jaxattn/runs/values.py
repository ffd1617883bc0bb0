"""Values of a file that somebody may have changed, each of the type it has to be."""

import math
from collections.abc import Mapping
from typing import Any

from jaxattn.errors import InputError, quoted

LONGEST = 10_000
"""Characters of a text in a file of a run: of a name, a reason or a command."""

LARGEST = 2**63 - 1


def found(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None where it or a parent is missing or null."""
    node: Any = tree
    for name in path.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return None
        node = node[name]
    return node


def number(tree: Mapping[str, Any], path: str) -> float | None:
    """A finite number at a dotted path, None where there is none; InputError for anything else."""
    value = found(tree, path)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{path} is {quoted(value)}, expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"{path} is not finite ({number})")
    return number


def whole(tree: Mapping[str, Any], path: str) -> int | None:
    """A whole number at a dotted path, None where there is none; InputError for anything else."""
    value = found(tree, path)
    if value is not None and (type(value) is not int or abs(value) > LARGEST):
        raise InputError(f"{path} is {quoted(value)}, expected a whole number of up to 63 bits")
    return value


def text(tree: Mapping[str, Any], path: str) -> str | None:
    """Text at a dotted path, None where there is none; InputError for anything else."""
    value = found(tree, path)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{path} is {quoted(value)}, expected text")
    if value is not None and len(value) > LONGEST:
        raise InputError(f"{path} has {len(value):,} characters, allowed: up to {LONGEST:,}")
    return value


def text_or_none(flat: Mapping[str, Any], name: str) -> str | None:
    """Text at a flat name; what is no text is treated as not known."""
    value = flat.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST else None


def whole_or_none(flat: Mapping[str, Any], name: str) -> int | None:
    """A whole number at a flat name; what is none is treated as not known."""
    value = flat.get(name)
    return value if type(value) is int and abs(value) <= LARGEST else None
