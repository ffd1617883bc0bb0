"""results.json: what a run found, written and read in one place."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from jaxattn.config import Config, flatten, to_plain
from jaxattn.errors import InputError
from jaxattn.runs.folder import RunFolder


def read_json(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file; InputError, without the name of the file, if there is none."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("missing") from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"not readable JSON ({error})") from None
    if not isinstance(tree, Mapping):
        raise InputError(f"found {type(tree).__name__}, expected an object")
    return tree


def read_config(path: Path) -> dict[str, Any]:
    """The saved configuration, flattened.

    It is not checked against today's options: a run of an older version can still be compared.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        flat = flatten(tree) if isinstance(tree, Mapping) else {}
    except FileNotFoundError:
        raise InputError("missing") from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        cause = " ".join(str(error).split())
        raise InputError(f"not readable YAML ({cause})") from None
    if not flat:
        raise InputError("found no options")
    return flat


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
        raise InputError(f"{path} is {value!r}, expected a number")
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
    if value is not None and type(value) is not int:
        raise InputError(f"{path} is {value!r}, expected a whole number")
    return value


def text(tree: Mapping[str, Any], path: str) -> str | None:
    """Text at a dotted path, None where there is none; InputError for anything else."""
    value = found(tree, path)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{path} is {value!r}, expected text")
    return value


def text_or_none(flat: Mapping[str, Any], name: str) -> str | None:
    """Text at a flat name; what is no text is treated as not known."""
    value = flat.get(name)
    return value if isinstance(value, str) and value else None


def whole_or_none(flat: Mapping[str, Any], name: str) -> int | None:
    """A whole number at a flat name; what is none is treated as not known."""
    value = flat.get(name)
    return value if type(value) is int else None


def stage_record(
    folder: RunFolder, config: Config, step: int | None, cost: dict[str, Any] | None
) -> dict[str, Any]:
    """One entry of `stages`; `step` is the checkpoint that is reported, or that went on."""
    return {
        "kind": folder.kind,
        "exp": folder.exp,
        "step": step,
        "data": config.data.name,
        "attention": config.attention.type,
        "attention_options": to_plain(config.attention.options),
        "cost": cost,
    }
