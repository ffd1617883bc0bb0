"""How fast a classifier answers, as --mode=eval measured it."""

from collections.abc import Mapping
from pathlib import Path

from jaxattn.errors import InputError
from jaxattn.report.values import number, read_json, text, whole


def read_latency(folder: Path, device: str | None) -> dict[int, tuple[float, float]]:
    """Batch size -> milliseconds of a batch, texts per second; empty where it was not measured.

    What was measured on another device than `device`, that of the training, is left out.
    """
    try:
        tree = read_json(folder / "evaluation.json")
        rows = tree.get("speed")
        if text(tree, "device") != device or not isinstance(rows, list):
            return {}
        found = {}
        for row in rows:
            if not isinstance(row, Mapping):
                return {}
            size = whole(row, "batch_size")
            time, rate = number(row, "median_ms"), number(row, "texts_per_second")
            if size is not None and time is not None and rate is not None:
                found[size] = time, rate
    except InputError:
        return {}
    return found
