"""The YAML of a run folder as plain values, whoever wrote it.

PyYAML's safe loader executes nothing, but lets a file of a few bytes take all memory (aliases of
aliases), hang (numbers of a million digits) or end the interpreter (a hundred thousand brackets).
"""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxattn.errors import InputError, quoted
from jaxattn.files import DEEPEST, read_text

_LARGEST = 2**23
"""Bytes: the names of 100,000 classes have fewer."""

_REPEATED = 10_000
"""Values that aliases stand for in all."""

_LONG_NUMBER = re.compile(r"[0-9][0-9_:.]{300}")


def read_tree(path: Path) -> Mapping[str, Any]:
    """A YAML file of options: nested mappings of texts, numbers, truth values and lists of these.

    Raises:
      InputError: there is none to read, or it holds something else.
    """
    import yaml

    # The one in C, where there is one: a sweep reads hundreds of these files.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with contextlib.suppress(OSError):  # told by what reads it
        if not path.exists():
            raise InputError(f"{path}: missing; expected the saved configuration")
    text = read_text(path, _LARGEST)
    tree = None
    try:
        flaw = _flaw(text, loader)
        if not flaw:
            tree = yaml.load(text, loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        # Not only what breaks YAML's rules: a date may have a thirteenth month.
        flaw = " ".join(str(error).split())
    if flaw:
        raise InputError(f"{path}: not readable YAML ({flaw})")
    if not isinstance(tree, Mapping):
        raise InputError(f"{path}: found no options, expected 'section.option: value' lines")
    _require_plain(tree, path)
    return tree


def _flaw(text: str, loader: Any) -> str:
    """What would make loading a text dangerous; "" if nothing does.

    Only its events are read, which takes no more time or memory than the text is long.
    """
    import yaml

    if _LONG_NUMBER.search(text):
        return "a number of over 300 digits"
    # Anchor -> how many values it stands for; those whose end is yet to come are no keys.
    sizes: dict[str, int] = {}
    open_ones: list[tuple[str | None, int]] = []
    count = repeated = 0
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                return f"the alias {quoted(event.anchor)} stands for nothing, or for itself"
            repeated += sizes[event.anchor]
            count += sizes[event.anchor]
            if repeated > _REPEATED:
                return f"its aliases stand for more than {_REPEATED:,} values"
        elif isinstance(event, yaml.CollectionStartEvent):
            open_ones.append((event.anchor, count))
            count += 1
            if len(open_ones) > DEEPEST:
                return f"more than {DEEPEST} levels deep"
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_ones.pop()
            if anchor is not None:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
    return ""


def _require_plain(tree: Mapping[Any, Any], path: Path, name: str = "") -> None:
    """Raises InputError naming the first option whose value is none that options have."""
    for key, value in tree.items():
        inner = f"{name}{key}"
        if isinstance(value, Mapping):
            _require_plain(value, path, f"{inner}.")
        elif not all(map(_is_plain, value if isinstance(value, list) else [value])):
            raise InputError(
                f"{path}: {inner[:100]}: found {quoted(value)}, expected a text, a number, true, "
                "false, or a list of these"
            )


def _is_plain(value: object) -> bool:
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or isinstance(value, str | float)
