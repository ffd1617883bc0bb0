"""A run, or an export, as versions before manifests left it."""

import json
from pathlib import Path


def unsigned(folder: Path) -> Path:
    """The folder, without its manifest and without a word of it."""
    (folder / "manifest.json").unlink()
    options, status = folder / "config.yaml", folder / "status.json"
    if options.exists():
        lines = options.read_text().splitlines(keepends=True)
        options.write_text("".join(line for line in lines if not line.startswith("signed:")))
    if status.exists():
        told = json.loads(status.read_text())
        told.pop("signed", None)
        status.write_text(json.dumps(told))
    return folder
