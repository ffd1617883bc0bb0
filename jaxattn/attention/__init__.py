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
                           relative_bias=None, segment_ids=None, key=None, **options)

with q [B, N, H, K], k [B, M, H, K], v [B, M, H, V] and returns [B, N, H, V] in q's type. Masks are
True where attention is allowed; a query that may attend to nothing gets zeros. What a variant
cannot honour it refuses with an InputError; nothing is ignored.

A new attention is
1. a folder here with `attention.py`: `function(q, k, v, inputs, options) -> [B, N, H, V]`, whose
   arguments are checked (`inputs.Inputs`), and `cost(options, N, K) -> Cost`;
2. its options in `config/attention.py`: a dataclass that inherits from `AttentionOptions`, a field
   of `AttentionConfig` of the attention's name, and that name in `ATTENTION_TYPES`;
3. a line of `ATTENTIONS` below, whose flags say which arguments it takes (see `op.AttentionOp`).

`tests/attention/test_conformance.py` then holds it to what every attention must do, for each of the
choices of its options `implementation` and `features`; `tests/config/test_configs.py` sees that
registry and configuration name the same attentions. Model, command line, plan, profile and report
know it from these lines.
"""

from typing import Any

from jaxattn.attention.favor import attention as favor
from jaxattn.attention.local import attention as local
from jaxattn.attention.lsh import attention as lsh
from jaxattn.attention.op import AttentionOp
from jaxattn.attention.sdpa import attention as sdpa
from jaxattn.config import FavorOptions, LocalOptions, LshOptions, SdpaOptions

__all__ = ["ATTENTIONS", "AttentionOp"]

_OPS: tuple[AttentionOp[Any], ...] = (
    AttentionOp(
        "sdpa",
        sdpa.sdpa,
        SdpaOptions,
        sdpa.cost,
        takes_padding=True,
        # The scores of one query are few: there is nothing to fuse or to compute in blocks.
        one_query={"implementation": "xla"},
    ),
    AttentionOp(
        "reformer_lsh",
        lsh.reformer_lsh,
        LshOptions,
        lsh.cost,
        shares_qk=True,
        self_attention=True,
        needs_key=True,
        exact_up_to=lsh.exact_up_to,
        skips_pairs=True,
        in_exchange={"shared_qk": False},
    ),
    AttentionOp(
        "performer_favor",
        favor.performer_favor,
        FavorOptions,
        favor.cost,
        needs_key=True,
        draws=favor.draw,
    ),
    AttentionOp(
        "local",
        local.local,
        LocalOptions,
        local.cost,
        self_attention=True,
        exact_up_to=local.exact_up_to,
        skips_pairs=True,
    ),
)

ATTENTIONS: dict[str, AttentionOp[Any]] = {op.name: op for op in _OPS}
