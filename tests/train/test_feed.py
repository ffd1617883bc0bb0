"""Batches made ahead come in order, are those of their step, and errors are not lost."""

import threading
import time

import jax
import numpy as np
import pytest

from jaxattn.train.feed import feed


def batch(step):
    # Later steps are ready sooner.
    time.sleep(0.02 if step % 2 else 0.0)
    return {"ids": np.full((2, 3), step), "mask": np.arange(6).reshape(2, 3) < step}


def test_in_order_and_on_the_device():
    found = list(feed(batch, 3, 12))
    assert [int(each.batch["ids"][0, 0]) for each in found] == list(range(3, 12))
    assert [each.tokens for each in found] == [3, 4, 5, 6, 6, 6, 6, 6, 6]
    assert all(isinstance(x, jax.Array) for each in found for x in each.batch.values())
    assert list(feed(batch, 5, 5)) == []


def test_it_stays_a_bounded_number_ahead():
    made = []

    def counted(step):
        made.append(step)
        return batch(step)

    batches = feed(counted, 0, 100)
    next(batches)
    time.sleep(0.5)
    assert 1 < len(made) < 12
    batches.close()


def test_an_error_arrives_with_its_step():
    def broken(step):
        if step == 2:
            raise ValueError("example 7 needs 9 tokens")
        return batch(step)

    with pytest.raises(ValueError, match="example 7 needs 9 tokens"):
        list(feed(broken, 0, 5))


def test_no_thread_is_left_behind():
    before = threading.active_count()
    batches = feed(batch, 0, 1000)
    next(batches)
    batches.close()
    del batches
    time.sleep(0.5)
    assert threading.active_count() <= before + 1
