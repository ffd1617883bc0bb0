"""The first batches of a run, in words."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxattn.config import Config
from jaxattn.data.batching import BatchPlan, singly
from jaxattn.data.encoding import encode, encode_pieces
from jaxattn.data.packing import PackedPlan
from jaxattn.modes.training import bucket_plan, mlm_plan

BATCHES = 3
ROWS = 3
"""Batches that are shown, and rows of each."""
CHARACTERS = 160
"""Of a row that is shown."""


def batches_of_texts(
    tokenizer: Any, config: Config, texts: Sequence[str], lengths: np.ndarray, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The first batches of fine-tuning, of texts cut at `data.max_length`.

    Args:
      tokenizer: of the run.
      config: of the run.
      texts: n texts.
      lengths: their tokens before they are cut, int [n].
      labels: their labels.
    """
    data = config.data
    plan = bucket_plan(config, np.minimum(lengths, data.max_length))

    def ids(index: int) -> list[int]:
        rows, _ = encode(tokenizer, [texts[index]], data.max_length, truncate=data.truncate)
        return rows[0].tolist()

    return _batches(tokenizer, plan, ids, labels)


def batches_of_pieces(tokenizer: Any, config: Config, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The first batches of pretraining, of pieces of at most `data.max_length`."""
    pieces, _ = encode_pieces(tokenizer, texts, config.data.max_length)
    plan = mlm_plan(config, pieces.lengths)
    return _batches(tokenizer, plan, lambda index: pieces[index].tolist(), [])


def _batches(
    tokenizer: Any,
    plan: BatchPlan | PackedPlan,
    ids: Callable[[int], list[int]],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """The first batches of a plan, some rows of each in words; `ids` gives those of a text."""
    shown = []
    for step in range(min(BATCHES, plan.steps_per_epoch)):
        if isinstance(plan, PackedPlan):
            length, numbers = plan.length, plan.batch_rows(step)
        else:
            length, indices = plan.batch_indices(step)
            numbers = singly(indices)
        found = [[token for text in row for token in ids(int(text))] for row in numbers]
        rows = []
        for row, tokens in list(zip(numbers, found, strict=True))[:ROWS]:
            words = tokenizer.decode(tokens, skip_special_tokens=False)
            text = words if len(words) <= CHARACTERS else f"{words[:CHARACTERS]}..."
            label = labels[row[0]] if labels and len(row) else None
            rows.append({"tokens": len(tokens), "label": label, "text": text})
        filled = sum(map(len, found)) / (length * len(found))
        texts = sum(map(len, numbers))
        shown.append(
            {"step": step, "length": length, "texts": texts, "filled": filled, "rows": rows}
        )
    return shown
