"""How fast texts become batches, and what packing saves, next to a training step.

    python benchmarks/input_pipeline.py <folder of Parquet, CSV or JSONL files with a text column>

1. Reading and tokenising, in MB of raw text a second, and the peak memory of the process.
2. Batches of 64 x 512 tokens for the MLM, made ahead by threads and put on the device, in tokens a
   second, and the milliseconds that one of 32 x 512 takes in one thread; beside them one BERT_SMALL
   training step on this device.
3. Useful tokens a second of a small encoder's step on batches padded to their longest text, to the
   nearest bucket, and packed; the batches are those of the same texts, the repeats are in turn.
"""

import argparse
import dataclasses
import functools
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxattn.config import Config, replace
from jaxattn.data.batches.masking import Masking, num_slots
from jaxattn.data.batches.order import BatchPlan, mlm_batch, singly
from jaxattn.data.batches.packing import PackedPlan
from jaxattn.data.corpora.splits import load_texts
from jaxattn.data.tokens.arrays import TokenRows, special_ids
from jaxattn.data.tokens.encode import encode_pieces
from jaxattn.data.tokens.wordpiece import train_wordpiece
from jaxattn.ops.programs import Programs
from jaxattn.profile.synthetic_step import synthetic_step
from jaxattn.stages.batches import mlm_batches
from jaxattn.startup import use_huge_pages
from jaxattn.train.feed import feed

LENGTH, ROWS = 512, 64
SMALL = {
    "model.num_layers": 2, "model.hidden_dim": 128, "model.mlp_dim": 256,
    "model.num_heads": 4, "model.qkv_dim": 128,
}  # fmt: skip


def peak_memory() -> float:
    """Of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def seconds_of(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began


def batch_rate(config: Config, tokens: TokenRows, masking: Masking, steps: int) -> str:
    """Tokens a second of batches alone, bucketed and packed."""
    found = []
    for plan in (
        BatchPlan(tokens.lengths, buckets=(32, 64, 128, 256, 512), batch_size=ROWS, seed=0),
        PackedPlan(tokens.lengths, length=LENGTH, batch_size=ROWS, seed=0),
    ):
        batch = mlm_batches(config, tokens, plan, masking)
        batch(0)
        began = time.perf_counter()
        count = sum(fed.tokens for fed in feed(batch, 0, steps))
        found.append(count / (time.perf_counter() - began))
    return f"in buckets {found[0]:,.0f}, packed {found[1]:,.0f} tokens/s"


def batch_milliseconds(config: Config, tokens: TokenRows, masking: Masking, steps: int) -> str:
    """Median time of batches of 32 x 512 in this thread: in one bucket, packed, of whole words."""
    words = np.random.default_rng(0).random(masking.vocab_size) < 0.3
    found = []
    for rule, plan in (
        (masking, BatchPlan(tokens.lengths, buckets=(512,), batch_size=32, seed=0)),
        (masking, PackedPlan(tokens.lengths, length=LENGTH, batch_size=32, seed=0)),
        (
            dataclasses.replace(masking, continues=words),
            BatchPlan(tokens.lengths, buckets=(512,), batch_size=32, seed=0),
        ),
    ):
        batch = mlm_batches(config, tokens, plan, rule)
        batch(0)
        times = [seconds_of(functools.partial(batch, step)) for step in range(steps)]
        found.append(1e3 * statistics.median(times))
    return (
        f"{found[0]:.2f} ms padded to 512, {found[1]:.2f} packed, "
        f"{found[2]:.2f} padded with whole words hidden"
    )


def step_seconds(config: Config, rows: int, vocab_size: int, repeats: int) -> float:
    """Median of a training step on rows of 512 tokens."""
    step = synthetic_step(config, task="mlm", batch_size=rows, length=LENGTH, vocab_size=vocab_size)
    program = Programs(step.function, donate=True)
    state, batch = step.concrete(0)
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(program(state, batch))
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def padding_rates(
    config: Config, tokens: TokenRows, masking: Masking, rows: int, repeats: int
) -> dict[str, tuple[float, float]]:
    """Way of batching -> share of useful tokens over an epoch, useful tokens a second."""
    lengths = tokens.lengths
    buckets = BatchPlan(lengths, buckets=(32, 64, 128, 256, 512), batch_size=rows, seed=0)
    packed = PackedPlan(lengths, length=LENGTH, batch_size=rows, seed=0)
    mixed = np.random.default_rng(0).permutation(len(lengths))
    order = [mixed[at : at + rows] for at in range(0, len(mixed) - rows, rows)]
    longest = np.array([lengths[rows].max() for rows in order])
    step = synthetic_step(
        config, task="mlm", batch_size=rows, length=LENGTH, vocab_size=masking.vocab_size
    )
    program = Programs(step.function, donate=False)
    state = step.make_state(0)
    own = mlm_batches(config, tokens, packed, masking)
    by_bucket = mlm_batches(config, tokens, buckets, masking)

    def padded(step: int) -> dict[str, np.ndarray]:
        # Rounded up to 64 so that the number of programs stays small.
        length = min(-(-int(longest[step]) // 64) * 64, LENGTH)
        return mlm_batch(
            tokens, singly(order[step]), length, slots=num_slots(length, masking.rate),
            packed=False, masking=masking, seed=0, epoch=0,
        )  # fmt: skip

    ways: dict[str, tuple[float, Callable[[int], Any]]] = {
        "to the longest": (lengths.sum() / (longest.sum() * rows), padded),
        "in buckets": (
            lengths.sum() / (rows * sum(n * k for n, k in buckets.steps_by_length.items())),
            by_bucket,
        ),
        "packed": (packed.useful_share, own),
    }
    seconds = dict.fromkeys(ways, 0.0)
    useful = dict.fromkeys(ways, 0)
    for number in range(repeats):
        for way, (_, batch) in ways.items():
            made = batch(number)
            if not program.has(made):
                jax.block_until_ready(program(state, made))
            seconds[way] += seconds_of(lambda made=made: program(state, made))
            useful[way] += int(made["mask"].sum())
    return {way: (share, useful[way] / seconds[way]) for way, (share, _) in ways.items()}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--rows", type=int, default=32, help="of a batch of the small encoder")
    parser.add_argument("--attention", default="sdpa", help="of the small encoder")
    args = parser.parse_args()
    config = replace(
        Config(),
        {"data.name": "texts", "data.path": args.path, "data.max_length": LENGTH},
    )
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}")
    began = time.perf_counter()
    texts = load_texts(config.data).train
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts):,} texts, {size:,.0f} MB: read and split in "
          f"{time.perf_counter() - began:.1f} s, peak memory {peak_memory():,.0f} MB")  # fmt: skip
    sample = [texts[at] for at in range(0, len(texts), max(1, len(texts) // 1000))]
    tokenizer = train_wordpiece(sample, config.tokenizer)
    began = time.perf_counter()
    tokens, stats = encode_pieces(tokenizer, texts, LENGTH, cache=None)
    rate = size / (time.perf_counter() - began)
    print(f"tokenised: {rate:.1f} MB/s, {stats.tokens:,} tokens in {len(tokens):,} pieces, "
          f"peak memory {peak_memory():,.0f} MB")  # fmt: skip
    masking = Masking(0.15, tokenizer.get_vocab_size(), special_ids(tokenizer))
    print(f"batches of {ROWS} x {LENGTH}: {batch_rate(config, tokens, masking, args.steps)}")
    print(f"one batch of 32 x {LENGTH}: {batch_milliseconds(config, tokens, masking, args.steps)}")
    seconds = step_seconds(config, 4, 30_522, 3)
    print(f"BERT_SMALL, 4 x {LENGTH}, sdpa: {4 * LENGTH / seconds:,.0f} tokens/s")
    rng = np.random.default_rng(0)
    drawn = np.clip(rng.lognormal(np.log(150), 0.7, 20_000).astype(int), 3, LENGTH)
    special = masking.special
    made = [
        np.array([special.cls, *rng.integers(5, masking.vocab_size, n - 2), special.sep], np.int32)
        for n in drawn
    ]
    for name, rows in (("these texts", tokens), ("log-normal lengths", _array(made))):
        small = replace(config, SMALL | {"attention.type": args.attention})
        rates = padding_rates(small, rows, masking, args.rows, args.repeats)
        base = rates["to the longest"][1]
        for way, (share, speed) in rates.items():
            print(f"{name}, {way}: {share:.1%} of all places useful, "
                  f"{speed:,.0f} useful tokens/s ({speed / base:.2f}x)")  # fmt: skip


def _array(rows: list[np.ndarray]) -> TokenRows:
    from jaxattn.data.tokens.arrays import TokenArray

    return TokenArray.from_rows(rows)


if __name__ == "__main__":
    use_huge_pages()
    main()
