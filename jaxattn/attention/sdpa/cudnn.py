"""Exact attention by cuDNN's fused kernels, through `jax.nn.dot_product_attention`."""

import os
import re

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jaxattn.attention import probes
from jaxattn.attention.inputs import hide

_DETERMINISTIC = re.compile(
    r"--xla_gpu_(deterministic_ops|exclude_nondeterministic_ops)(=(true|1))?(\s|$)", re.IGNORECASE
)


def cudnn(
    q: Array, k: Array, v: Array, key_mask: Array | None, right_padded: bool = False
) -> Array:
    """Attention of q [B, N, H, K] over k, v [B, M, H, K]; key_mask bool [B, M].

    The kernel takes the number of real keys, not a mask (a mask it would expand to a bias of
    N x M numbers). With `right_padded` that number says which they are, and padding is no query
    either: it gets zeros. Otherwise real keys are moved to the front, whose order softmax does not
    see.
    """
    batch, length = q.shape[:2]
    everything_B = jnp.full((batch,), length, jnp.int32)
    if key_mask is None:
        return _of_lengths(q, k, v, everything_B, jnp.full_like(everything_B, k.shape[1]))
    real_B = key_mask.sum(1, dtype=jnp.int32)
    if right_padded:
        # What padding holds, and what the kernel leaves there, must touch nothing.
        q, k, v = (hide(x, key_mask) for x in (q, k, v))
        return hide(_of_lengths(q, k, v, real_B, real_B), key_mask)
    front_BM = jnp.argsort(~key_mask, axis=1, stable=True)[..., None, None]
    k, v = (jnp.take_along_axis(hide(x, key_mask), front_BM, axis=1) for x in (k, v))
    # A query of NaN would make the gradients of all keys NaN, even where nothing comes back to it.
    sound_BNH1 = jnp.isfinite(q).all(-1, keepdims=True)
    out = _of_lengths(jnp.where(sound_BNH1, q, 0), k, v, everything_B, real_B)
    out = jnp.where(sound_BNH1, out, jnp.nan)
    return jnp.where((real_B > 0)[:, None, None, None], out, 0)


def _of_lengths(q: Array, k: Array, v: Array, queries_B: Array, keys_B: Array) -> Array:
    """Of the first queries and keys of each row; a row without any takes one all the same."""
    length = q.shape[1]
    out = jax.nn.dot_product_attention(
        *(_even(x) for x in (q, k, v)),
        query_seq_lengths=jnp.maximum(queries_B, 1),
        key_value_seq_lengths=jnp.maximum(keys_B, 1),
        implementation="cudnn",
    )
    return out[:, :length]


def _even(x_BNHK: Array) -> Array:
    """JAX refuses odd lengths where there are gradients."""
    more = x_BNHK.shape[1] % 2
    return jnp.pad(x_BNHK, ((0, 0), (0, more), (0, 0), (0, 0))) if more else x_BNHK


def why_not_cudnn(dtype: DTypeLike, widths: tuple[int, int], plain: bool) -> str | None:
    """Why cuDNN cannot serve on the default device; None if it can.

    Several processes must build the same program. A trial may fail in one of them alone, and
    asking the others would wait for ever where one of them traces and the others do not. So none
    is made: what decides is the kind of all GPUs, which every process knows.
    """
    if jax.default_backend() != "gpu":
        return "the device is no CUDA GPU"
    if not plain:
        return "masks, biases, segments and dropout are left to the other implementations"
    if dtype not in (jnp.bfloat16, jnp.float16):
        return f"it takes bfloat16 and float16, not {jnp.dtype(dtype).name}"
    if widths[0] != widths[1] or widths[0] % 8 or widths[0] > 128:
        return f"it takes equal head widths that are multiples of 8 up to 128, not {widths}"
    if flag := _DETERMINISTIC.search(os.environ.get("XLA_FLAGS", "")):
        # Its step ended in "raw_hash_map<>::at" on an H200 (jax 0.11.2): XLA looks the compiled
        # kernel up under another key than it has stored it (openxla/xla pull request 46500).
        return f"XLA does not find its kernels again with {flag.group().strip()}"
    if jax.process_count() > 1:
        known = all(probes.is_recent(gpu) for gpu in jax.devices())
        return None if known else "not all GPUs are of compute capability 8.0 or more"
    return _probe(jnp.dtype(dtype).name, widths[0])


def _trial(dtype: str, width: int) -> None:
    """Runs the kernel and its gradient once on a tiny input."""
    x = jnp.ones((1, 64, 1, width), dtype)
    mask = jnp.ones((1, 64), bool)

    def loss(x: Array) -> Array:
        return cudnn(x, x, x, mask, right_padded=True).astype(jnp.float32).sum()

    jax.block_until_ready(jax.jit(jax.grad(loss))(x))


_probe = probes.Probe(_trial)
