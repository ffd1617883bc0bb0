"""A tiny corpus and a tiny model, shared by the tests of whole runs."""

import atexit
import gc
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.hub_server import HubServer

# The tests' tolerances are those of float32 on a CPU; the processes they start inherit this.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The processes that tests start compile the same few programs; the user's own cache is left alone.
# A worker of pytest-xdist has inherited the folder from the process that started it.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _PROGRAMS = tempfile.mkdtemp(prefix="jaxattn-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _PROGRAMS
    atexit.register(shutil.rmtree, _PROGRAMS, ignore_errors=True)
# More than half of the suite's time was the compiler's. Tests ask what a program computes, which is
# the same with few optimisations; where the code that users get is what is tested, the fixture
# `optimised` says so, and slow tests have it; JAX_DISABLE_MOST_OPTIMIZATIONS=0 gives it to all.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Looking for garbage among all that JAX remembers took another 5 % of it.
gc.set_threshold(20_000, 20, 50)

# A test that starts processes or reads files leaves its processor idle part of the time, 17 % of
# all; a worker has come to 5.3 GB.
_WORKER_BYTES = 6 * 2**30


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are processors, as far as the memory goes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(len(os.sched_getaffinity(0)) + 1, memory // _WORKER_BYTES))


WORDS = {
    "cats": ["whisker", "purring", "kitten", "meow", "claw"],
    "dogs": ["bark", "fetch", "puppy", "kennel", "leash"],
}
COMMON = ["the", "a", "very", "small", "animal", "slept", "house", "garden", "today", "and"]


def write_corpus(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """JSONL files <split>.jsonl of texts of 4 to 40 words, told apart by their class's words."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in counts.items():
        with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as file:
            for index in range(count):
                label = sorted(WORDS)[index % 2]
                length = int(rng.integers(4, 41))
                words = rng.choice(COMMON + WORDS[label], length).tolist()
                words[0] = WORDS[label][index % 5]
                file.write(json.dumps({"text": " ".join(words), "label": label}) + "\n")
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 training, 40 validation and 40 test texts of two classes."""
    folder = tmp_path_factory.mktemp("corpus")
    return write_corpus(folder, {"train": 120, "validation": 40, "test": 40})


@pytest.fixture(scope="session")
def tiny_flags(corpus: Path) -> list[str]:
    """Flags of a run of seconds: one block of width 16, two length buckets."""
    base = Path(__file__).parents[1] / "configs" / "base.py"
    options = {
        "data.name": "animals",
        "data.path": corpus,
        "data.max_length": 32,
        "data.length_buckets": "16,32",
        "tokenizer.vocab_size": 150,
        "train.batch_size": 16,
        "train.learning_rate": 0.005,
        "train.epochs": 2,
        "log.every_steps": 3,
        "attention.reformer_lsh.chunk_size": 8,
        "attention.reformer_lsh.num_hashes": 2,
    } | {
        "model.num_layers": 1,
        "model.hidden_dim": 16,
        "model.mlp_dim": 32,
        "model.num_heads": 2,
        "model.qkv_dim": 16,
        "model.max_seq_len": 32,
    }
    return [f"--config={base}", *(f"--config.{name}={value}" for name, value in options.items())]


@pytest.fixture
def optimised(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs are compiled as they are for users, in this process and those it starts."""
    import jax  # not before the environment above is set

    before = jax.config.read("jax_disable_most_optimizations")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
    jax.clear_caches()  # holds programs compiled otherwise
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    jax.clear_caches()


@pytest.fixture(autouse=True)
def slow_ones_have_the_time(request: pytest.FixtureRequest) -> None:
    """Tests marked slow are compiled as for users."""
    if request.node.get_closest_marker("slow"):
        request.getfixturevalue("optimised")


@pytest.fixture
def params() -> dict[str, Any]:
    """A tree of parameters with the names that a classifier of two blocks has."""
    rng = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    def block() -> dict[str, Any]:
        return {
            "attention": {"query": {"kernel": array(4, 6), "bias": array(6)}},
            "mlp_norm": {"scale": array(4), "bias": array(4)},
            "mlp": {"down": {"kernel": array(6, 4)}},
        }

    encoder = {
        "embeddings": {"tokens": {"embedding": array(7, 4)}},
        "relative_table": array(2, 4),
        "blocks_0": block(),
        "blocks_1": block(),
        "final_norm": {"scale": array(4)},
    }
    return {"encoder": encoder, "classifier": {"kernel": array(4, 3), "bias": array(3)}}


@pytest.fixture
def hub_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub on this machine, which this process asks in place of the real one; an empty cache."""
    from huggingface_hub import constants

    server, home = HubServer(), tmp_path / "hf"
    home.mkdir()
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    template = f"{server.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_URL_HOSTS", frozenset({"127.0.0.1"}), raising=False)
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    yield server
    server.shutdown()
    server.server_close()
