"""Texts to ids, without [CLS] and [SEP]: once a corpus and vocabulary, in bounded memory.

What is large enough is kept in the user's cache, under a name that is a hash of the texts and the
tokenizer: equal texts are tokenised once, whatever run reads them, and other ones never mixed up.
"""

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.data.texts import Texts
from jaxattn.data.tokens.arrays import TokenArray
from jaxattn.data.tokens.fast import TextEncoder, encode_here, prepare
from jaxattn.files import default_cache, warn_nothing_kept, whole
from jaxattn.memory import free_memory

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FORMAT = 1

_CHUNK = 2**21
"""Bytes of text that are tokenised at a time."""

_WORTH_CACHING = 2**20
"""Bytes of text below which tokenising again is as quick."""

_WORTH_PROCESSES = 2**25
"""Bytes of text from which on starting processes is worth its second."""

_READ_SHARE = 0.1
"""Share of the free memory that ids of one split may take."""

_SECONDS_BETWEEN_LINES = 5.0


def tokenised(tokenizer: "Tokenizer", texts: Sequence[str], cache: Path | None) -> TokenArray:
    """Ids of each text, without special tokens.

    Args:
        tokenizer: without truncation and padding.
        texts: any number; `Texts` need not fit into memory.
        cache: folder for what is worth keeping; None: nothing is kept.
    """
    kept = Texts.of(texts)
    if cache is None or kept.byte_lengths.sum() < _WORTH_CACHING:
        return _unkept(tokenizer, kept)
    folder = cache / "tokens" / _name(tokenizer, kept)
    found = _read(folder)
    if found is None:
        try:
            _write(tokenizer, kept, folder)
        except OSError as error:
            warn_nothing_kept(cache, error)
        found = _read(folder)
    return _unkept(tokenizer, kept) if found is None else found


def _unkept(tokenizer: "Tokenizer", texts: Texts) -> TokenArray:
    """Ids in a file without a name; in memory where there is no room for one."""
    try:
        with tempfile.TemporaryFile() as file:
            return _written(tokenizer, texts, file)
    except OSError:
        return _written(tokenizer, texts, io.BytesIO())


def chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts, about 2 MB at a time: what a tokenizer works on in parallel."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size >= _CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _name(tokenizer: "Tokenizer", texts: Texts) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {tokenizer.to_str()}".encode())
    for index in range(len(texts)):
        raw = texts.encoded(index)
        digest.update(f"{len(raw)}:".encode())
        digest.update(raw)
    return digest.hexdigest()


def _read(folder: Path) -> TokenArray | None:
    """What was kept there; None where nothing is, or where it has been damaged."""
    try:
        told = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        ids = _ids(folder / "ids.bin", np.dtype(told["dtype"]), *told["ids"])
        offsets = np.fromfile(folder / "offsets.bin", np.int64)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = _digest(ids, offsets) == told.get("sha256")
    return TokenArray(ids, offsets) if whole else None


def _ids(path: Path, dtype: np.dtype, count: int) -> np.ndarray:
    """Ids [count]; raises ValueError where the file has another size.

    They are read: a process that has mapped a file which somebody then cuts short is killed by the
    system without a word. What would fill the memory is mapped all the same.
    """
    size = count * dtype.itemsize
    if path.stat().st_size != size:
        raise ValueError(f"{path}: not {size} bytes")
    if size <= _READ_SHARE * free_memory():
        return np.fromfile(path, dtype)
    # As a plain array, whose parts are made in a fraction of the time; it is mapped as before.
    return np.asarray(np.memmap(path, dtype, "r", shape=(count,)))


def _digest(ids: np.ndarray, offsets: np.ndarray) -> str:
    digest = hashlib.sha256(offsets.tobytes())
    digest.update(np.ascontiguousarray(ids).data)
    return digest.hexdigest()


def _write(tokenizer: "Tokenizer", texts: Texts, folder: Path) -> None:
    """Writes the folder whole or not at all; what stands there is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole(folder) as temporary:
            temporary.mkdir()
            with (temporary / "ids.bin").open("w+b") as file:
                tokens = _written(tokenizer, texts, file)
                os.fsync(file.fileno())
            tokens.offsets.tofile(temporary / "offsets.bin")
            told = {"dtype": str(tokens.ids.dtype), "ids": tokens.ids.shape}
            told["sha256"] = _digest(tokens.ids, tokens.offsets)
            (temporary / "meta.json").write_text(json.dumps(told), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        # Another run may have written the same meanwhile: either will do.
        if not folder.is_dir():
            raise


def _written(tokenizer: "Tokenizer", texts: Texts, file: IO[bytes]) -> TokenArray:
    """Tokenises into a file and maps it; says how fast, if it takes long."""
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    dtype = np.dtype(np.uint16 if size <= 2**16 else np.int32)
    ends, done, total = array("q", [0]), 0, int(texts.byte_lengths.sum())
    began = said = time.monotonic()
    for chunk, found in _encoded(TextEncoder(tokenizer.to_str(), dtype.name), texts, total):
        for raw in found:
            file.write(raw)
            ends.append(ends[-1] + len(raw) // dtype.itemsize)
        done += sum(map(len, chunk))
        now = time.monotonic()
        if now - said > _SECONDS_BETWEEN_LINES:
            said, rate = now, done / 1e6 / (now - began)
            say(f"tokenising: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB, {rate:.1f} MB/s")
    file.flush()
    ids: np.ndarray
    if isinstance(file, io.BytesIO):
        ids = np.frombuffer(file.getbuffer(), dtype)
    else:
        # An empty file cannot be mapped.
        mapped = np.memmap(file, dtype, "r", shape=(ends[-1],)) if ends[-1] else np.zeros(0, dtype)
        ids = np.asarray(mapped)
    return TokenArray(ids, np.array(ends, np.int64))


def _encoded(
    encoder: TextEncoder, texts: Texts, total: int
) -> Iterator[tuple[list[str], list[bytes]]]:
    """Chunks of texts and the ids of each text in order; in several processes if it is worth it."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if total < _WORTH_PROCESSES or not workers or workers == 1:
        for chunk in chunks(texts):
            yield chunk, encoder.encode(chunk)
        return
    # Forking a process in which JAX runs threads can hang it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, prepare, (encoder,)) as pool:
        waiting: deque[tuple[list[str], Future[list[bytes]]]] = deque()
        for chunk in chunks(texts):
            waiting.append((chunk, pool.submit(encode_here, chunk)))
            # Reading far ahead would fill the memory.
            if len(waiting) > 2 * workers:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


def cache_folder(config: Config) -> Path | None:
    """Where tokenised texts are kept."""
    return default_cache() if config.data.cache else None
