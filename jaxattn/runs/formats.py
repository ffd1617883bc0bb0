"""The format number of the files of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxattn.errors import InputError, quoted

FORMAT = 1
"""Of results.json, status.json, the saved options and the manifests of checkpoints."""

ENTRY = "format"
"""Where a file says it; those of version 0.1.0 do not."""


def check_format(tree: Mapping[str, Any], path: Path) -> None:
    """Raises InputError for a file that this version of jaxattn cannot know how to read."""
    number = tree.get(ENTRY, 0)
    if type(number) is not int or number > FORMAT:
        raise InputError(
            f"{path}: {ENTRY}: found {quoted(number)}, allowed: up to {FORMAT}; it was made by a "
            "later version of jaxattn, so read it with that one"
        )
