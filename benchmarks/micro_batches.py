"""One training step of BERT_SMALL whole and in micro-batches (`train.accumulation`), in turn.

    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 python benchmarks/micro_batches.py --attention=sdpa

Printed are medians of the milliseconds a step, the first one left out, and the temporaries of each
program in MiB as XLA counts them. The batches are random ids without padding.
"""

import argparse
import sys
import time
from statistics import median
from typing import Any

import jax

from jaxattn.config import Config, replace
from jaxattn.config.presets import architecture_options
from jaxattn.ops.programs import compiled
from jaxattn.profile.synthetic_step import synthetic_step
from jaxattn.startup import use_huge_pages

VOCABULARY = 16000


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=4)
    given: Any = parser.parse_args()
    options = architecture_options("bert_small") | {"attention.type": given.attention}
    programs, states, batches, seconds = {}, {}, {}, {}
    for parts in given.parts:
        step = synthetic_step(
            replace(Config(), options | {"train.accumulation": parts}),
            task="classification",
            batch_size=given.rows,
            length=given.length,
            vocab_size=VOCABULARY,
        )
        programs[parts], seconds[parts] = compiled(step.lower()), []
        states[parts], batches[parts] = step.concrete(0)
    for _ in range(given.repeats + 1):
        for parts, program in programs.items():
            began = time.perf_counter()
            states[parts], _ = program(states[parts], batches[parts])
            jax.block_until_ready(states[parts])
            seconds[parts].append(time.perf_counter() - began)
    print(f"{given.attention}, {given.rows} x {given.length}, jax {jax.__version__}")
    print("| micro-batches | ms a step | temporaries, MiB |")
    print("|---|---|---|")
    for parts, program in programs.items():
        memory = program.memory_analysis().temp_size_in_bytes / 2**20
        print(f"| {parts} | {1000 * median(seconds[parts][1:]):.0f} | {memory:.0f} |")


if __name__ == "__main__":
    use_huge_pages()
    sys.exit(main())
