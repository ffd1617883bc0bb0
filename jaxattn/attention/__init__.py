"""Attention as pure functions of arrays, and the registry of the variants.

Letters of array axes, here and in every suffix such as q_BNHK (capitals; a lower-case letter is
explained where it occurs):
    B  batch rows                    R  hash rounds
    N  queries (or tokens)           J  columns of a rotation: pairs of opposite buckets
    M  keys                          C  chunks
    H  heads                         L  positions of one chunk
    K  width of queries and keys     W  positions of a window: a chunk and both its neighbours
    V  width of values               F  random features
    D  clipping distance of relative_bias; its last axis T has 2 D + 1 entries

Every variant is called as

    ATTENTIONS[name].apply(q, k, v, *, key_mask=None, attn_mask=None, bias=None,
                           relative_bias=None, key=None, **options)

with q [B, N, H, K], k [B, M, H, K], v [B, M, H, V] and returns [B, N, H, V] in q's type. Masks are
True where attention is allowed; a query that may attend to nothing gets zeros. What a variant
cannot honour it refuses with an InputError; nothing is ignored.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jax import Array

from jaxattn.attention.favor import performer_favor
from jaxattn.attention.inputs import Cost
from jaxattn.attention.lsh import reformer_lsh
from jaxattn.attention.sdpa import sdpa
from jaxattn.config import FavorOptions, LshOptions, SdpaOptions


@dataclasses.dataclass(frozen=True)
class AttentionOp:
    """One attention: the function, its options and what a caller must know of it.

    apply: see the module's docstring.
    options: the options dataclass; `options().keywords(K)` are keyword arguments of `apply`.
    cost: (N, K, **options) -> FLOPs of the forward pass, per head and batch row; a multiply-add
        counts as two.
    shares_qk: queries may serve as keys: `apply` takes k=None.
    needs_key: `apply` needs a typed PRNG key.
    drops_weights: `apply` takes dropout_rate and dropout_key.
    draw: (key, K, **options) -> what `apply` takes as `drawn` in place of `key`, for callers that
        use one key several times; None: nothing costly is drawn.
    takes_padding: `apply` takes right_padded=True, the promise that padding stands on the right.
    one_query: options with which a single query of a row gets what it gets among all of them;
        None: what a query gets depends on the others.
    """

    apply: Callable[..., Array]
    options: type[Any]
    cost: Callable[..., Cost]
    shares_qk: bool = False
    needs_key: bool = False
    drops_weights: bool = False
    draw: Callable[..., Array] | None = None
    takes_padding: bool = False
    one_query: Mapping[str, Any] | None = None


ATTENTIONS: dict[str, AttentionOp] = {
    "sdpa": AttentionOp(
        sdpa.sdpa,
        SdpaOptions,
        sdpa.cost,
        drops_weights=True,
        takes_padding=True,
        # The scores of one query are few: there is nothing to fuse or to compute in blocks.
        one_query={"implementation": "xla"},
    ),
    "reformer_lsh": AttentionOp(
        reformer_lsh.reformer_lsh, LshOptions, reformer_lsh.cost, shares_qk=True, needs_key=True
    ),
    "performer_favor": AttentionOp(
        performer_favor.performer_favor,
        FavorOptions,
        performer_favor.cost,
        needs_key=True,
        draw=performer_favor.draw,
    ),
}
