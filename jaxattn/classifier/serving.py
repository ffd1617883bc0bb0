"""Class probabilities of any number of texts: few compiled programs, few rows and tokens in vain.

A batch of evaluation always has the same number of rows, because that is one program for each
length. A classifier that is being used is asked for one text, for five, or for a million: here
batches have one of a few sizes and the rows are cut to fit them.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxattn.data.batches.order import classification_batch
from jaxattn.data.tokens.arrays import TokenRows
from jaxattn.evaluate.predict import Trained
from jaxattn.model.heads import class_logits
from jaxattn.ops.programs import Programs

SIZES = (1, 8, 32)
"""Rows of a batch. On a CPU a row takes as long in any of them, so a batch is never filled up with
empty rows: 12 texts are run as 8, 1, 1, 1, 1."""

CPU_TOKENS = 2048
"""Padded tokens of a batch of several rows, at most, on a CPU. Of more, what layers hand on leaves
the cache: 8 x 512 took a third longer than eight times 1 x 512 (BERT_SMALL, two cores)."""

_IN_FLIGHT = 4
"""Batches whose result may be outstanding."""


def serving_lengths(max_length: int) -> tuple[int, ...]:
    """What rows are padded to: two lengths an octave (32, 48, 64, 96, ...), and `max_length`."""
    lengths, length = [], 32
    while length < max_length:
        lengths += [length, length * 3 // 2]
        length *= 2
    return (*(each for each in lengths if each < max_length), max_length)


def serving_batches(
    lengths: np.ndarray, padded: tuple[int, ...], *, fill: bool
) -> list[tuple[int, np.ndarray]]:
    """Every row once: (padded length, int64 [size] row numbers, -1: empty), longest first.

    Args:
        lengths: int [n] tokens of each row.
        padded: rising; the last one is the longest row allowed.
        fill: fill the last batch of a length with empty rows instead of cutting it into smaller
            ones: what a device wants that takes as long for one row as for many.
    """
    where = np.searchsorted(np.asarray(padded), lengths, side="left")
    batches = []
    for place in np.unique(where)[::-1]:
        rows = np.flatnonzero(where == place)
        fitting = [size for size in SIZES if size == 1 or size * padded[place] <= CPU_TOKENS]
        while len(rows):
            if fill:
                size = min((each for each in SIZES if each >= len(rows)), default=SIZES[-1])
            else:
                size = max(each for each in fitting if each <= len(rows))
            taken, rows = rows[:size], rows[size:]
            indices = np.full(size, -1, np.int64)
            indices[: len(taken)] = taken
            batches.append((padded[place], indices))
    return batches


class Server:
    """A trained model that answers for rows in any number."""

    def __init__(
        self,
        model_of_length: Mapping[int, nn.Module],
        trained: Trained,
        *,
        classes: int,
        pad_id: int,
    ) -> None:
        """`model_of_length`: padded length, rising -> the model that runs it; all the same one but
        for how their attention is computed.
        """

        def programs(model: nn.Module) -> Programs:
            def logits(trained: Trained, batch: dict[str, jax.Array]) -> jax.Array:
                return class_logits(model, trained.params, batch, trained.rngs, deterministic=True)

            return Programs(logits, donate=False)

        by_model = {model: programs(model) for model in set(model_of_length.values())}
        self._programs = {n: by_model[model] for n, model in model_of_length.items()}
        self._trained, self._classes, self._pad_id = trained, classes, pad_id

    @property
    def programs(self) -> int:
        """Programs compiled so far."""
        return sum(each.count for each in set(self._programs.values()))

    def probabilities(self, tokens: TokenRows) -> np.ndarray:
        """Softmax over classes, float64 [len(tokens), classes], in the order of `tokens`."""
        logits_nC = np.zeros((len(tokens), self._classes), np.float64)
        waiting: list[tuple[np.ndarray, Any]] = []

        def fetch() -> None:
            indices, found = waiting.pop(0)
            real = indices >= 0
            logits_nC[indices[real]] = np.asarray(found)[real]

        fill = jax.default_backend() != "cpu"
        for length, indices in serving_batches(tokens.lengths, tuple(self._programs), fill=fill):
            batch = classification_batch(tokens, None, indices, length, self._pad_id)
            inputs = {"ids": batch["ids"], "mask": batch["mask"]}
            waiting.append((indices, self._programs[length](self._trained, inputs)))
            if len(waiting) > _IN_FLIGHT:
                fetch()
        while waiting:
            fetch()
        shifted = np.exp(logits_nC - logits_nC.max(axis=1, keepdims=True, initial=-np.inf))
        return shifted / shifted.sum(axis=1, keepdims=True)
