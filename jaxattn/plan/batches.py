"""The first batches of a run, some rows of each in words."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from jaxattn.config import Config
from jaxattn.data.batches.order import BatchPlan, singly
from jaxattn.data.batches.packing import PackedPlan
from jaxattn.data.tokens.encode import encode, encode_pieces
from jaxattn.stages.batches import labelled_plan, mlm_plan

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BATCHES = 3

ROWS = 3
"""Batches that are shown, and rows of each."""

CHARACTERS = 160
"""Of a row that is shown."""


class RowShown(TypedDict):
    """A row: its tokens, its label if it has one, and its text cut at `CHARACTERS`."""

    tokens: int
    label: str | None
    text: str


class BatchShown(TypedDict):
    """A batch: its number, padded length, number of texts, and share of tokens in use."""

    step: int
    length: int
    texts: int
    filled: float
    rows: list[RowShown]


def batches_of_texts(
    tokenizer: "Tokenizer",
    config: Config,
    texts: Sequence[str],
    lengths: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
) -> list[BatchShown]:
    """The first batches of fine-tuning, of texts cut at `data.max_length`.

    Args:
      tokenizer: of the run.
      config: of the run.
      texts: n texts.
      lengths: their tokens before they are cut, int [n].
      labels: their classes.
      names: of the classes.
    """
    data = config.data
    plan = labelled_plan(config, np.minimum(lengths, data.max_length), np.array(labels))

    def ids(index: int) -> list[int]:
        rows, _ = encode(tokenizer, [texts[index]], data.max_length, truncate=data.truncate)
        return list(map(int, rows[0]))

    return _batches(tokenizer, plan, ids, [names[label] for label in labels])


def batches_of_pieces(
    tokenizer: "Tokenizer", config: Config, texts: Sequence[str]
) -> list[BatchShown]:
    """The first batches of pretraining, of pieces of at most `data.max_length`."""
    pieces, _ = encode_pieces(tokenizer, texts, config.data.max_length)
    plan = mlm_plan(config, pieces.lengths)
    return _batches(tokenizer, plan, lambda index: list(map(int, pieces[index])), [])


def _batches(
    tokenizer: "Tokenizer",
    plan: BatchPlan | PackedPlan,
    ids: Callable[[int], list[int]],
    labels: Sequence[str],
) -> list[BatchShown]:
    """The first batches of a plan; `ids` gives the tokens of a text."""
    batches: list[BatchShown] = []
    for step in range(min(BATCHES, plan.steps_per_epoch)):
        if isinstance(plan, PackedPlan):
            length, members = plan.length, plan.batch_rows(step)
        else:
            length, indices = plan.batch_indices(step)
            members = singly(indices)
        tokens = [[token for text in row for token in ids(int(text))] for row in members]
        rows: list[RowShown] = []
        for row, row_tokens in list(zip(members, tokens, strict=True))[:ROWS]:
            words = tokenizer.decode(row_tokens, skip_special_tokens=False)
            text = words if len(words) <= CHARACTERS else f"{words[:CHARACTERS]}..."
            label = labels[row[0]] if labels and len(row) else None
            rows.append({"tokens": len(row_tokens), "label": label, "text": text})
        batches.append(
            {
                "step": step,
                "length": length,
                "texts": sum(map(len, members)),
                "filled": sum(map(len, tokens)) / (length * len(tokens)),
                "rows": rows,
            }
        )
    return batches
