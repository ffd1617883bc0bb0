"""What tells the folder of an exported classifier."""

from pathlib import Path

WEIGHTS = "model.safetensors"

PROGRAMS = "program.json"
"""What is to be known to run the compiled programs."""

SCRIPT = "classify.py"
"""It needs no jaxattn."""


def is_export(folder: Path) -> bool:
    """Whether `jaxattn export` made the folder, even if its weights are gone."""
    return any((folder / name).exists() for name in (WEIGHTS, PROGRAMS, SCRIPT))
