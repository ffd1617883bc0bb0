"""JSON files that say themselves whether they are as they were written."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxattn.files import read_object, write_json

ENTRY = "sha256"
"""Of the object without it, with sorted names."""


def write_signed(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the object with its own SHA-256, whole or not at all."""
    write_json(path, {**content, ENTRY: _digest(content)})


def read_signed(path: Path) -> tuple[dict[str, Any], bool | None]:
    """The object without its SHA-256, and whether that is right; None: it has none.

    Raises:
      InputError: it cannot be read, or is no object.
    """
    tree = read_object(path)
    if ENTRY not in tree:
        return tree, None
    digest = tree.pop(ENTRY)
    return tree, digest == _digest(tree)


def _digest(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
