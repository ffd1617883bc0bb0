"""The first batches of a run, in words."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxattn.config import Config
from jaxattn.data.batching import BatchPlan
from jaxattn.data.encoding import encode, encode_pieces
from jaxattn.modes.training import buckets

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
    cut = np.minimum(lengths, config.data.max_length)

    def ids(index: int) -> Sequence[int]:
        return encode(tokenizer, [texts[index]], config.data.max_length)[0][0].tolist()

    return _batches(tokenizer, config, cut, ids, labels)


def batches_of_pieces(tokenizer: Any, config: Config, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The first batches of pretraining, of pieces of at most `data.max_length`."""
    pieces, _ = encode_pieces(tokenizer, texts, config.data.max_length)
    return _batches(tokenizer, config, pieces.lengths, lambda index: pieces[index].tolist(), [])


def _batches(
    tokenizer: Any,
    config: Config,
    lengths: np.ndarray,
    ids: Callable[[int], Sequence[int]],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """The first batches of examples with these lengths, some rows of each in words."""
    plan = BatchPlan(
        lengths,
        buckets=buckets(config),
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        shuffle=True,
    )
    shown = []
    for step in range(min(BATCHES, plan.steps_per_epoch)):
        length, indices = plan.batch_indices(step)
        real = [int(index) for index in indices if index >= 0]
        rows = []
        for index in real[:ROWS]:
            words = tokenizer.decode(list(ids(index)), skip_special_tokens=False)
            text = words if len(words) <= CHARACTERS else f"{words[:CHARACTERS]}..."
            label = labels[index] if labels else None
            rows.append({"tokens": int(lengths[index]), "label": label, "text": text})
        filled = float(lengths[real].sum() / (length * len(indices)))
        shown.append(
            {"step": step, "length": length, "texts": len(real), "filled": filled, "rows": rows}
        )
    return shown
