"""The comparison on IMDB: what it hooks into the package, and the flags that it gives."""

import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu import imdb_process, imdb_stage
from jaxattn import cli
from jaxattn.config import TokenizerConfig
from jaxattn.data.tokens import encode
from jaxattn.data.tokens.wordpiece import train_wordpiece
from jaxattn.train import loop
from jaxattn.train.feed import Fed

ROOT = Path(__file__).parents[2]
HOOKS = [imdb_stage.FEED, imdb_stage.TOKENISED]


@pytest.fixture
def hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hooks of a stage named "a" in this process, until the test ends."""
    monkeypatch.setattr(imdb_stage, "WORK", tmp_path)
    monkeypatch.setattr(imdb_stage, "TIMED", (1, 2))
    for module, name in HOOKS:
        owner = importlib.import_module(module)
        monkeypatch.setattr(owner, name, getattr(owner, name))
    imdb_stage.wrap(imdb_stage.FEED, partial(imdb_stage.in_turn, "a"))
    imdb_stage.wrap(imdb_stage.TOKENISED, imdb_stage.one_at_a_time)


def test_the_hooked_names_are_those_that_the_package_calls() -> None:
    assert imdb_stage.FEED[1] in loop.fit.__code__.co_names
    for function in (encode.encode, encode.encode_pieces):
        assert imdb_stage.TOKENISED[1] in function.__code__.co_names


def test_steps_wait_for_their_turn_and_are_timed(hooked: None) -> None:
    def batch(step: int) -> dict[str, np.ndarray]:
        return {"mask": np.ones((1, 1 + step), bool)}

    tokens: list[int] = []

    def train(batches: Iterator[Fed]) -> None:
        tokens.extend(fed.tokens for fed in batches)

    feed = getattr(loop, imdb_stage.FEED[1])
    training = threading.Thread(target=train, args=(feed(batch, 0, 4, lambda x: x),))
    training.start()
    training.join(0.3)
    assert training.is_alive() and imdb_stage.told("a", "ready") == 4
    imdb_stage.tell("a", "go", True)
    training.join(60)
    assert tokens == [1, 2, 3, 4]
    assert imdb_stage.told("a", "ms") > 0 and imdb_stage.told("a", "steps") == 4


def test_texts_are_tokenised_under_a_lock(hooked: None, tmp_path: Path) -> None:
    texts = ["a good film", "a bad one"]
    tokenizer = train_wordpiece(texts, TokenizerConfig(vocab_size=100))
    for encoded in (encode.encode, encode.encode_pieces):
        rows, _ = encoded(tokenizer, texts, 16)
        assert len(rows) == 2 and (tmp_path / "tokens.lock").exists()
        (tmp_path / "tokens.lock").unlink()


@pytest.mark.parametrize("mode", ["pretrain", "finetune", "baseline"])
def test_the_flags_of_every_stage_are_understood(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    request = cli.parse(imdb_process.flags(mode, tmp_path, None))
    assert request is not None and request.mode.name == mode and request.config is not None
    assert request.config.train.batch_size == 64
    assert request.config.data.length_buckets == (256, 512)


def test_the_command_line_of_the_script() -> None:
    script = [sys.executable, str(ROOT / "benchmarks" / "gpu" / "compare_imdb.py"), "--help"]
    told = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 1
    assert "--prepare <folder of Parquet files> .imdb" in told.stderr
