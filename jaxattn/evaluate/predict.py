"""Runs of a trained model over many texts: class probabilities, and the MLM's loss."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxattn.data.batching import BatchPlan, classification_batch, mlm_batch
from jaxattn.data.tokens import SpecialIds, TokenArray
from jaxattn.model.heads import MlmModel, class_logits, mlm_logits
from jaxattn.ops.losses import cross_entropy_sums
from jaxattn.ops.programs import Programs

Placement = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Puts the arrays of a batch on the devices."""


class ClassPredictor:
    """Class probabilities; every length bucket is compiled once, whatever the parameters."""

    def __init__(
        self,
        model: nn.Module,
        attention_key: jax.Array,
        *,
        buckets: tuple[int, ...],
        batch_size: int,
        pad_id: int,
        place: Placement | None = None,
    ) -> None:
        """`attention_key` draws hashes and random features, the same for every call.

        `place` puts a batch on several devices, over which `params` lie then; None: on one.
        """

        rngs = {"attention": attention_key}

        def logits(params: Any, batch: dict[str, jax.Array]) -> jax.Array:
            return class_logits(model, params, batch, rngs, deterministic=True)

        self.programs = Programs(logits, donate=False, place=place)
        self._buckets, self._batch_size, self._pad_id = buckets, batch_size, pad_id

    def probabilities(self, params: Any, tokens: TokenArray) -> np.ndarray:
        """Softmax over classes, float64 [len(tokens), classes], in the order of `tokens`."""
        plan = self._plan(tokens)
        results: list[tuple[np.ndarray, jax.Array]] = []
        for step in range(plan.steps_per_epoch):
            indices = plan.batch_indices(step)[1]
            results.append((indices, self.programs(params, self._inputs(plan, tokens, step))))
        classes = results[0][1].shape[-1]
        logits_nC = np.empty((len(tokens), classes), np.float64)
        for indices, batch_logits in results:
            real = indices >= 0
            logits_nC[indices[real]] = np.asarray(batch_logits)[real]
        shifted = np.exp(logits_nC - logits_nC.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    def compile(self, params: Any, tokens: TokenArray) -> None:
        """Compiles what `probabilities` will need for these tokens."""
        plan = self._plan(tokens)
        for step in first_steps(plan, 0, plan.steps_per_epoch):
            self.programs.prepare(params, self._inputs(plan, tokens, step))

    def _plan(self, tokens: TokenArray) -> BatchPlan:
        return BatchPlan(
            tokens.lengths,
            buckets=self._buckets,
            batch_size=self._batch_size,
            seed=0,
            shuffle=False,
        )

    def _inputs(self, plan: BatchPlan, tokens: TokenArray, step: int) -> dict[str, np.ndarray]:
        length, indices = plan.batch_indices(step)
        batch = classification_batch(tokens, None, indices, length, self._pad_id)
        return {"ids": batch["ids"], "mask": batch["mask"]}


def first_steps(plan: BatchPlan, start: int, end: int) -> list[int]:
    """The first step of every padded length from `start` on; an epoch has all of them."""
    first: dict[int, int] = {}
    for step in range(start, min(end, start + plan.steps_per_epoch)):
        first.setdefault(plan.batch_indices(step)[0], step)
    return [first[length] for length in sorted(first)]


class MlmEvaluator:
    """Loss and accuracy at masked positions; the same mask at every call."""

    def __init__(
        self,
        model: MlmModel,
        attention_key: jax.Array,
        tokens: TokenArray,
        *,
        buckets: tuple[int, ...],
        batch_size: int,
        mask_rate: float,
        vocab_size: int,
        special: SpecialIds,
        place: Placement | None = None,
    ) -> None:
        """`tokens`: the validation pieces; `place`: as of `ClassPredictor`."""

        rngs = {"attention": attention_key}

        def sums(params: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
            logits_BSV = mlm_logits(model, params, batch, rngs, deterministic=True)
            return cross_entropy_sums(logits_BSV, batch["targets"], batch["weights"])

        self.programs = Programs(sums, donate=False, place=place)
        self._tokens, self._special = tokens, special
        self._mask_rate, self._vocab_size = mask_rate, vocab_size
        self._plan = BatchPlan(
            tokens.lengths, buckets=buckets, batch_size=batch_size, seed=0, shuffle=False
        )

    def metrics(self, params: Any) -> dict[str, float | None]:
        """`loss` in nats per masked token and `accuracy`."""
        total = {"loss": 0.0, "correct": 0.0, "count": 0.0}
        steps = range(self._plan.steps_per_epoch)
        results = [self.programs(params, self._batch(step)) for step in steps]
        # Fetched after the last batch: the device never waits for the host in between.
        for sums in jax.device_get(results):
            for name, value in sums.items():
                total[name] += float(value)
        count = max(total["count"], 1.0)
        return {"loss": total["loss"] / count, "accuracy": total["correct"] / count}

    def compile(self, params: Any) -> None:
        """Compiles what `metrics` will need."""
        for step in first_steps(self._plan, 0, self._plan.steps_per_epoch):
            self.programs.prepare(params, self._batch(step))

    def _batch(self, step: int) -> dict[str, np.ndarray]:
        length, indices = self._plan.batch_indices(step)
        return mlm_batch(
            self._tokens,
            indices,
            length,
            seed=0,
            epoch=0,
            rate=self._mask_rate,
            vocab_size=self._vocab_size,
            special=self._special,
        )
