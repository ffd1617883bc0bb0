"""How much of a training step is not the compiled program: batches, logging, progress, the loop.

    python benchmarks/loop_overhead.py [--architecture quick] [--attention sdpa]

The training loop as `--mode=pretrain` runs it (batches made and placed by its threads, rows of
metrics.csv, progress), without validation and checkpoints, against the same compiled program called
on the same batches already on the device; in turn, and the median of the ratios is printed.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from jaxattn.config import CheckpointConfig, Config, LogConfig, replace
from jaxattn.config.presets import ARCHITECTURES
from jaxattn.data.batches.masking import Masking
from jaxattn.data.batches.order import BatchPlan
from jaxattn.data.tokens.arrays import SpecialIds, TokenArray
from jaxattn.ops.programs import Programs
from jaxattn.profile.synthetic_step import synthetic_step
from jaxattn.stages.batches import mlm_batches
from jaxattn.startup import use_huge_pages
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.feed import feed
from jaxattn.train.job import Job, Tally
from jaxattn.train.log import RunLog
from jaxattn.train.loop import fit
from jaxattn.train.sharding import BatchPlacement, make_mesh

VOCABULARY = 8192


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="quick", choices=sorted(ARCHITECTURES))
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=40, help="of every repeat")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    layers, hidden, mlp, heads, width = ARCHITECTURES[args.architecture]
    config = replace(
        Config(),
        {
            "model.num_layers": layers, "model.hidden_dim": hidden, "model.mlp_dim": mlp,
            "model.num_heads": heads, "model.qkv_dim": width, "attention.type": args.attention,
            "train.batch_size": args.rows, "data.max_length": args.length,
        },
    )  # fmt: skip
    rng = np.random.default_rng(0)
    tokens = TokenArray.from_rows(
        list(rng.integers(5, VOCABULARY, (args.rows * args.steps, args.length), np.int32))
    )
    plan = BatchPlan(tokens.lengths, buckets=(args.length,), batch_size=args.rows, seed=0)
    masking = Masking(config.data.mask_rate, VOCABULARY, SpecialIds(*range(5)))
    batch = mlm_batches(config, tokens, plan, masking)
    step = synthetic_step(
        config,
        task="mlm",
        batch_size=args.rows,
        length=args.length,
        vocab_size=VOCABULARY,
    )
    placement = BatchPlacement(make_mesh(config.train))
    program = Programs(step.function, donate=True, place=placement)
    job = Job(
        stage="benchmark",
        step=program,
        batch=batch,
        learning_rate=lambda step: 0.0,
        total_steps=2 * args.steps,
        steps_per_epoch=2 * args.steps,
        validate_every=0,
        last_step=args.steps,
        program_steps=[0],
        prepare=lambda params: None,
        validate=lambda params, step: {"loss": 0.0},
        select="loss",
        higher_is_better=False,
        patience=0,
        eval_params=None,
        complete=None,
        document={},
        peak_memory=lambda: 0.0,
    )
    placed = [fed.batch for fed in feed(batch, 0, args.steps, placement)]
    inside, outside = [], []
    for number in range(args.repeats + 1):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            log = RunLog(folder, LogConfig(), "benchmark", {})
            checkpoints = Checkpoints(folder / "checkpoints", keep=1)
            state = step.make_state(0)
            _, tally = fit(
                job, state, Tally(), log, LogConfig(), checkpoints, CheckpointConfig(every_epochs=0)
            )
            log.close()
        state = jax.block_until_ready(step.make_state(0))
        began = time.perf_counter()
        for made in placed:
            state, sums = program(state, made)
        jax.block_until_ready((state, sums))
        if number:
            inside.append((time.perf_counter() - began) / args.steps)
            outside.append(tally.train_seconds / args.steps)
    shares = [1 - program / loop for program, loop in zip(inside, outside, strict=True)]
    print(
        f"{args.architecture}, {args.attention}, {args.rows} x {args.length}: program "
        f"{1e3 * statistics.median(inside):.2f} ms, step of the loop "
        f"{1e3 * statistics.median(outside):.2f} ms, outside the program "
        f"{statistics.median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"
    )


if __name__ == "__main__":
    use_huge_pages()
    main()
