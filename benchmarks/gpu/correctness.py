"""Every attention, forward and backward, on this device against float64 references.

    python -m benchmarks.gpu.correctness --out correctness.json [--tiny]

Under masks with padding at the end, with holes, and with a row of padding alone; with NaN in
padding; with queries and keys of large standard deviation; at lengths and widths that cuDNN is not
made for. "WRONG" at the end lists what failed. The gradient of the token embeddings, too.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.checks import Case, Checks, Sizes
from benchmarks.gpu.device_time import compile_for_device
from benchmarks.gpu.record import Part, main
from benchmarks.gpu.references import relative_error
from jaxattn.attention.sdpa.attention import choose
from jaxattn.config import FavorOptions
from jaxattn.errors import InputError
from jaxattn.model.embeddings import Embeddings

# LSH has more than 16 buckets, so that two hashes make them.
FULL, TINY = Sizes(2, 700, 2, 64, 16, 4), Sizes(2, 70, 2, 8, 4, 2)
ODD_SHAPES = ((2, 64), (7, 64), (65, 64), (513, 128), (64, 8), (333, 40))
"""Length and width, for cuDNN."""
CUDNN = Case("sdpa", "bfloat16", (("implementation", "cudnn"),))
CUDNN_PADDED = Case("sdpa", "bfloat16", (("implementation", "cudnn"), ("right_padded", True)))
"""As the model calls it."""


def implementations(options: type[Any]) -> list[str]:
    """What an attention's option `implementation` may be, without "auto"; [] if it has none."""
    for field in dataclasses.fields(options):
        if field.name == "implementation":
            return [name for name in field.metadata["choices"] if name != "auto"]
    return []


def cases(sizes: Sizes, on_gpu: bool) -> list[Case]:
    """The most important first."""
    favor: dict[str, Any] = {"nb_features": 2 * sizes.width}
    lsh = {"chunk_size": sizes.chunk_size, "num_hashes": sizes.rounds, "mask_within_chunks": True}
    ways: list[dict[str, Any]] = [
        {},
        *({"implementation": way} for way in implementations(FavorOptions)),
    ]
    bf16 = [CUDNN_PADDED, CUDNN] if on_gpu else []
    bf16 += [Case("performer_favor", "bfloat16", tuple((favor | way).items())) for way in ways]
    bf16.append(Case("reformer_lsh", "bfloat16", tuple(lsh.items())))
    bf16.append(Case("local", "bfloat16", (("window", 4 * sizes.chunk_size),)))
    blockwise = [
        Case("sdpa", dtype, (("implementation", way),))
        for dtype in ("bfloat16", "float32", "float16")
        for way in ("blockwise", "xla")
    ]
    others = [
        Case("performer_favor", "float32", tuple(favor.items())),
        Case("reformer_lsh", "float32", tuple(lsh.items())),
        *blockwise[:3],
        Case("reformer_lsh", "bfloat16", tuple((lsh | {"mask_within_chunks": False}).items())),
        Case("performer_favor", "float16", tuple(favor.items())),
        *blockwise[3:],
    ]
    return bf16 + others


def embedding_gradient(checks: Checks, tiny: bool) -> None:
    """Of bfloat16 embeddings, for ids as frequent as words are: sums of thousands of numbers."""
    vocab, tokens, width = (100, 512, 16) if tiny else (30_522, 16_384, 512)
    rng = np.random.default_rng(0)
    ids = np.minimum(rng.zipf(1.3, (1, tokens)) + 4, vocab - 1).astype(np.int32)
    cotangent = jnp.asarray(rng.normal(size=(1, tokens, width)) + 0.3, jnp.bfloat16)
    model = Embeddings(
        vocab_size=vocab, hidden_dim=width, max_seq_len=tokens, positions="rope", token_types=0,
        normalize=False, norm_eps=1e-6, dropout=0.0, dtype=jnp.dtype(jnp.bfloat16),
    )  # fmt: skip

    def gradient(params: Any, ids: jax.Array, cotangent: jax.Array) -> Any:
        _, pull = jax.vjp(
            lambda p: model.apply({"params": p}, ids, None, deterministic=True), params
        )
        return pull(cotangent)[0]

    params = {"tokens": {"embedding": jnp.zeros((vocab, width))}}
    program, _ = compile_for_device(jax.jit(gradient).lower(params, ids, cotangent))
    found = program(params, ids, cotangent)["tokens"]["embedding"]
    wanted = np.zeros((vocab, width))
    np.add.at(wanted, ids[0], np.asarray(cotangent[0], np.float64))
    error = relative_error(found, wanted)
    checks.verdict("gradient of bfloat16 embeddings", error < 2.5e-2, f"{error:.1e}")


def body(part: Part) -> None:
    """All checks, as far as there is time."""
    on_gpu = jax.default_backend() == "gpu"
    sizes = TINY if part.tiny else FULL
    checks = Checks(part, sizes)
    if not on_gpu:
        part.note("cuDNN", f"left out: the device is a {jax.default_backend()}")
    probed: list[Any] = []

    def first(x: jax.Array) -> jax.Array:
        # The first probe is inside a traced function, as in a program that a user jits.
        probed.append(choose("auto", dtype=jnp.bfloat16, widths=(64, 64), lengths=(512, 512)))
        return x

    jax.jit(first)(jnp.zeros(3))
    part.note("sdpa auto, first asked while tracing", probed[0])

    def run(name: str, check: Callable[[], None]) -> None:
        try:
            check()
        except InputError as error:
            part.note(f"{name}: refused", str(error))
        except Exception as error:
            checks.verdict(name, False, f"{type(error).__name__}: {error}"[:300])

    for case in cases(sizes, on_gpu):
        for mask in ("prefix", "holes", "one row empty"):
            if mask == "one row empty" and case.attention != "sdpa":
                continue
            if mask != "prefix" and case.right_padded:
                continue
            if checks.time_for(case):
                run(f"{case.name}, {mask}", partial(checks.compare, case, mask))
            else:
                part.note(f"{case.name}, {mask}", "no time left")
        if case.dtype == "bfloat16" and checks.time_for(case):
            run(f"{case.name}, padding", partial(checks.padding, case))
            for std in (6.0, 20.0):
                run(f"{case.name}, std {std:g}", partial(checks.extreme, case, std))
    if part.left() > 4:
        run("gradient of embeddings", partial(embedding_gradient, checks, part.tiny))
    for length, width in ODD_SHAPES:
        odd = dataclasses.replace(sizes, length=length, width=width)
        if on_gpu and checks.time_for(CUDNN, odd):
            name = f"{CUDNN.name}, {length} x {width}"
            run(name, partial(checks.compare, CUDNN, "prefix", odd))
    part.note("WRONG", checks.wrong)


if __name__ == "__main__":
    main(body)
