"""From tokenised texts to the masked batches that an MLM is trained on."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxattn.config import Config
from jaxattn.data.batching import BatchPlan, mlm_batch, singly
from jaxattn.data.masking import Masking, num_slots
from jaxattn.data.packing import PackedPlan
from jaxattn.data.tokens import TokenRows, special_ids
from jaxattn.train.feed import NumpyBatch


def make_masking(config: Config, tokenizer: Any) -> Masking:
    """What the MLM hides."""
    continues = None
    vocab = tokenizer.get_vocab()
    if config.data.whole_words:
        continues = np.zeros(len(vocab), bool)
        continues[[number for token, number in vocab.items() if token.startswith("##")]] = True
    return Masking(config.data.mask_rate, len(vocab), special_ids(tokenizer), continues)


def mlm_batches(
    config: Config, tokens: TokenRows, plan: BatchPlan | PackedPlan, masking: Masking
) -> Callable[[int], NumpyBatch]:
    """Step -> its batch of masked texts, a pure function."""

    def batch(step: int) -> NumpyBatch:
        if isinstance(plan, PackedPlan):
            length, rows, packed = plan.length, plan.batch_rows(step), True
            slots = plan.most_hidden(masking.rate)
        else:
            length, indices = plan.batch_indices(step)
            rows, packed = singly(indices), False
            slots = num_slots(length, masking.rate)
        return mlm_batch(
            tokens,
            rows,
            length,
            slots=slots,
            packed=packed,
            masking=masking,
            seed=config.train.seed,
            epoch=step // plan.steps_per_epoch,
        )

    return batch
