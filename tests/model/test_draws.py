"""Draws made before a step are those that the step would make."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from jaxattn.config import Config, replace
from jaxattn.config.presets import architecture_options
from jaxattn.model.draws import attention_draws
from jaxattn.model.keys import attention_key
from jaxattn.profile.synthetic_step import synthetic_step

SMALL = architecture_options("quick") | {
    "attention.type": "performer_favor",
    "model.max_seq_len": 32,
    "data.max_length": 32,
    "train.batch_size": 4,
}


@pytest.mark.parametrize("attention", ["sdpa", "reformer_lsh"])
def test_nothing_is_drawn_before_where_drawing_is_cheap(attention: str) -> None:
    assert attention_draws(replace(Config(), SMALL | {"attention.type": attention})) is None


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("mlm", {"train.remat": "block"}),
        ("mlm", {"train.accumulation": 2}),
        ("classification", {"train.remat": "attention"}),
        ("mlm", {"attention.pattern": ("performer_favor", "local")}),
    ],
)
def test_a_step_with_draws_is_the_step_without(task: str, options: dict[str, Any]) -> None:
    config = replace(Config(), SMALL | options)
    step = synthetic_step(config, task=task, batch_size=4, length=32, vocab_size=100)
    state, batch = step.concrete(0)
    assert state.draws is not None
    function = jax.jit(step.function)
    given, sums = function(state, batch)
    drawn, same = function(dataclasses.replace(state, draws=None), batch)
    assert {name: float(x) for name, x in sums.items()} == {
        name: float(x) for name, x in same.items()
    }
    for one, other in zip(
        jax.tree.leaves(given.params), jax.tree.leaves(drawn.params), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_every_layer_has_its_own_and_the_key_decides() -> None:
    draws = attention_draws(replace(Config(), SMALL))
    assert draws is not None
    root = jax.random.key(0)
    first, again, later = (
        jax.tree.leaves(draws(attention_key(root, np.int32(step), 10))) for step in (0, 9, 10)
    )
    assert len(first) == 2
    assert not np.array_equal(first[0], first[1])
    for one, same, new in zip(first, again, later, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, new)
