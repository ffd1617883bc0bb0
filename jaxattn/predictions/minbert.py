"""Predictions in the two forms of the minBERT course: a table by id, or labels before texts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxattn.config_io import write_text

# With its blanks as the course's own program writes them.
_HEADER = "id \t Predicted_Sentiment \n"


def write_by_id(path: Path, ids: Sequence[str], predicted: np.ndarray) -> None:
    """Stanford's form, `<id> , <class number>` a line; `predicted` int [n]."""
    lines = (f"{name} , {number} \n" for name, number in zip(ids, predicted, strict=True))
    write_text(path, _HEADER + "".join(lines))


def write_by_text(path: Path, texts: Sequence[str], predicted: np.ndarray) -> None:
    """CMU's form, `<class number> ||| <text>` a line, for tables without ids."""
    pairs = zip(texts, predicted, strict=True)
    lines = (f"{number} ||| {' '.join(text.split())}\n" for text, number in pairs)
    write_text(path, "".join(lines))
