"""Runs of a trained model over many texts: class probabilities, and the MLM's loss."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

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
"""Padded length and row numbers of each batch, as `batches_in_order` gives them."""


class Trained(NamedTuple):
    """What a trained model is: parameters, and the key of their hashes and random features.

    `draws` are what the attentions draw from that key (`model.draws`); None: in every batch anew.
    """

    params: Any
    attention_key: jax.Array
    draws: Any = None

    @property
    def rngs(self) -> dict[str, Any]:
        """What the model is given beside its parameters."""
        return {"attention": self.attention_key, "draws": self.draws}


class ClassPredictor:
    """Class probabilities; every length bucket is compiled once, whatever the parameters."""

    def __init__(
        self,
        model: nn.Module,
        *,
        buckets: tuple[int, ...],
        batch_size: int,
        pad_id: int,
        place: Placement | None = None,
    ) -> None:
        """`place` puts a batch on several devices, over which parameters lie then; None: on one."""

        def logits(trained: Trained, batch: dict[str, jax.Array]) -> jax.Array:
            return class_logits(model, trained.params, batch, trained.rngs, deterministic=True)

        self.programs = Programs(logits, donate=False, place=place)
        self._buckets, self._batch_size, self._pad_id = buckets, batch_size, pad_id

    def probabilities(self, trained: Trained, tokens: TokenRows) -> np.ndarray:
        """Softmax over classes, float64 [len(tokens), classes], in the order of `tokens`."""
        results: list[tuple[np.ndarray, jax.Array]] = [
            (indices, self.programs(trained, self._inputs(tokens, length, indices)))
            for length, indices in self._batches(tokens)
        ]
        classes = results[0][1].shape[-1]
        logits_nC = np.empty((len(tokens), classes), np.float64)
        for indices, batch_logits in results:
            real = indices >= 0
            logits_nC[indices[real]] = np.asarray(batch_logits)[real]
        shifted = np.exp(logits_nC - logits_nC.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    def batch_seconds(
        self, trained: Trained, tokens: TokenRows, batch_size: int
    ) -> tuple[list[float], list[int]]:
        """Wall seconds of every batch of `batch_size`, and how many texts each has.

        Programs are compiled and run once before; logits are waited for and fetched.
        """
        plan = batches_in_order(tokens.lengths, buckets=self._buckets, batch_size=batch_size)
        inputs = [self._inputs(tokens, length, rows) for length, rows in plan]
        for batch in {each["ids"].shape: each for each in inputs}.values():
            np.asarray(self.programs(trained, batch))
        seconds = []
        for batch in inputs:
            began = time.perf_counter()
            np.asarray(self.programs(trained, batch))
            seconds.append(time.perf_counter() - began)
        return seconds, [int((rows >= 0).sum()) for _, rows in plan]

    def compile(self, trained: Trained, tokens: TokenRows) -> None:
        """Compiles what `probabilities` will need for these tokens."""
        for length, indices in first_of_each(self._batches(tokens)):
            self.programs.prepare(trained, self._inputs(tokens, length, indices))

    def _batches(self, tokens: TokenRows) -> Batches:
        return batches_in_order(tokens.lengths, buckets=self._buckets, batch_size=self._batch_size)

    def _inputs(self, tokens: TokenRows, length: int, indices: np.ndarray) -> dict[str, np.ndarray]:
        batch = classification_batch(tokens, None, indices, length, self._pad_id)
        return {"ids": batch["ids"], "mask": batch["mask"]}


def first_of_each(batches: Batches) -> Batches:
    """The first batch of every padded length."""
    return list({length: (length, indices) for length, indices in reversed(batches)}.values())


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
        """`tokens`: the validation pieces; `place`: as of `ClassPredictor`."""

        def sums(trained: Trained, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
            rngs = trained.rngs
            logits_BSV = mlm_logits(model, trained.params, batch, rngs, deterministic=True)
            return cross_entropy_sums(logits_BSV, batch["targets"], batch["weights"])

        self.programs = Programs(sums, donate=False, place=place)
        self._tokens, self._masking = tokens, masking
        self._batches = batches_in_order(tokens.lengths, buckets=buckets, batch_size=batch_size)

    def metrics(self, trained: Trained) -> dict[str, float | None]:
        """`loss` in nats per masked token and `accuracy`."""
        total = {"loss": 0.0, "correct": 0.0, "count": 0.0}
        results = [self.programs(trained, self._batch(*each)) for each in self._batches]
        # Fetched after the last batch: the device never waits for the host in between.
        for sums in jax.device_get(results):
            for name, value in sums.items():
                total[name] += float(value)
        count = max(total["count"], 1.0)
        return {"loss": total["loss"] / count, "accuracy": total["correct"] / count}

    def compile(self, trained: Trained) -> None:
        """Compiles what `metrics` will need."""
        for each in first_of_each(self._batches):
            self.programs.prepare(trained, self._batch(*each))

    def _batch(self, length: int, indices: np.ndarray) -> dict[str, np.ndarray]:
        return mlm_batch(
            self._tokens,
            singly(indices),
            length,
            slots=num_slots(length, self._masking.rate),
            packed=False,
            masking=self._masking,
            seed=0,
            epoch=0,
        )


def make_predictor(
    config: Config, model: ClassifierModel, pad_id: int, place: Placement | None = None
) -> ClassPredictor:
    """The predictor of a model."""
    return ClassPredictor(
        model,
        buckets=config.data.buckets,
        batch_size=config.train.eval_batch_size or config.train.batch_size,
        pad_id=pad_id,
        place=place,
    )


def trained_by(config: Config, params: Any, step: int) -> Trained:
    """`params` of after `step` steps of a run of `config`, to be evaluated."""
    interval = config.attention.options.redraw_interval
    key = evaluation_attention_key(config.train.seed, step, interval)
    return with_draws(config, Trained(params, key))


def with_draws(config: Config, trained: Trained) -> Trained:
    """`trained` with what its attentions draw, for an evaluation of many batches."""
    draws = attention_draws(config)
    return trained if draws is None else trained._replace(draws=draws(trained.attention_key))
