"""How a classifier in use is run: few compiled programs, few rows and tokens in vain.

A batch of evaluation always has the same number of rows, because that is one program for each
length. A classifier that is being used is asked for one text, for five, or for a million: here
batches have one of a few sizes and the rows are cut to fit them.
"""

import functools

import jax
import numpy as np

from jaxattn.config import Config, replace
from jaxattn.evaluate.predict import Batches, Predictor
from jaxattn.model.heads import ClassifierModel

SIZES = (1, 8, 32)
"""Rows of a batch. On a CPU a row takes as long in any of them, so a batch is never filled up with
empty rows: 12 texts are run as 8, 1, 1, 1, 1."""

CPU_TOKENS = 2048
"""Padded tokens of a batch of several rows, at most, on a CPU. Of more, what layers hand on leaves
the cache: 8 x 512 took a third longer than eight times 1 x 512 (BERT_SMALL, two cores)."""

_DENSE_TOKENS = 512
"""On a CPU, exact attention up to this length has all its scores at once: forward it is faster."""


def serving_predictor(config: Config, vocab_size: int, classes: int, pad_id: int) -> Predictor:
    """The predictor of texts in any number, on the device that is here."""
    lengths = serving_lengths(config.data.max_length)
    models = {n: ClassifierModel(served(config, n), vocab_size, classes) for n in lengths}
    # A GPU takes as long for one row as for many.
    fill = jax.default_backend() != "cpu"
    order = functools.partial(serving_batches, padded=lengths, fill=fill)
    return Predictor(models, order, pad_id=pad_id)


def served(config: Config, length: int) -> Config:
    """`config` as it is run at this padded length; it gives the same results.

    A classifier that was trained with cuDNN or with fused kernels runs on a CPU too.
    """
    if jax.default_backend() != "cpu":
        return config
    if config.attention.performer_favor.implementation == "fused":
        return replace(config, {"attention.performer_favor.implementation": "xla"})
    chosen = config.attention.sdpa.implementation in ("auto", "cudnn")
    if "sdpa" not in config.attention.used or not chosen:
        return config
    how = "xla" if length <= _DENSE_TOKENS else "blockwise"
    return replace(config, {"attention.sdpa.implementation": how})


def serving_lengths(max_length: int) -> tuple[int, ...]:
    """What rows are padded to: two lengths an octave (32, 48, 64, 96, ...), and `max_length`."""
    lengths, length = [], 32
    while length < max_length:
        lengths += [length, length * 3 // 2]
        length *= 2
    return (*(each for each in lengths if each < max_length), max_length)


def serving_batches(lengths: np.ndarray, padded: tuple[int, ...], *, fill: bool) -> Batches:
    """Every row once: (padded length, int64 [size] row numbers, -1: empty), longest first.

    Args:
        lengths: int [n] tokens of each row.
        padded: rising; the last one is the longest row allowed.
        fill: fill the last batch of a length with empty rows instead of cutting it into smaller
            ones: what a device wants that takes as long for one row as for many.
    """
    bucket_n = np.searchsorted(np.asarray(padded), lengths, side="left")
    batches = []
    for bucket in np.unique(bucket_n)[::-1]:
        rows = np.flatnonzero(bucket_n == bucket)
        fitting = [size for size in SIZES if size == 1 or size * padded[bucket] <= CPU_TOKENS]
        while len(rows):
            if fill:
                size = min((each for each in SIZES if each >= len(rows)), default=SIZES[-1])
            else:
                size = max(each for each in fitting if each <= len(rows))
            taken, rows = rows[:size], rows[size:]
            indices = np.full(size, -1, np.int64)
            indices[: len(taken)] = taken
            batches.append((padded[bucket], indices))
    return batches
