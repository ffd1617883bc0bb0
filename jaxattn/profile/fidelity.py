"""How far an approximation is from exact attention on given queries, keys and values."""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxattn.attention import ATTENTIONS
from jaxattn.model.encoder import Encoder
from jaxattn.profile.variants import EXACT

TOP_KEYS = 8
"""Keys of largest exact weight that a query should not lose."""


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """Closeness to exact attention, as means over the real queries of all rows and heads.

    Attributes:
      output_error: |output - exact| / |exact|, Euclidean norms over everything.
      mass_kept: of an attention that skips pairs the exact weight of the pairs it visits; of the
        others the overlap of both weightings, sum of min(exact, estimated), which is 1 - their
        total variation distance. 1 is exact, in both cases.
      recall: share of the 8 keys of largest exact weight that are visited, or else that are among
        the 8 of largest estimated weight.
    """

    output_error: float
    mass_kept: float
    recall: float


@dataclasses.dataclass(frozen=True)
class LayerInputs:
    """Arguments of one attention layer, float32.

    Attributes:
      q, v: [B, N, H, K], rotary positions applied.
      k: the same; None where the queries are the keys.
      relative_bias: [H, 2 D + 1], or None.
      key_mask: bool [B, N], True = real token.
    """

    q: jax.Array
    k: jax.Array | None
    v: jax.Array
    relative_bias: jax.Array | None
    key_mask: jax.Array


def fidelity(
    attention: str, options: Any, layers: Sequence[LayerInputs], key: jax.Array
) -> list[Fidelity]:
    """Applies an attention to the inputs of each layer and compares it with exact attention.

    Where a layer has no keys of its own, its keys are the normalised queries, as in `reformer_lsh`;
    an attention that shares queries and keys is then compared with exact attention in which no
    token attends to itself, which is what it approximates.

    Args:
      attention: a name of the registry.
      options: its options; whether it shares queries and keys is decided by the layers.
      layers: of one encoder. Time and memory are quadratic in N.
      key: draws hashes or random features, the same in all layers.
    """
    op, length = ATTENTIONS[attention], layers[0].q.shape[1]

    @functools.cache
    def weights(shares: bool) -> tuple[Weights, Weights]:
        """Those of the attention, and the exact ones."""
        own = dataclasses.replace(options, shared_qk=shares) if op.shares_qk else options
        others = ~jnp.eye(length, dtype=bool)[None, None] if shares else None
        exact = functools.partial(ATTENTIONS[EXACT].apply, attn_mask=others, implementation="xla")
        return _weights(functools.partial(op.apply, key=key, options=own)), _weights(exact)

    found = []
    for layer in layers:
        shares = op.shares_qk and layer.k is None
        approximate, exact = weights(shares)
        whole = layer if layer.k is not None else dataclasses.replace(layer, k=_normalized(layer.q))
        weights_BNHM, exact_BNHM = approximate(layer if shares else whole), exact(whole)
        real_BN = np.asarray(layer.key_mask)
        # [real queries of all rows, H, ...]
        lost_nHV, exact_nHV = (
            np.asarray(jnp.einsum("BNHM,BMHV->BNHV", x, layer.v))[real_BN]
            for x in (weights_BNHM - exact_BNHM, exact_BNHM)
        )
        weights_nHM, exact_nHM = np.asarray(weights_BNHM)[real_BN], np.asarray(exact_BNHM)[real_BN]
        kept, recall = kept_and_recalled(weights_nHM, exact_nHM, op.skips_pairs)
        error = float(np.linalg.norm(lost_nHV) / np.linalg.norm(exact_nHV))
        found.append(Fidelity(error, kept, recall))
    return found


def kept_and_recalled(
    weights_nHM: np.ndarray, exact_nHM: np.ndarray, skips: bool
) -> tuple[float, float]:
    """`mass_kept` and `recall` of `Fidelity`."""
    if skips:
        visited_nHM = weights_nHM > 0
        kept_nH = np.where(visited_nHM, exact_nHM, 0.0).sum(-1)
    else:
        visited_nHM = _largest(weights_nHM)
        kept_nH = np.minimum(weights_nHM, exact_nHM).sum(-1)
    top_nHM = _largest(exact_nHM)
    recall = float((top_nHM & visited_nHM).sum() / max(top_nHM.sum(), 1))
    return float(kept_nH.mean()), recall


Weights = Callable[[LayerInputs], jax.Array]
"""Layer -> attention weights [B, N, H, M]."""


def _weights(apply: Callable[..., jax.Array]) -> Weights:
    """Layer -> attention weights [B, N, H, M]: the output for one-hot values.

    The output is linear in the values: for any others it is the weights times them.
    """

    @jax.jit
    def weights(x: dict[str, Any]) -> jax.Array:
        batch, length, heads, _ = x["v"].shape
        one_hot_BMHM = jnp.broadcast_to(jnp.eye(length)[:, None], (batch, length, heads, length))
        masks = {name: x[name] for name in ("key_mask", "relative_bias")}
        return apply(x["q"], x["k"], one_hot_BMHM, **masks)

    return lambda layer: weights(vars(layer))


def _largest(weights_nHM: np.ndarray) -> np.ndarray:
    """True at the `TOP_KEYS` largest positive weights of every row."""
    count = min(TOP_KEYS, weights_nHM.shape[-1])
    places = np.argpartition(weights_nHM, -count, axis=-1)[..., -count:]
    found = np.zeros(weights_nHM.shape, bool)
    np.put_along_axis(found, places, True, axis=-1)
    return found & (weights_nHM > 0)


def _normalized(x_BNHK: jax.Array) -> jax.Array:
    """x K^1/2 / |x|: the keys that `reformer_lsh` makes of queries."""
    return x_BNHK * jax.lax.rsqrt(jnp.square(x_BNHK).mean(-1, keepdims=True) + 1e-9)


def layer_inputs(
    encoder: Encoder, params: PyTree, ids: jax.Array, key_mask: jax.Array, key: jax.Array
) -> list[LayerInputs]:
    """The inputs of every attention layer, first to last, of one evaluation of the encoder.

    Args:
      encoder: as it was trained.
      params: of the encoder.
      ids: int32 [B, N].
      key_mask: bool [B, N].
      key: draws hashes and random features.
    """

    def evaluate(params: PyTree) -> PyTree:
        _, found = encoder.apply(
            {"params": params},
            ids,
            key_mask,
            deterministic=True,
            rngs={"attention": key},
            mutable=["attention_inputs"],
        )
        return found["attention_inputs"]

    blocks = jax.jit(evaluate)(params)
    layers = []
    for block in sorted(blocks, key=_number):
        # `sow` keeps a tuple of all that was written under one name.
        (arguments,) = blocks[block]["attention"]["arguments"]
        q, k, v, bias = arguments
        layers.append(LayerInputs(_f32(q), _maybe(k), _f32(v), _maybe(bias), key_mask))
    return layers


def _f32(x: jax.Array) -> jax.Array:
    return jnp.asarray(x, jnp.float32)


def _maybe(x: jax.Array | None) -> jax.Array | None:
    return None if x is None else _f32(x)


def _number(block: str) -> int:
    """blocks_12 -> 12."""
    return int(re.sub(r"\D", "", block))
