"""Windowed attention: the exact one with everything further away hidden."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.attention import ATTENTIONS, blocks
from jaxattn.attention.local import windows
from jaxattn.config import LocalOptions
from jaxattn.errors import InputError

BATCH, HEADS, WIDTH, VALUES = 2, 2, 8, 6
LOCAL, SDPA = ATTENTIONS["local"], ATTENTIONS["sdpa"]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Several chunks, blocks of chunks and groups of rows in short inputs."""
    monkeypatch.setattr(windows, "_CHUNK", 4)
    monkeypatch.setattr(blocks, "_CPU_NUMBERS", 700)
    yield


def arrays(length: int, dtype: Any = np.float32, seed: int = 0) -> tuple[np.ndarray, ...]:
    """q, k, v and a cotangent."""
    rng = np.random.default_rng(seed)
    widths = (WIDTH, WIDTH, VALUES, VALUES)
    return tuple(rng.normal(size=(BATCH, length, HEADS, n)).astype(dtype) for n in widths)


def near(length: int, window: int) -> np.ndarray:
    place = np.arange(length)
    return (np.abs(place[:, None] - place) <= window // 2)[None, None]


def reference(q: np.ndarray, k: np.ndarray, v: np.ndarray, window: int, **given: Any) -> np.ndarray:
    """The definition, in float64 with all scores at once."""
    q, k, v = (np.float64(x) for x in (q, k, v))
    length = q.shape[1]
    logits = np.einsum("bnhk,bmhk->bhnm", q, k) / np.sqrt(q.shape[-1])
    logits = logits + given.get("bias", 0.0)
    seen = near(length, window) & given.get("attn_mask", True)
    if "key_mask" in given:
        seen = seen & given["key_mask"][:, None, None]
    weights = np.exp(logits - logits.max(-1, keepdims=True)) * seen
    total = weights.sum(-1, keepdims=True)
    return np.einsum("bhnm,bmhv->bnhv", weights / np.where(total == 0, 1, total), v)


@pytest.mark.parametrize(
    "length, window",
    [(1, 2), (5, 128), (64, 128), (65, 128), (129, 128), (193, 128), (700, 128), (300, 32),
     (300, 2), (500, 200), (1500, 1024)],
)  # fmt: skip
def test_it_is_the_softmax_over_a_window(length: int, window: int) -> None:
    q, k, v, _ = arrays(length)
    real = np.arange(length) < np.array([length, (2 * length + 2) // 3])[:, None]
    out = jax.jit(functools.partial(LOCAL.apply, window=window))(q, k, v, key_mask=real)
    wanted = reference(q, k, v, window, key_mask=real)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-5)


def given(length: int) -> dict[str, dict[str, np.ndarray]]:
    """Arguments by what they are: biases have gradients, masks have none."""
    rng = np.random.default_rng(3)
    real = np.arange(length) < np.array([length - 3, length // 2])[:, None]

    def bias(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    documents = np.repeat([[1, 5, 1]], [length // 3, length // 3, length - 2 * (length // 3)], 1)
    return {
        "key mask": {"key_mask": real},
        "mask of pairs": {"attn_mask": rng.random((BATCH, 1, length, length)) < 0.5},
        "mask of keys": {"attn_mask": rng.random((1, HEADS, 1, length)) < 0.5, "key_mask": real},
        "mask of queries": {"attn_mask": rng.random((BATCH, 1, length, 1)) < 0.5},
        "bias of pairs": {"bias": bias(BATCH, HEADS, length, length)},
        "shared bias": {"bias": bias(length, length), "key_mask": real},
        "bias of keys": {"bias": bias(BATCH, 1, 1, length)},
        "bias of queries": {"bias": bias(HEADS, length, 1)},
        "distances": {"relative_bias": bias(HEADS, 13), "key_mask": real},
        "few distances": {"relative_bias": bias(HEADS, 5), "bias": bias(HEADS, 1, length)},
        "documents": {"segment_ids": np.repeat(documents, BATCH, 0), "key_mask": real},
        "all": {
            "segment_ids": np.repeat(documents, BATCH, 0), "key_mask": real,
            "relative_bias": bias(HEADS, 31), "bias": bias(BATCH, 1, length, length),
            "attn_mask": rng.random((length, length)) < 0.8,
        },
    }  # fmt: skip


Function = Callable[..., tuple[jax.Array, Any]]


def with_gradients(call: Callable[..., jax.Array], masks: dict[str, np.ndarray]) -> Function:
    @jax.jit
    def run(q: Any, k: Any, v: Any, do: Any, biases: Any) -> tuple[jax.Array, Any]:
        def own(q: Any, k: Any, v: Any, biases: Any) -> jax.Array:
            return call(q, k, v, **biases, **masks)

        out, pull = jax.vjp(own, q, k, v, biases)
        return out, pull(do)

    return run


@pytest.mark.parametrize("kind", given(40))
def test_it_is_sdpa_with_a_mask(small_blocks: None, kind: str) -> None:
    """Outputs and all gradients, under every argument, in float64."""
    length, window = ((40, 10), (37, 6), (40, 22))[list(given(40)).index(kind) % 3]
    own = given(length)[kind]
    biases = {name: np.float64(x) for name, x in own.items() if "bias" in name}
    masks = {name: x for name, x in own.items() if "bias" not in name}
    pairs = near(length, window) & masks.get("attn_mask", True)
    exact_masks = masks | {"attn_mask": np.broadcast_to(pairs, np.broadcast_shapes(pairs.shape))}
    with jax.enable_x64(True):
        inputs = arrays(length, np.float64)
        found = with_gradients(functools.partial(LOCAL.apply, window=window), masks)
        exact = with_gradients(functools.partial(SDPA.apply, implementation="xla"), exact_masks)
        pair = found(*inputs, biases), exact(*inputs, biases)
    for ours, theirs in zip(*map(jax.tree.leaves, pair), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_weights_are_dropped_in_place(small_blocks: None) -> None:
    """A mean of 1 over draws, the same weights forwards and backwards, the same ones by one key."""
    length, rate = 40, 0.4
    q, k, v, do = arrays(length)
    one_hot = np.broadcast_to(np.eye(length, dtype=np.float32)[:, None], (2, length, 2, length))
    call = functools.partial(LOCAL.apply, window=10)

    @jax.jit
    def weights(key: jax.Array) -> jax.Array:
        return call(q, k, one_hot, dropout_rate=rate, dropout_key=key)

    whole = np.asarray(jax.jit(call)(q, k, one_hot))
    dropped = np.asarray(weights(jax.random.key(1)))
    held = whole > 1e-6
    kept = dropped[held] > 0
    assert abs(kept.mean() - (1 - rate)) < 0.03
    np.testing.assert_allclose(dropped[held][kept], whole[held][kept] / (1 - rate), rtol=1e-5)
    np.testing.assert_array_equal(dropped, weights(jax.random.key(1)))
    assert (dropped != weights(jax.random.key(2))).any()

    # Linear in the values: its gradient by them is that of the same weights.
    def by_values(v: jax.Array) -> jax.Array:
        return call(q, k, v, dropout_rate=rate, dropout_key=jax.random.key(1))

    out, pull = jax.vjp(by_values, jnp.asarray(v))
    np.testing.assert_allclose(out, np.einsum("bnhm,bmhv->bnhv", dropped, v), atol=1e-5)
    np.testing.assert_allclose(pull(do)[0], np.einsum("bnhm,bnhv->bmhv", dropped, do), atol=1e-5)
    step = 1e-3
    direction = arrays(length, seed=9)[0]

    def loss(t: float) -> float:
        moved = call(q + t * direction, k, v, dropout_rate=rate, dropout_key=jax.random.key(1))
        return float((moved * do).sum())

    def by_queries(q: jax.Array) -> jax.Array:
        return call(q, k, v, dropout_rate=rate, dropout_key=jax.random.key(1))

    slope = (jax.vjp(by_queries, jnp.asarray(q))[1](do)[0] * direction).sum()
    assert abs((loss(step) - loss(-step)) / (2 * step) - slope) < 1e-2 * abs(slope)


@pytest.mark.parametrize("window", [3, 0, 1])
def test_windows_are_even(window: int) -> None:
    with pytest.raises(InputError, match=r"attention.local.window: found \d, allowed"):
        LocalOptions(window=window)


def test_its_cost_is_the_counted_one() -> None:
    """Chunks of 64 queries meet 192 keys, whose windows are copied; 100 tokens are one chunk."""
    long, short = (LOCAL.cost(LocalOptions(), length, 8) for length in (640, 100))
    assert long.flops == 4 * 640 * 192 * 8
    assert long.floats == 4 * 640 * 8 + 2 * 2 * 640 * 8
    assert short == (4 * 100 * 100 * 8, 4 * 100 * 8)


def test_it_is_exact_up_to_half_a_window() -> None:
    assert LOCAL.exact_up_to is not None and LOCAL.exact_up_to(LocalOptions(window=10)) == 6
    q, k, v, _ = arrays(7)
    for length, same in ((6, True), (7, False)):
        parts = [x[:, :length] for x in (q, k, v)]
        difference = np.abs(LOCAL.apply(*parts, window=10) - SDPA.apply(*parts)).max()
        assert (difference < 1e-6) == same


@pytest.mark.parametrize("reach", [1, 5, 16, 64, 100, 128, 500, 2048, 8192])
def test_windows_are_cut_into_few_chunks(reach: int) -> None:
    """Two and a quarter to three times the reach are computed, or a window fits the input."""
    chunk, beside = windows.cut(10**6, reach)
    assert beside * chunk >= reach and beside <= 4
    assert (1 + 2 * beside) * chunk <= max(3 * reach + 8, 48)
    short = min(2 * chunk, 512)
    assert windows.cut(short, reach) == (short, 0)
    # A window nearly as long as a long input reaches no further than its chunks.
    chunk, beside = windows.cut(1500, reach)
    assert chunk <= 1500 and (beside + 1) * chunk < 1500 + 2 * chunk


def compiled_text(length: int, dtype: Any) -> tuple[str, str]:
    """The program of output and gradients as it is written, and as it is compiled."""
    shape = jax.ShapeDtypeStruct((1, length, 8, 64), dtype)

    def both(q: jax.Array, k: jax.Array, v: jax.Array, do: jax.Array) -> Any:
        out, pull = jax.vjp(functools.partial(LOCAL.apply, window=128), q, k, v)
        return out, pull(do)

    lowered = jax.jit(both).lower(shape, shape, shape, shape)
    return lowered.as_text(), lowered.compile().as_text()


def test_an_accelerator_gets_no_loop_and_products_of_its_type(
    monkeypatch: pytest.MonkeyPatch, optimised: None
) -> None:
    """At 16,384 tokens all chunks are computed at once, where so many numbers are wanted."""
    assert " while(" in compiled_text(16_384, jnp.float32)[1]
    monkeypatch.setattr(blocks, "_CPU_NUMBERS", blocks._ACCELERATOR_NUMBERS)
    written, compiled = compiled_text(16_384, jnp.bfloat16)
    assert " while(" not in compiled
    products = [line for line in written.splitlines() if "stablehlo.dot_general" in line]
    of_pairs = [line for line in products if "x192x64x" in line]
    assert len(of_pairs) == 7
    for line in of_pairs:
        operands = line.split(" : ")[-1].split("->")[0]
        assert "f32" not in operands and "bf16" in operands
