"""Runs of a trained model over many texts: class probabilities, and the MLM's loss."""

import functools
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxattn.config import Config
from jaxattn.data.batches.masking import Masking, num_slots
from jaxattn.data.batches.order import batches_in_order, classification_batch, mlm_batch, singly
from jaxattn.data.tokens.arrays import TokenRows
from jaxattn.model.draws import attention_draws
from jaxattn.model.heads import ClassifierModel, MlmModel, class_logits, mlm_logits
from jaxattn.model.keys import evaluation_attention_key
from jaxattn.model.losses import cross_entropy_sums
from jaxattn.ops.programs import Programs

Placement = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Puts the arrays of a batch on the devices."""

Batches = list[tuple[int, np.ndarray]]
"""Padded length and row numbers (int64, -1: an empty row) of each batch."""

Order = Callable[[np.ndarray], Batches]
"""Tokens of each row, int [n], to batches that have every row once."""

_IN_FLIGHT = 4
"""Batches whose logits may be outstanding."""


class Trained(NamedTuple):
    """What a trained model is: parameters, and the key of their hashes and random features.

    `draws` are what the attentions draw from that key (`model.draws`); None: in every batch anew.
    """

    params: PyTree
    attention_key: jax.Array
    draws: PyTree = None

    @property
    def rngs(self) -> dict[str, Any]:
        """What the model is given beside its parameters."""
        return {"attention": self.attention_key, "draws": self.draws}


class Predictor:
    """Class probabilities of rows in any number; a shape of batch is compiled once."""

    def __init__(
        self,
        models: Mapping[int, ClassifierModel],
        order: Order,
        *,
        pad_id: int,
        place: Placement | None = None,
    ) -> None:
        """Compiles nothing yet.

        Args:
            models: padded length, rising -> the model that runs it; all the same one but for how
                their attention is computed.
            order: cuts rows into batches of these lengths.
            pad_id: id of [PAD].
            place: puts a batch on several devices, over which parameters lie then; None: on one.
        """

        def program(model: ClassifierModel) -> Programs:
            def logits(trained: Trained, batch: dict[str, jax.Array]) -> jax.Array:
                return class_logits(model, trained.params, batch, trained.rngs, deterministic=True)

            return Programs(logits, donate=False, place=place)

        by_model = {model: program(model) for model in set(models.values())}
        self._programs = {length: by_model[model] for length, model in models.items()}
        self._classes = next(iter(by_model)).num_classes
        self._order, self._pad_id = order, pad_id

    @property
    def count(self) -> int:
        """Programs compiled so far."""
        return sum(programs.count for programs in set(self._programs.values()))

    def probabilities(self, trained: Trained, tokens: TokenRows) -> np.ndarray:
        """Softmax over classes, float64 [len(tokens), classes], in the order of `tokens`."""
        logits_nC = np.zeros((len(tokens), self._classes), np.float64)
        waiting: deque[tuple[np.ndarray, jax.Array]] = deque()

        def fetch() -> None:
            indices, logits_BC = waiting.popleft()
            real = indices >= 0
            logits_nC[indices[real]] = np.asarray(logits_BC)[real]

        for length, indices in self._order(tokens.lengths):
            inputs = self._inputs(tokens, length, indices)
            waiting.append((indices, self._programs[length](trained, inputs)))
            if len(waiting) > _IN_FLIGHT:
                fetch()
        while waiting:
            fetch()
        shifted = np.exp(logits_nC - logits_nC.max(axis=1, keepdims=True))
        result: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
        return result

    def batch_seconds(
        self, trained: Trained, tokens: TokenRows, batch_size: int
    ) -> tuple[list[float], list[int]]:
        """Wall seconds of every batch of `batch_size`, and how many texts each has.

        Programs are compiled and run once before; logits are waited for and fetched.
        """
        plan = batches_in_order(
            tokens.lengths, buckets=tuple(self._programs), batch_size=batch_size
        )
        inputs = [(length, self._inputs(tokens, length, rows)) for length, rows in plan]

        def run(length: int, batch: dict[str, np.ndarray]) -> None:
            np.asarray(self._programs[length](trained, batch))

        for length, batch in dict(inputs).items():
            run(length, batch)
        seconds = []
        for length, batch in inputs:
            began = time.perf_counter()
            run(length, batch)
            seconds.append(time.perf_counter() - began)
        return seconds, [int((rows >= 0).sum()) for _, rows in plan]

    def compile(self, trained: Trained, tokens: TokenRows) -> None:
        """Compiles what `probabilities` will need for these tokens."""
        for length, indices in first_of_each(self._order(tokens.lengths)):
            self._programs[length].prepare(trained, self._inputs(tokens, length, indices))

    def _inputs(self, tokens: TokenRows, length: int, indices: np.ndarray) -> dict[str, np.ndarray]:
        batch = classification_batch(tokens, None, indices, length, self._pad_id)
        return {"ids": batch["ids"], "mask": batch["mask"]}


def first_of_each(batches: Batches) -> Batches:
    """The first batch of every padded length."""
    return list({length: (length, indices) for length, indices in reversed(batches)}.values())


class BatchSums:
    """Sums of a loss over all texts, one batch after the other; a shape is compiled once."""

    def __init__(
        self,
        sums: Callable[[Trained, Mapping[str, jax.Array]], Mapping[str, jax.Array]],
        tokens: TokenRows,
        batch: Callable[[int, np.ndarray], Mapping[str, np.ndarray]],
        *,
        buckets: tuple[int, ...],
        batch_size: int,
        place: Placement | None = None,
    ) -> None:
        """Compiles nothing yet.

        Args:
          sums: model, batch -> named sums.
          tokens: the texts.
          batch: padded length, rows -> the batch.
          buckets: padded lengths.
          batch_size: texts of a batch.
          place: as of `Predictor`.
        """
        self.programs = Programs(sums, donate=False, place=place)
        self._batch = batch
        self._batches = batches_in_order(tokens.lengths, buckets=buckets, batch_size=batch_size)

    def totals(self, trained: Trained) -> dict[str, float]:
        """Name -> the sum over all batches."""
        results = [self.programs(trained, self._batch(*each)) for each in self._batches]
        total: dict[str, float] = {}
        # Fetched after the last batch: the device never waits for the host in between.
        for sums in jax.device_get(results):
            for name, value in sums.items():
                total[name] = total.get(name, 0.0) + float(value)
        return total

    def compile(self, trained: Trained) -> None:
        """Compiles what `totals` will need."""
        for each in first_of_each(self._batches):
            self.programs.prepare(trained, self._batch(*each))


class MlmEvaluator:
    """Loss and accuracy at masked positions; the same mask at every call."""

    def __init__(
        self,
        model: MlmModel,
        tokens: TokenRows,
        *,
        buckets: tuple[int, ...],
        batch_size: int,
        masking: Masking,
        place: Placement | None = None,
    ) -> None:
        """`tokens`: the validation pieces; `place`: as of `Predictor`."""

        def sums(trained: Trained, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
            rngs = trained.rngs
            logits_BSV = mlm_logits(model, trained.params, batch, rngs, deterministic=True)
            return cross_entropy_sums(logits_BSV, batch["targets"], batch["weights"])

        def batch(length: int, indices: np.ndarray) -> dict[str, np.ndarray]:
            return mlm_batch(
                tokens,
                singly(indices),
                length,
                slots=num_slots(length, masking.rate),
                packed=False,
                masking=masking,
                seed=0,
                epoch=0,
            )

        self._sums = BatchSums(
            sums, tokens, batch, buckets=buckets, batch_size=batch_size, place=place
        )

    @property
    def programs(self) -> Programs:
        """What was compiled."""
        return self._sums.programs

    def metrics(self, trained: Trained) -> dict[str, float | None]:
        """`loss` in nats per masked token and `accuracy`."""
        total = self._sums.totals(trained)
        count = max(total["count"], 1.0)
        return {"loss": total["loss"] / count, "accuracy": total["correct"] / count}

    def compile(self, trained: Trained) -> None:
        """Compiles what `metrics` will need."""
        self._sums.compile(trained)


def make_predictor(
    config: Config, model: ClassifierModel, pad_id: int, place: Placement | None = None
) -> Predictor:
    """The predictor of a corpus' splits: the batches of training's lengths, all of one size."""
    lengths = config.data.buckets
    size = config.train.eval_batch_size or config.train.batch_size
    order = functools.partial(batches_in_order, buckets=lengths, batch_size=size)
    return Predictor(dict.fromkeys(lengths, model), order, pad_id=pad_id, place=place)


def trained_by(config: Config, params: PyTree, step: int) -> Trained:
    """`params` of after `step` steps of a run of `config`, to be evaluated."""
    interval = config.attention.redraw_interval
    key = evaluation_attention_key(config.train.seed, step, interval)
    return with_draws(config, Trained(params, key))


def with_draws(config: Config, trained: Trained) -> Trained:
    """`trained` with what its attentions draw, for an evaluation of many batches."""
    draws = attention_draws(config)
    return trained if draws is None else trained._replace(draws=draws(trained.attention_key))
