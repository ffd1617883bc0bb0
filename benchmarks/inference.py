"""A BERT_SMALL classifier on a CPU: jaxattn as `load` runs it, PyTorch, and ONNX Runtime.

    pip install '.[benchmark]'
    python benchmarks/inference.py --repeats=15

All three run the same shape (4 blocks of width 512, learned positions, 30,522 tokens, 2 classes)
with random weights, in one process and on as many threads, one after the other in every repeat.
Printed are medians, and the median over repeats of ours over ONNX Runtime's time in that repeat:
below 1 is faster. Token ids go in, logits come out; texts are not tokenised.
"""

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np

from jaxattn.cli import use_huge_pages
from jaxattn.config import Config, replace
from jaxattn.evaluate.predict import Trained
from jaxattn.evaluate.serving import Server
from jaxattn.model.heads import ClassifierModel
from jaxattn.modes.classifier_params import init_classifier
from jaxattn.modes.text_classifier import served
from jaxattn.presets import architecture_options

SHAPES = ((1, 128), (8, 128), (1, 512), (8, 512))
VOCABULARY = 30522
PAUSE = 0.2
"""Seconds before a run."""
OURS = {
    "model.positions": "learned",
    "model.norm": "post",
    "head.pooling": "cls",
    "head.pooler": "bert",
}

Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


def ours(attention: str) -> Run:
    """The compiled program that a `TextClassifier` runs for a batch of this shape."""
    config = replace(
        Config(), architecture_options("bert_small") | OURS | {"attention.type": attention}
    )
    models = {n: ClassifierModel(served(config, n), VOCABULARY, 2) for _, n in SHAPES}
    trained = Trained(init_classifier(models[128], 0), jax.random.key(0))
    server = Server(models, trained, classes=2, pad_id=0)
    return lambda ids, mask: server.logits({"ids": ids, "mask": mask})


def theirs(threads: int) -> dict[str, Run]:
    """The same in PyTorch, and that model in ONNX Runtime."""
    import onnxruntime
    import torch
    import transformers

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=512, num_hidden_layers=4, num_attention_heads=8,
        intermediate_size=2048, max_position_embeddings=512, num_labels=2,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config).eval()

    def in_torch(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = model(torch.from_numpy(ids).long(), torch.from_numpy(mask).long())
        return found.logits.numpy()

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = str(Path(folder) / "model.onnx")
        ids = torch.ones((2, 128), dtype=torch.long)
        axes = {name: {0: "rows", 1: "length"} for name in ("ids", "mask")}
        torch.onnx.export(
            model, (ids, ids), path, input_names=["ids", "mask"], output_names=["logits"],
            dynamic_axes=axes, dynamo=False,
        )  # fmt: skip
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def in_onnx(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        inputs = {"ids": ids.astype(np.int64), "mask": mask.astype(np.int64)}
        return session.run(None, inputs)[0]

    return {"PyTorch": in_torch, "ONNX Runtime": in_onnx}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--attentions", default="sdpa")
    arguments: Any = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    runs = theirs(threads) | {f"jaxattn {a}": ours(a) for a in arguments.attentions.split(",")}
    rng = np.random.default_rng(0)
    print(f"{threads} threads, jax {jax.__version__}, medians of {arguments.repeats}")
    print("| rows x length | " + " | ".join(f"{name}, ms" for name in runs) + " | over ONNX |")
    print("|---|" + "---|" * (len(runs) + 1))
    for rows, length in SHAPES:
        ids = rng.integers(5, VOCABULARY, (rows, length)).astype(np.int32)
        mask = np.arange(length) < rng.integers(length // 2, length + 1, (rows, 1))
        mask[0] = True
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for repeat in range(arguments.repeats + 1):
            for name, run in runs.items():
                # The others' threads wait for more work for a while, and take the cores meanwhile.
                time.sleep(PAUSE)
                began = time.perf_counter()
                run(ids, mask)
                if repeat:
                    seconds[name].append(time.perf_counter() - began)
        base = seconds["ONNX Runtime"]
        ratios = [
            median(a / b for a, b in zip(own, base, strict=True))
            for name, own in seconds.items()
            if name.startswith("jaxattn")
        ]
        cells = [f"{1000 * median(own):.1f}" for own in seconds.values()]
        over = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {rows} x {length} | {' | '.join(cells)} | {over} |", flush=True)


if __name__ == "__main__":
    use_huge_pages()
    sys.exit(main())
