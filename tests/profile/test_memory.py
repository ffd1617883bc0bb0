"""Memory of a step: parts that add up, and batches that fit."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxattn.console import GIB
from jaxattn.errors import InputError
from jaxattn.ops.programs import compiled
from jaxattn.profile.memory import (
    DEFAULT_SHARE,
    DEVICES,
    LARGEST_BATCH,
    Memory,
    MemoryParts,
    largest_batch,
    largest_by_line,
    tree_bytes,
    usable_share,
)


def test_parts_add_up_to_what_the_compiler_says() -> None:
    params = {"w": jnp.zeros((64, 32)), "b": jnp.zeros(32)}
    moments = {"mu": params, "nu": params}

    def step(state: tuple[Any, Any], x: jax.Array) -> tuple[Any, jax.Array]:
        params, moments = state
        grads = jax.grad(lambda p: jnp.square(jnp.tanh(x @ p["w"]) + p["b"]).sum())(params)
        mu = jax.tree.map(lambda m, g: 0.9 * m + g, moments["mu"], grads)
        return (params, {"mu": mu, "nu": moments["nu"]}), optimum(grads)

    def optimum(grads: dict[str, jax.Array]) -> jax.Array:
        return sum(jnp.square(g).sum() for g in grads.values())

    x = jax.ShapeDtypeStruct((8, 64), jnp.float32)
    compiled = jax.jit(step, donate_argnums=(0,)).lower((params, moments), x).compile()
    memory = Memory.of(compiled)
    assert memory is not None
    parts = MemoryParts.of(memory, params, moments)
    found = compiled.memory_analysis()
    assert parts.parameters == 4 * (64 * 32 + 32)
    assert parts.optimizer == 2 * parts.parameters
    assert parts.gradients + parts.activations == found.temp_size_in_bytes
    assert parts.batch >= 4 * 8 * 64
    assert (
        parts.total
        == memory.total
        == (
            found.argument_size_in_bytes
            + found.output_size_in_bytes
            - found.alias_size_in_bytes
            + found.temp_size_in_bytes
        )
    )


def test_recomputing_saves_memory_on_paper() -> None:
    """The CPU compiler's own order of operations would hide what `train.remat` saves on a GPU."""

    def block(x: jax.Array, w: jax.Array) -> jax.Array:
        return x + jax.nn.gelu(x @ w, approximate=False) @ w.T

    def temporaries(block: Callable[[jax.Array, jax.Array], jax.Array]) -> int:
        def loss(ws: list[jax.Array], x: jax.Array) -> jax.Array:
            for w in ws:
                x = block(x, w)
            return jnp.square(x).sum()

        ws = [jax.ShapeDtypeStruct((32, 128), jnp.float32)] * 8
        lowered = jax.jit(jax.grad(loss)).lower(ws, jax.ShapeDtypeStruct((1024, 32), jnp.float32))
        return compiled(lowered).memory_analysis().temp_size_in_bytes

    assert temporaries(jax.checkpoint(block)) < 0.7 * temporaries(block)


def test_some_memory_is_left_alone() -> None:
    memory = Memory(temporary=70, argument=20, output=10, aliased=20)
    assert memory.total == 80
    assert memory.fits(100) and not memory.fits(99)


def test_bytes_of_abstract_and_real_trees_are_the_same() -> None:
    shape = jax.ShapeDtypeStruct((3, 5), jnp.bfloat16)
    assert tree_bytes([shape, jnp.zeros((3, 5), jnp.bfloat16), jnp.zeros(2)]) == 30 + 30 + 8


@pytest.mark.parametrize(
    ("points", "limit", "multiple", "rows"),
    [
        ({8: 1800, 16: 2600}, 4999, 1, 39),  # 1000 + 100 rows
        ({8: 1800, 16: 2600}, 5000, 1, 40),
        ({8: 1800, 16: 2600}, 5000, 16, 32),
        ({8: 1800, 16: 2600}, 1100, 1, 1),
        ({8: 1800, 16: 2600}, 1099, 1, 0),
        ({8: 1800, 16: 2600}, 900, 1, 0),
        ({8: 1800, 16: 1800}, 1799, 1, 0),  # memory that does not grow
        ({8: 1800, 16: 1800}, 1800, 1, LARGEST_BATCH),
        ({1: 0, 64: 6400, 128: 19200}, 25600, 1, 160),  # the two nearest to the limit
    ],
)
def test_largest_batch_on_a_line(
    points: dict[int, int], limit: int, multiple: int, rows: int
) -> None:
    assert largest_by_line(points, limit, multiple) == rows


def test_the_largest_batch_is_measured() -> None:
    calls: list[int] = []

    def measure(rows: int) -> int:
        calls.append(rows)
        return 1000 + 100 * rows

    points = {8: 1800, 16: 2600}
    assert largest_batch(points, 5000, 1, measure) == (40, True)
    assert calls == [40]
    assert points == {8: 1800, 16: 2600}
    assert largest_batch(points, 1050, 4, measure) == (0, True)
    assert calls == [40, 4]


def test_where_memory_bends_the_answer_still_fits() -> None:
    def bent(rows: int) -> int:
        return 1000 + 100 * rows + rows * rows

    points = {8: bent(8), 16: bent(16)}
    rows, measured = largest_batch(points, 20_000, 1, bent)
    assert measured
    assert bent(rows) <= 20_000
    assert rows > 0.8 * 96  # 96 rows are the most that fit
    unmeasured = largest_batch(points, 20_000, 1, lambda rows: None)
    assert unmeasured == (largest_by_line(points, 20_000, 1), False)


def test_the_share_is_that_of_jax() -> None:
    assert usable_share({}) == DEFAULT_SHARE == 0.75
    assert usable_share({"XLA_CLIENT_MEM_FRACTION": ".9"}) == 0.9
    assert usable_share({"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5"}) == 0.5
    for text in ("all", "0", "1.5", "nan"):
        with pytest.raises(InputError, match="XLA_CLIENT_MEM_FRACTION"):
            usable_share({"XLA_CLIENT_MEM_FRACTION": text})


def test_devices_hold_a_little_less_than_their_name_says() -> None:
    for device in DEVICES:
        promised = float(device.name.split()[-2])
        assert 0.9 < device.memory / (promised * GIB) < 1.0
    assert [device.bfloat16 for device in DEVICES] == [False, False, True, True]
