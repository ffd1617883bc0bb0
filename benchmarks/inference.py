"""A BERT_SMALL classifier on a CPU: jaxattn as `load` runs it, PyTorch, and ONNX Runtime.

    pip install '.[benchmark]'
    python benchmarks/inference.py --repeats=15

All three run the same shape (4 blocks of width 512, learned positions, 30,522 tokens, 2 classes)
with random weights, full rows and as many threads. Each has a process of its own, as where it is
used: thread pools that wait for work take the cores of others. In every repeat each of them in turn
rests, runs once ("after a rest") and then, without resting, a few times more ("steady").
Printed are medians, and the medians over repeats of ours over ONNX Runtime's time in that repeat:
below 1 is faster. Token ids go in, logits come out; texts are not tokenised.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from jaxattn.startup import use_huge_pages

SHAPES = ((1, 128), (8, 128), (1, 512), (8, 512))
VOCABULARY = 30522
PAUSE = 0.3
"""Seconds of rest: the threads of the one before wait for more work for a while."""
STEADY = 3
"""Runs without a rest, after the one that had it."""
OURS = {
    "model.positions": "learned",
    "model.norm": "post",
    "head.pooler": "bert",
}

Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


def ours(attention: str, pooling: str) -> Run:
    """What a `TextClassifier` does with these rows; it may cut a large batch into smaller ones."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    from jaxattn.classifier.serving import serving_predictor
    from jaxattn.config import Config, replace
    from jaxattn.config.presets import architecture_options
    from jaxattn.data.tokens.arrays import TokenArray
    from jaxattn.evaluate.predict import Trained
    from jaxattn.model.heads import ClassifierModel, init_classifier

    options = architecture_options("bert_small") | OURS
    config = replace(Config(), options | {"attention.type": attention, "head.pooling": pooling})
    model = ClassifierModel(config, VOCABULARY, 2)
    trained = Trained(init_classifier(model, 0), jax.random.key(0))
    predictor = serving_predictor(config, VOCABULARY, 2, 0)
    return lambda ids, _: predictor.probabilities(trained, TokenArray.from_rows(ids))


def bert() -> Any:
    """The same in PyTorch."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=512, num_hidden_layers=4, num_attention_heads=8,
        intermediate_size=2048, max_position_embeddings=512, num_labels=2,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config).eval()


def in_torch(threads: int) -> Run:
    """PyTorch runs it."""
    import torch

    torch.set_num_threads(threads)
    model = bert()

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = model(torch.from_numpy(ids).long(), torch.from_numpy(mask).long())
        return found.logits.numpy()

    return run


def write_onnx(path: str) -> None:
    """What ONNX Runtime reads."""
    import torch

    ids = torch.ones((2, 128), dtype=torch.long)
    axes = {name: {0: "rows", 1: "length"} for name in ("ids", "mask")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            bert(), (ids, ids), path, input_names=["ids", "mask"], output_names=["logits"],
            dynamic_axes=axes, dynamo=False,
        )  # fmt: skip


def in_onnx(path: str, threads: int) -> Run:
    """ONNX Runtime runs it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        inputs = {"ids": ids.astype(np.int64), "mask": mask.astype(np.int64)}
        return session.run(None, inputs)[0]

    return run


def serve(make: Callable[..., Run], arguments: tuple[Any, ...], pipe: Any) -> None:
    """Answers (ids, mask) with the seconds of 1 + STEADY runs of them; ends at None."""
    run = make(*arguments)

    def seconds(*inputs: np.ndarray) -> float:
        began = time.perf_counter()
        run(*inputs)
        return time.perf_counter() - began

    while (inputs := pipe.recv()) is not None:
        time.sleep(PAUSE)
        pipe.send([seconds(*inputs) for _ in range(1 + STEADY)])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--attentions", default="sdpa")
    parser.add_argument("--pooling", default="cls", help="of ours: cls, as BERT's, or mean")
    arguments: Any = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        writer = fresh.Process(target=write_onnx, args=(path,))
        writer.start()
        writer.join()
        if writer.exitcode:
            sys.exit("the model could not be written for ONNX Runtime")
        makers: dict[str, tuple[Callable[..., Run], tuple[Any, ...]]] = {
            "PyTorch": (in_torch, (threads,)),
            "ONNX Runtime": (in_onnx, (path, threads)),
        }
        makers |= {
            f"jaxattn {a}": (ours, (a, arguments.pooling)) for a in arguments.attentions.split(",")
        }
        runs = {}
        for name, (make, given) in makers.items():
            runs[name], theirs = fresh.Pipe()
            fresh.Process(target=serve, args=(make, given, theirs), daemon=True).start()
            theirs.close()
        print(f"{threads} threads, medians of {arguments.repeats}, ms")
        print(f"| rows x length | | {' | '.join(runs)} | over ONNX Runtime |")
        print("|---|---|" + "---|" * (len(runs) + 1))
        for rows, length in SHAPES:
            print(lines_of_table(runs, rows, length, arguments.repeats), flush=True)
        for pipe in runs.values():
            pipe.send(None)


def lines_of_table(runs: dict[str, Any], rows: int, length: int, repeats: int) -> str:
    """Of one shape; `runs`: name -> the pipe to its process."""
    ids = np.random.default_rng(0).integers(5, VOCABULARY, (rows, length)).astype(np.int32)
    steady: dict[str, list[float]] = {name: [] for name in runs}
    rested: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, pipe in runs.items():
            pipe.send((ids, np.ones_like(ids)))
            first, *others = pipe.recv()
            # The first time compiles.
            if repeat:
                rested[name].append(first)
                steady[name].append(median(others))
    lines = []
    for title, seconds in (("steady", steady), ("after a rest", rested)):
        base = seconds["ONNX Runtime"]
        ratios = [
            f"{median(a / b for a, b in zip(own, base, strict=True)):.2f}"
            for name, own in seconds.items()
            if name.startswith("jaxattn")
        ]
        cells = [f"{1000 * median(own):.1f}" for own in seconds.values()]
        lines.append(f"| {rows} x {length} | {title} | {' | '.join([*cells, ', '.join(ratios)])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    use_huge_pages()
    sys.exit(main())
