"""Closeness to exact attention: limits in which it is perfect, and numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import FavorOptions, LocalOptions, LshOptions, SdpaOptions
from jaxattn.profile.fidelity import LayerInputs, fidelity, kept_and_recalled

KEY = jax.random.key(3)
LENGTH = 48


def layer(*, shared: bool = False, scale: float = 1.0, real: int = 40) -> LayerInputs:
    """Two rows of normal q, k, v, the second of which has padding at its end."""
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, v = (scale * jax.random.normal(key, (2, LENGTH, 2, 16)) for key in keys)
    mask = jnp.arange(LENGTH)[None] < jnp.array([[LENGTH], [real]])
    return LayerInputs(q, None if shared else k, v, None, mask)


@pytest.mark.parametrize("shared", [False, True])
def test_exact_attention_is_exact(shared: bool) -> None:
    (found,) = fidelity("sdpa", SdpaOptions(implementation="xla"), [layer(shared=shared)], KEY)
    assert found.output_error < 1e-6
    assert found.mass_kept == pytest.approx(1.0, abs=1e-6) and found.recall == 1.0


@pytest.mark.parametrize("shared", [False, True])
def test_lsh_in_one_chunk_is_exact(shared: bool) -> None:
    """With shared queries and keys that is attention in which no token sees itself."""
    (found,) = fidelity("reformer_lsh", LshOptions(chunk_size=64), [layer(shared=shared)], KEY)
    assert found.output_error < 1e-5
    assert found.mass_kept == pytest.approx(1.0, abs=1e-6) and found.recall == 1.0


def test_lsh_keeps_more_with_more_rounds() -> None:
    (few,), (many,) = (
        fidelity("reformer_lsh", LshOptions(4, rounds), [layer()], KEY) for rounds in (1, 16)
    )
    assert 0.0 < few.mass_kept < many.mass_kept < 1.0
    assert 0.0 < few.recall < many.recall < 1.0
    assert few.output_error > many.output_error


def test_a_window_keeps_what_it_holds() -> None:
    (few,), (many,), (all_,) = (
        fidelity("local", LocalOptions(window), [layer()], KEY) for window in (4, 32, 96)
    )
    assert few.mass_kept < many.mass_kept < all_.mass_kept == pytest.approx(1.0, abs=1e-6)
    assert few.output_error > many.output_error > all_.output_error < 1e-5


def test_layers_with_and_without_keys_of_their_own_are_each_as_alone() -> None:
    """As in an encoder whose layers have different attentions."""
    layers = [layer(shared=True), layer(scale=0.5)]
    together = fidelity("reformer_lsh", LshOptions(8, 2), layers, KEY)
    assert together == [fidelity("reformer_lsh", LshOptions(8, 2), [x], KEY)[0] for x in layers]


def test_favor_is_closer_with_more_features_and_shorter_vectors() -> None:
    layers = [layer(scale=0.2), layer(scale=0.7)]
    few, many = (
        fidelity("performer_favor", FavorOptions(nb_features=count), layers, KEY)
        for count in (16, 128)
    )
    for found in (few, many):
        assert found[0].output_error < found[1].output_error
        assert found[0].mass_kept > found[1].mass_kept
    for less, more in zip(few, many, strict=True):
        assert less.output_error > more.output_error and less.mass_kept < more.mass_kept
    assert many[0].mass_kept > 0.97


@pytest.mark.parametrize(
    ("attention", "options"),
    [("reformer_lsh", LshOptions(8, 2)), ("performer_favor", FavorOptions(nb_features=16))],
)
def test_padding_changes_nothing(attention: str, options: LshOptions | FavorOptions) -> None:
    clean = layer()
    noise = jnp.where(clean.key_mask[..., None, None], 0.0, 7.0)
    dirty = LayerInputs(clean.q + noise, clean.k + noise, clean.v + noise, None, clean.key_mask)
    first, second = fidelity(attention, options, [clean, dirty], KEY)
    assert first == second


def test_mass_and_recall_by_hand() -> None:
    exact = np.zeros((1, 1, 12))
    exact[0, 0, :10] = [0.3, 0.2, 0.1, 0.1, 0.08, 0.07, 0.06, 0.05, 0.03, 0.01]
    visits = np.where(np.arange(12) % 2 == 0, 0.25, 0.0)[None, None]
    kept, recall = kept_and_recalled(visits, exact, skips=True)
    assert kept == pytest.approx(0.3 + 0.1 + 0.08 + 0.06 + 0.03) and recall == 4 / 8
    uniform = np.full((1, 1, 12), 1 / 12)
    kept, _ = kept_and_recalled(uniform, exact, skips=False)
    total_variation = 0.5 * np.abs(uniform - exact).sum()
    assert kept == pytest.approx(1 - total_variation)
    moved = np.roll(exact, 2, axis=-1)
    assert kept_and_recalled(moved, exact, skips=False)[1] == 6 / 8


def test_fewer_keys_than_the_top_eight() -> None:
    exact = np.array([[[0.5, 0.5, 0.0, 0.0]]])
    assert kept_and_recalled(exact, exact, skips=False) == (1.0, 1.0)
    assert kept_and_recalled(np.array([[[1.0, 0.0, 0.0, 0.0]]]), exact, skips=True) == (0.5, 0.5)
