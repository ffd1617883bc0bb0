"""Batches made ahead come in order, are those of their step, and errors are not lost."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxattn.train.feed import feed


def batch(step: int) -> dict[str, np.ndarray]:
    # Later steps are ready sooner.
    time.sleep(0.02 if step % 2 else 0.0)
    return {"ids": np.full((2, 3), step), "mask": np.arange(6).reshape(2, 3) < step}


def test_in_order_and_on_the_device() -> None:
    found = list(feed(batch, 3, 12))
    assert [int(each.batch["ids"][0, 0]) for each in found] == list(range(3, 12))
    assert [each.tokens for each in found] == [3, 4, 5, 6, 6, 6, 6, 6, 6]
    assert all(isinstance(x, jax.Array) for each in found for x in each.batch.values())
    assert list(feed(batch, 5, 5)) == []


def test_it_stays_a_bounded_number_ahead() -> None:
    made = []

    def counted(step: int) -> dict[str, np.ndarray]:
        made.append(step)
        return batch(step)

    batches = feed(counted, 0, 100)
    next(batches)
    time.sleep(0.5)
    assert 1 < len(made) < 12
    batches.close()


def test_an_error_arrives_with_its_step() -> None:
    def broken(step: int) -> dict[str, np.ndarray]:
        if step == 2:
            raise ValueError("example 7 needs 9 tokens")
        return batch(step)

    with pytest.raises(ValueError, match="example 7 needs 9 tokens"):
        list(feed(broken, 0, 5))


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    batches = feed(batch, 0, 1000)
    next(batches)
    batches.close()
    del batches
    time.sleep(0.5)
    assert threading.active_count() <= before + 1


PROGRAM = """
import hashlib, sys
import numpy as np
from jaxattn.config import Config, replace
from jaxattn.data.batches.order import BatchPlan
from jaxattn.data.batches.masking import Masking
from jaxattn.data.batches.packing import PackedPlan
from jaxattn.data.tokens.arrays import SpecialIds, TokenArray
from jaxattn.stages.batches import mlm_batches
from jaxattn.train import feed

feed._THREADS, feed._AHEAD = int(sys.argv[1]), 2 * int(sys.argv[1])
rng = np.random.default_rng(0)
lengths = rng.integers(3, 60, 200)
texts = [rng.integers(5, 99, n - 2) for n in lengths]
# [CLS] and [SEP], as every row has them: plans count on it.
tokens = TokenArray.from_rows(np.array([2, *text, 3], np.int32) for text in texts)
masking = Masking(0.15, 100, SpecialIds(0, 1, 2, 3, 4))
config = replace(Config(), {"data.max_length": 64})
digest = hashlib.sha256()
for plan in (
    BatchPlan(tokens.lengths, buckets=(16, 32, 64), batch_size=8, seed=7),
    PackedPlan(tokens.lengths, length=64, batch_size=8, seed=7),
):
    for fed in feed.feed(mlm_batches(config, tokens, plan, masking), 3, 60):
        for name in sorted(fed.batch):
            digest.update(np.asarray(fed.batch[name]).tobytes())
print(digest.hexdigest())
"""


def test_threads_and_hash_seeds_change_no_batch(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    found = [
        subprocess.run(
            [sys.executable, str(tmp_path / "program.py"), threads],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for threads, seed in (("1", "1"), ("8", "2"))
    ]
    assert found[0] == found[1] and len(found[0]) == 65
