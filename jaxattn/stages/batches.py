"""The texts of a run as tokens, its batches, and how many steps they make."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.data.batches.balanced import BalancedPlan
from jaxattn.data.batches.masking import Masking, num_slots
from jaxattn.data.batches.order import BatchPlan, classification_batch, mlm_batch, singly
from jaxattn.data.batches.packing import PackedPlan
from jaxattn.data.corpora.splits import TextCorpus
from jaxattn.data.tokens.arrays import TokenRows, special_ids
from jaxattn.data.tokens.encode import EncodeStats, encode_pieces, unknown_advice, unknown_warning
from jaxattn.data.tokens.tokenise import cache_folder
from jaxattn.data.tokens.words import continuing
from jaxattn.train.feed import NumpyBatch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Plan = BatchPlan | PackedPlan


def bucket_plan(config: Config, lengths: np.ndarray) -> BatchPlan:
    """The batches of training on rows of these int [n] lengths."""
    size, seed = config.train.batch_size, config.train.seed
    return BatchPlan(lengths, buckets=config.data.buckets, batch_size=size, seed=seed)


def labelled_plan(config: Config, lengths: np.ndarray, labels: np.ndarray) -> BatchPlan:
    """The batches of fine-tuning on rows of int [n] lengths and labels."""
    if config.finetune.sampling == "natural":
        return bucket_plan(config, lengths)
    size, seed = config.train.batch_size, config.train.seed
    return BalancedPlan(lengths, labels, buckets=config.data.buckets, batch_size=size, seed=seed)


def mlm_plan(config: Config, lengths: np.ndarray) -> Plan:
    """The batches of an MLM on texts of these int [n] lengths, packed if the options say so."""
    if not config.data.packing:
        return bucket_plan(config, lengths)
    size, seed = config.train.batch_size, config.train.seed
    return PackedPlan(lengths, length=config.data.max_length, batch_size=size, seed=seed)


def total_steps(config: Config, steps_per_epoch: int) -> int:
    """Optimizer steps of the whole run."""
    steps = config.train.epochs * steps_per_epoch
    return min(steps, config.train.max_steps) if config.train.max_steps else steps


def program_steps(plan: Plan, start: int, end: int) -> list[int]:
    """The first step of every padded length from `start` on; an epoch has all of them."""
    first: dict[int, int] = {}
    for step in range(start, min(end, start + plan.steps_per_epoch)):
        first.setdefault(plan.padded_length(step), step)
        if len(first) == len(plan.shapes):
            break
    return [first[length] for length in sorted(first)]


def make_masking(config: Config, tokenizer: "Tokenizer") -> Masking:
    """What the MLM hides."""
    continues = continuing(tokenizer) if config.data.whole_words else None
    size = tokenizer.get_vocab_size()
    return Masking(config.data.mask_rate, size, special_ids(tokenizer), continues)


class Pieces(NamedTuple):
    """The texts of a corpus as tokens, long ones in pieces, and what was seen of training's."""

    train: TokenRows
    validation: TokenRows
    stats: EncodeStats


def encoded_pieces(
    config: Config, tokenizer: "Tokenizer", corpus: TextCorpus, *, inherited: bool
) -> Pieces:
    """Tokenises the texts; warns where the vocabulary does not know what is in them.

    `inherited`: whether the vocabulary is that of an earlier stage.
    """
    say(f"tokenising {len(corpus.train) + len(corpus.validation):,} texts")
    length, cache = config.data.max_length, cache_folder(config)
    train, stats = encode_pieces(tokenizer, corpus.train, length, cache=cache)
    validation, _ = encode_pieces(tokenizer, corpus.validation, length, cache=cache)
    size = tokenizer.get_vocab_size()
    if warning := unknown_warning(
        stats, unknown_advice(config.tokenizer, size, inherited=inherited)
    ):
        warnings.warn(warning, stacklevel=1)
    return Pieces(train, validation, stats)


def whole_text_batches(
    tokens: TokenRows, labels: np.ndarray | None, plan: BatchPlan, pad_id: int
) -> Callable[[int], NumpyBatch]:
    """Step -> its batch of texts, a pure function; `labels`: see `classification_batch`."""

    def batch(step: int) -> NumpyBatch:
        length, indices = plan.batch_indices(step)
        return classification_batch(tokens, labels, indices, length, pad_id)

    return batch


def mlm_batches(
    config: Config, tokens: TokenRows, plan: Plan, masking: Masking
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
