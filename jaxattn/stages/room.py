"""Whether a training can be: its memory, and the room for its checkpoints, before data are read.

What is counted here is less than what is needed: what is refused could not have been.
"""

import os
import shutil
import warnings
from collections.abc import Callable, Mapping

import jax

from jaxattn.config import Config
from jaxattn.console import GIB, MIB
from jaxattn.errors import InputError
from jaxattn.memory import main_memory
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.machine import available_memory

VOCABULARY = "tokenizer.vocab_size"


class DoesNotFit(InputError):
    """A step takes more than all of the memory."""


_FLOAT = 4

_MOMENTS = {"muon": 1}
"""Numbers that an optimizer remembers of each parameter, at least; of all others two."""

_USABLE = 0.8
"""Share of the memory that a value is proposed for."""

_COMPRESSED = 0.8
"""What checkpoints may take of their arrays' bytes, at least."""

_COMMON = {"model.hidden_dim": 512, "model.mlp_dim": 2048, "model.qkv_dim": 512,
           "model.num_layers": 4, VOCABULARY: 30_000}  # fmt: skip
"""Usual sizes: the option that is furthest above its own is the one to change."""


def require_room(folder: RunFolder, config: Config, vocab_size: int = 0) -> None:
    """Looks whether the machine has the memory, and the disk the room, that a training needs.

    Args:
      folder: of the run.
      config: of the run.
      vocab_size: 0 while it is not known.

    Raises:
      InputError: it has not, or the folder cannot be written to.
    """
    sizes = {
        "model.hidden_dim": config.model.hidden_dim,
        "model.mlp_dim": config.model.mlp_dim,
        "model.qkv_dim": config.model.qkv_dim,
        "model.num_layers": config.model.num_layers,
        VOCABULARY: vocab_size,
    }
    everything = folder.kind != "finetune" or config.peft.method == "full"
    moments = _MOMENTS.get(config.train.optimizer, 2)
    copies = 2 + moments if everything else 1

    def needed(sizes: Mapping[str, int]) -> int:
        return _FLOAT * copies * parameters(sizes, config.model.embedding_dim)

    _require_memory_of(sizes, needed, _device_memory() * config.train.mesh_fsdp)
    _require_batches(config)
    saved = _FLOAT * (1 + moments) * parameters(sizes, config.model.embedding_dim)
    _require_disk(folder, int(_COMPRESSED * saved) if everything else 0, config.checkpoint.keep)


def _require_batches(config: Config) -> None:
    """A batch as it is made, and embeddings, at the shortest length: to train on, and to evaluate.

    Of a training batch those of one of its parts.
    """
    train, memory = config.train, _device_memory()
    parts = train.batch_size if train.on_oom == "halve" else train.accumulation
    for name, rows, count in (
        ("train.batch_size", train.batch_size, parts),
        ("train.eval_batch_size", train.eval_batch_size, 1),
    ):
        # Ids and mask; numbers of 16 bits at least.
        each = _FLOAT + 1 + 2 * config.model.hidden_dim / count
        needed = rows * config.data.buckets[0] * each
        if needed > memory * jax.device_count():
            raise InputError(
                f"{name}: found {rows:,}: batches take {_shown(needed)} at least, and there are "
                f"{_shown(memory)} of memory; allowed here: fewer than "
                f"{int(rows * memory / needed):,} (--mode=plan tells what a run needs)"
            )


def parameters(sizes: Mapping[str, int], embedding_dim: int = 0) -> int:
    """How many parameters an encoder of these sizes has at least: its large matrices."""
    hidden, queries = sizes["model.hidden_dim"], sizes["model.qkv_dim"]
    # Of an attention that shares queries and keys there are three matrices instead of four.
    block = 3 * hidden * queries + 2 * hidden * sizes["model.mlp_dim"]
    return sizes["model.num_layers"] * block + sizes[VOCABULARY] * (embedding_dim or hidden)


def _device_memory() -> int:
    """Bytes of the first device."""
    statistics = jax.devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        result: int = statistics["bytes_limit"]
        return result
    return main_memory()


def require_memory(config: Config, program: jax.stages.Compiled, parts: int | None = None) -> None:
    """Looks whether the device has the memory that a compiled step takes; warns where it is short.

    `parts`: micro-batches of the step, where they are not those of `config`.

    Raises:
      DoesNotFit: it would not have it if it did nothing else.
    """
    sizes = program.memory_analysis()
    if sizes is None:
        return
    state = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    work, memory, free = sizes.temp_size_in_bytes, _device_memory(), available_memory()
    if state + work <= memory:
        if work > free:
            warnings.warn(
                f"a step takes {_shown(work)} of memory, and only {_shown(free)} are free: it may "
                "be killed",
                stacklevel=2,
            )
        return
    train, count = config.train, parts or config.train.accumulation
    rows = _USABLE * (memory - state) / work * (train.batch_size // count)
    # Each part of the batch is spread over the devices.
    divisors = [n for n in range(1, train.batch_size + 1) if train.batch_size % n == 0]
    enough = next((n for n in divisors if train.batch_size // n <= rows), None)
    advice = [f"train.accumulation={enough} (train.on_oom=halve finds it)"] if enough else []
    advice += ["train.remat=block"] if train.remat == "none" else []
    raise DoesNotFit(
        f"train.batch_size: found {train.batch_size:,} in {count} part{'s' if count > 1 else ''} "
        f"(train.accumulation) of up to {config.data.max_length:,} tokens: a step takes "
        f"{_shown(state + work)}, and there are {_shown(memory)} of memory; allowed here: "
        f"{' or '.join([*advice, 'a smaller train.batch_size or data.max_length'])}"
    )


def _require_memory_of(
    sizes: Mapping[str, int], needed: Callable[[Mapping[str, int]], int], memory: int
) -> None:
    if needed(sizes) <= memory:
        return
    found, advice = "a model of this size", "make it smaller in several options"
    for name in sorted(_COMMON, key=lambda name: sizes[name] / _COMMON[name], reverse=True):
        # Activations need room, too.
        fits = [
            needed({**sizes, name: 2**n}) <= memory / 2 for n in range(sizes[name].bit_length())
        ]
        if any(fits):
            found = f"{name}: found {sizes[name]:,}"
            advice = f"allowed here: up to about {2 ** (sum(fits) - 1):,}"
            break
    raise InputError(
        f"{found}: parameters, gradients and optimizer take {_shown(needed(sizes))} at least, and "
        f"there are {_shown(memory)} of memory; {advice} (--mode=plan tells what a run needs)"
    )


def _require_disk(folder: RunFolder, saved: int, keep: int) -> None:
    """`saved`: bytes of a checkpoint; `keep`: of them, while one more is written."""
    place = next(path for path in (folder.path, *folder.path.absolute().parents) if path.exists())
    if not os.access(place, os.W_OK):
        raise InputError(f"{place} cannot be written to; give another folder, --runs=<folder>")
    there = sum(path.stat().st_size for path in folder.path.glob("checkpoints/**/*"))
    free = shutil.disk_usage(place).free + there
    if (keep + 1) * saved <= free:
        return
    fewer = free // saved - 1
    raise InputError(
        f"{folder.path}: {keep + 1} checkpoints of {_shown(saved)} each (checkpoint.keep and one "
        f"that is written) do not fit on its disk, where {_shown(free)} are free; make room, give "
        "--runs=<folder of another disk>"
        + (f", or checkpoint.keep={fewer}" if fewer > 0 else ", or make the model smaller")
    )


def _shown(size: float) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / MIB:,.1f} MiB"
