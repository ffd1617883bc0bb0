"""events.jsonl: what happened in a run when, a line each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "events.jsonl"


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """The events of a run folder, oldest first; lines that are cut short are left out.

    Raises:
      OSError: the file is there and cannot be read.
    """
    try:
        lines = (folder / NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event


def last_saved(folder: Path) -> int | None:
    """The step of the last checkpoint that the run has saved; None where it has saved none."""
    steps = [event.get("step") for event in events(folder) if event.get("event") == "checkpoint"]
    return next((step for step in reversed(steps) if isinstance(step, int)), None)
