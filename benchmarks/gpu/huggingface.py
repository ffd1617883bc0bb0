"""The same training step in Hugging Face's BERT on PyTorch: what ours is compared with.

    python -m benchmarks.gpu.huggingface --out huggingface.json [--tiny]

BERT_SMALL's shape and vocabulary, 16,384 tokens a step, random weights: bfloat16 autocast, fused
exact attention, dropout 0.1 but on the attention weights, logits of every position, gradients
clipped, fused AdamW. Eager, and compiled at the shortest length if there is time.
"""

import time
from functools import partial
from typing import Any

from benchmarks.gpu.device_time import wall_seconds
from benchmarks.gpu.record import Part, main
from benchmarks.gpu.torch_attention import OnTorch
from jaxattn.config.presets import ARCHITECTURES

TO_COMPILE = 25
"""Seconds that torch.compile may take."""


def step(length: int, compile_it: bool, tiny: bool) -> dict[str, Any]:
    """Time and peak memory of one step."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    layers, hidden, mlp, heads, _ = ARCHITECTURES["quick" if tiny else "bert_small"]
    vocabulary, tokens = (500, 128) if tiny else (30_522, 16_384)
    options: dict[str, Any] = {"attn_implementation": "sdpa"}
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, intermediate_size=mlp, max_position_embeddings=length,
        attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.1, **options,
    )  # fmt: skip
    torch.manual_seed(0)
    shape = tokens // length, length
    ids = torch.randint(5, vocabulary, shape, device=device)
    labels = torch.where(torch.rand(shape, device=device) < 0.15, ids, -100)
    before = 0
    if on_gpu:
        torch.set_float32_matmul_precision("high")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    model: Any = BertForMaskedLM(config)
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=on_gpu)
    forward: Any = torch.compile(model, dynamic=False) if compile_it else model

    def run() -> OnTorch:
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = forward(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return OnTorch()

    began = time.perf_counter()
    run().block_until_ready()
    first = time.perf_counter() - began
    seconds = wall_seconds({"": run}, seconds=1.0)[""]
    found: dict[str, Any] = {
        "ms": round(1e3 * seconds, 3),
        "tokens/s": round(tokens / seconds),
        "first step s": round(first, 1),
    }
    if on_gpu:
        found["MiB peak"] = round((torch.cuda.max_memory_allocated() - before) / 2**20)
    return found


def body(part: Part) -> None:
    """The lengths at which ours is measured first, then the compiled step."""
    try:
        import torch
        import transformers
    except ImportError as error:
        part.note("left out", str(error))
        return
    part.note("versions", f"torch {torch.__version__}, transformers {transformers.__version__}")
    lengths = (64,) if part.tiny else (512, 8192, 16384, 4096)
    for length in lengths:
        if part.left() > 1:
            name = f"eager {length}"
            part.note(name, part.attempt(name, partial(step, length, False, part.tiny)))
    if part.tiny or part.left() < TO_COMPILE:
        part.note("compiled", "no time for it")
        return
    name = f"compiled {lengths[0]}"
    part.note(name, part.attempt(name, lambda: step(lengths[0], True, part.tiny)))


if __name__ == "__main__":
    main(body)
