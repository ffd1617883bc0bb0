"""LSH attention of Reformer (Kitaev, Kaiser and Levskaya 2020, section 2), linear in memory.

Each hash round sorts the tokens by bucket, cuts the sorted sequence into chunks and lets a query
see the keys of its own chunk and of both neighbours. Where the paper leaves a choice:

- Buckets and chunks come from the number n of real tokens of each row, never from the padded
  length, so padding changes no result. The rotations differ by head and are shared by the rows.
- A key met in several rounds counts in the first of them. Rounds combined by logsumexp are then
  exact softmax attention over the union of the visible pairs.
- The first and the last chunk are no neighbours.
- Keys of their own have windows where the queries' buckets stand among the keys, see `lsh.windows`.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxattn.attention.inputs import Cost, Inputs
from jaxattn.attention.lsh.chunks import Pairs, Settings
from jaxattn.attention.lsh.hashing import Documents, Sorted, draw, factors, hash_rounds, sort_rounds
from jaxattn.attention.lsh.last_resort import itself, nearest_visible
from jaxattn.attention.lsh.rounds import Meetings, attend_in_windows
from jaxattn.attention.lsh.windows import by_bucket, of_shared
from jaxattn.config import LshOptions


def reformer_lsh(
    q: Float[Array, "B N H K"],
    k: Float[Array, "B N H K"] | None,
    v: Float[Array, "B N H V"],
    inputs: Inputs,
    options: LshOptions,
) -> Float[Array, "B N H V"]:
    """See `AttentionOp.apply`. Position i of q, k and v is the same token: padding is hidden as
    key and gives zeros as query. Each document is hashed, cut and attended as it would be alone,
    and one of at most `chunk_size` tokens gets exact attention.

    With keys of its own, a query whose window holds no key of its bucket sees the whole window (of
    its document); one that meets no visible key in any round attends to the last visible one of its
    document up to its own position, else to the first after it.

    k None shares queries and keys (section 2): keys are the queries with their length normalised to
    K^1/2, as in the paper's own code, so that logits q_i . q_j / |q_j| have the scale of exact
    attention's; and a token attends to itself only when it sees nothing else (in any round with
    `logsumexp`, in that round with `mean`, the plain average over the rounds in which it sees
    something).
    """
    batch, length, heads, width = q.shape
    mask, number, chunk_size = inputs.seen.attn_mask, inputs.seen.documents, options.chunk_size
    given, bias, table = inputs.seen.key_mask, inputs.bias, inputs.relative_bias
    real = jnp.ones((batch, length), bool) if given is None else given
    own = Documents.of(jnp.zeros((batch, length), jnp.int32) if number is None else number, real)
    # With a single chunk every round sees the same pairs.
    rounds = options.num_hashes if length > chunk_size else 1
    assert inputs.key is not None
    with jax.named_scope("rotations"):
        turned = draw(inputs.key, heads, rounds, width, length, chunk_size)

    def sorted_by_hash(x: Array) -> tuple[Array, Sorted]:
        x = jnp.where(real[..., None, None], x, 0)
        bucket = hash_rounds(x, real, own, turned, chunk_size)
        return bucket, sort_rounds(
            bucket,
            own,
            chunk_size=chunk_size,
            reach=max(options.chunks_before, options.chunks_after),
            mask_within_chunks=options.mask_within_chunks,
        )

    bucket_q, queries = sorted_by_hash(q)
    others = -(-length // chunk_size) - 1
    chunk, packed = min(chunk_size, length), number is not None
    before, after = min(options.chunks_before, others), min(options.chunks_after, others)
    sees = before + 1 + after
    if k is None:
        windows = of_shared(queries, real, chunk, before)
        last = itself(real, mask)
        if packed:
            # Chunks of a document do not begin where those of the sorted row begin.
            before, after = before + min(1, others), after + min(1, others)
    else:
        bucket_k, keys = sorted_by_hash(k)
        windows = by_bucket(
            (bucket_q, bucket_k), (queries, keys), own, real,
            chunk_size=chunk, chunks=(before, sees), packed=packed,
            mask_within_chunks=options.mask_within_chunks,
        )  # fmt: skip
        last = nearest_visible(real, number, mask, bias)
        window = min(max(3, sees) if packed else sees, windows.order_k.shape[-1] // chunk)
        # A window begins anywhere; one of whole documents has both neighbours of its chunk.
        before, after = 0, window - 1
    settings = Settings(
        chunk=chunk,
        before=before,
        after=after,
        sees=sees,
        shared=k is None,
        mean=options.combine == "mean",
        itself=k is None or (mask is None and bias is None),
    )
    pairs = Pairs(bias, None if table is None else table[None], mask)
    return attend_in_windows(settings, q, k, v, pairs, Meetings(real, windows, last))


def exact_up_to(options: LshOptions) -> int:
    """The longest text of which every query sees every key: one chunk, with keys of its own.

    Queries that serve as keys have their length taken out, and no token sees itself.
    """
    return 0 if options.shared_qk else options.chunk_size


def cost(options: LshOptions, length: int, head_width: int) -> Cost:
    """Of one head of one row, forward; a round gathers queries, windows of keys and values."""
    chunk = min(options.chunk_size, length)
    padded = -(-length // chunk) * chunk
    rounds = options.num_hashes if length > options.chunk_size else 1
    window = min(1 + options.chunks_before + options.chunks_after, padded // chunk) * chunk
    columns = sum(factors(-(-length // (2 * options.chunk_size))))
    hashes = 1 if options.shared_qk else 2
    flops = rounds * (2 * hashes * length * head_width * columns + 4 * padded * window * head_width)
    floats = rounds * length * head_width * (1 + 2 * window // chunk + 2)
    return Cost(flops, floats + 4 * length * head_width)
