"""LSH attention of Reformer (Kitaev, Kaiser and Levskaya 2020, section 2), linear in memory.

Each hash round sorts the tokens by bucket, cuts the sorted sequence into chunks and lets a query
see the keys of its own chunk and of both neighbours. Where the paper leaves a choice:

- Buckets and chunks come from the number n of real tokens of each row, never from the padded
  length, so padding changes no result. The rotations differ by head and are shared by the rows.
- A key met in several rounds counts in the first of them. Rounds combined by logsumexp are then
  exact softmax attention over the union of the visible pairs.
- The first and the last chunk are no neighbours.
- Keys of their own have windows where the queries' buckets stand among the keys, see `lsh_windows`.
"""

import jax
import jax.numpy as jnp
from jax import Array

from jaxattn.attention.inputs import Cost, check_inputs, check_key, documents, four_axes
from jaxattn.attention.lsh.hashing import Documents, Sorted, draw, factors, hash_rounds, sort_rounds
from jaxattn.attention.lsh.rounds import Seen, Settings, attend_in_windows
from jaxattn.attention.lsh.windows import by_bucket, itself, nearest_visible, of_shared
from jaxattn.config import LshOptions
from jaxattn.errors import InputError


def reformer_lsh(
    q: Array,
    k: Array | None,
    v: Array,
    *,
    key_mask: Array | None = None,
    attn_mask: Array | None = None,
    bias: Array | None = None,
    relative_bias: Array | None = None,
    segment_ids: Array | None = None,
    key: Array | None = None,
    chunk_size: int = LshOptions.chunk_size,
    num_hashes: int = LshOptions.num_hashes,
    mask_within_chunks: bool = LshOptions.mask_within_chunks,
    combine: str = LshOptions.combine,
    shared_qk: bool | None = None,
    chunks_before: int = LshOptions.chunks_before,
    chunks_after: int = LshOptions.chunks_after,
) -> Array:
    """Self-attention of q [B, N, H, K] over k [B, N, H, K], v [B, N, H, V]; [B, N, H, V].

    Position i of q, k and v is the same token: padding is hidden as key and gives zeros as query.

    Args:
        q: queries, any floating type; the result has their type. Logits and sums are float32.
        k: keys. A query whose window holds no key of its bucket sees the whole window (of its
            document); one that meets no visible key in any round attends to the last visible one
            of its document up to its own position, else to the first after it. None shares
            queries and keys (section 2): keys are the queries with their length normalised to
            K^1/2, as in the paper's own code, so that logits q_i . q_j / |q_j| have the scale of
            exact attention's; and a token attends to itself only when it sees nothing else (in
            any round with `logsumexp`, in that round with `mean`).
        v: values.
        key_mask: bool [B, N], True = real token.
        attn_mask: bool, broadcastable to [B, H, N, N], True = may attend.
        bias: added to the logits, broadcastable to [B, H, N, N].
        relative_bias: float [H, 2 D + 1]; (i, j) gets relative_bias[h, clip(j - i, -D, D) + D].
        segment_ids: int [B, N]; attention stays within runs of equal ids (packed documents), each
            of which is hashed, cut and attended as it would be alone.
        key: typed PRNG key of the rotations.
        chunk_size: positions of a chunk. Rows of at most this many tokens get exact attention.
        num_hashes: rounds R.
        mask_within_chunks: a query sees only the keys of its own bucket inside its window (with
            keys of their own: if there are any).
        combine: "logsumexp" (the paper) or "mean": the plain average over the rounds in which the
            query sees something.
        shared_qk: None: queries serve as keys if k is None. True or False: checked against k.
        chunks_before: preceding chunks that a query sees beside its own.
        chunks_after: following chunks.

    Raises:
        InputError: arguments that do not fit together, options out of range, no key.
    """
    check_inputs(q, k, v, key_mask=key_mask, relative_bias=relative_bias, segment_ids=segment_ids)
    key = check_key(key, "reformer_lsh")
    LshOptions(
        chunk_size=chunk_size,
        num_hashes=num_hashes,
        mask_within_chunks=mask_within_chunks,
        combine=combine,
        chunks_before=chunks_before,
        chunks_after=chunks_after,
    )
    if shared_qk is not None and shared_qk != (k is None):
        raise InputError(
            f"reformer_lsh: shared_qk is {shared_qk}, but k is {'None' if k is None else 'given'}; "
            "queries serve as keys when k is None"
        )
    batch, length, heads, width = q.shape
    if v.shape[1] != length:
        raise InputError(
            f"reformer_lsh is self-attention, found {length} queries and {v.shape[1]} keys"
        )
    mask, bias = four_axes("attn_mask", attn_mask, q, v), four_axes("bias", bias, q, v)
    real = jnp.ones((batch, length), bool) if key_mask is None else jnp.asarray(key_mask)
    number = documents(segment_ids)
    own = Documents.of(jnp.zeros((batch, length), jnp.int32) if number is None else number, real)
    # With a single chunk every round sees the same pairs.
    rounds = num_hashes if length > chunk_size else 1
    with jax.named_scope("rotations"):
        turned = draw(key, heads, rounds, width, length, chunk_size)

    def sorted_by_hash(x: Array) -> tuple[Array, Sorted]:
        x = jnp.where(real[..., None, None], x, 0)
        bucket = hash_rounds(x, real, own, turned, chunk_size)
        return bucket, sort_rounds(
            bucket,
            own,
            chunk_size=chunk_size,
            reach=max(chunks_before, chunks_after),
            mask_within_chunks=mask_within_chunks,
        )

    bucket_q, queries = sorted_by_hash(q)
    others = -(-length // chunk_size) - 1
    chunk, packed = min(chunk_size, length), number is not None
    before, after = min(chunks_before, others), min(chunks_after, others)
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
            mask_within_chunks=mask_within_chunks,
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
        mean=combine == "mean",
        itself=k is None or (mask is None and bias is None),
    )
    relative = None if relative_bias is None else jnp.asarray(relative_bias)[None]
    return attend_in_windows(settings, q, k, v, bias, relative, Seen(real, windows, last, mask))


def cost(
    length: int,
    head_width: int,
    *,
    chunk_size: int = LshOptions.chunk_size,
    num_hashes: int = LshOptions.num_hashes,
    mask_within_chunks: bool = LshOptions.mask_within_chunks,
    combine: str = LshOptions.combine,
    shared_qk: bool | None = None,
    chunks_before: int = LshOptions.chunks_before,
    chunks_after: int = LshOptions.chunks_after,
) -> Cost:
    """Of one head of one row, forward; a round gathers queries, windows of keys and values."""
    del mask_within_chunks, combine
    chunk = min(chunk_size, length)
    padded = -(-length // chunk) * chunk
    rounds = num_hashes if length > chunk_size else 1
    window = min(1 + chunks_before + chunks_after, padded // chunk) * chunk
    columns = sum(factors(-(-length // (2 * chunk_size))))
    hashes = 2 if shared_qk is False else 1
    flops = rounds * (2 * hashes * length * head_width * columns + 4 * padded * window * head_width)
    floats = rounds * length * head_width * (1 + 2 * window // chunk + 2)
    return Cost(flops, floats + 4 * length * head_width)
