"""One attention against its reference: errors, what padding does, inputs of large values."""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu import references
from benchmarks.gpu.device_time import compile_for_device
from benchmarks.gpu.record import Part
from jaxattn.attention import ATTENTIONS
from jaxattn.attention.favor.features import draw_projections
from jaxattn.attention.lsh import hashing

TOLERANCE = {"float32": 3e-5, "float16": 5e-3, "bfloat16": 2.5e-2}
"""Relative error of the output and of each gradient."""
FAVOR_FACTOR = 2
"""FAVOR+ multiplies exponentials of rounded products: its tolerance is larger."""
MOVED = 2e-3
"""Share of queries that a hash on the edge of two buckets may send elsewhere than in float64."""
KEY = jax.random.key(7)

Arrays = Sequence[jax.Array]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of the inputs, [batch, length, heads, width], and of LSH."""

    batch: int
    length: int
    heads: int
    width: int
    chunk_size: int
    rounds: int


@dataclasses.dataclass(frozen=True)
class Case:
    """One program: an attention with options, in one type."""

    attention: str
    dtype: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Told in the results."""
        return " ".join([self.attention, self.dtype, *(f"{k}={v}" for k, v in self.options)])

    @property
    def right_padded(self) -> bool:
        """Whether what padding gets as a query is not defined."""
        return bool(dict(self.options).get("right_padded"))

    def inputs(self, sizes: "Sizes", mask: np.ndarray) -> list[jax.Array]:
        """Random inputs; nothing asks for the gradient of what is not defined."""
        q, k, v, cotangent = random_inputs(sizes, self.dtype)
        if self.right_padded:
            cotangent = jnp.where(mask[..., None, None], cotangent, 0)
        return [q, k, v, cotangent]


def random_inputs(sizes: Sizes, dtype: str, std: float = 1.0) -> list[jax.Array]:
    """q, k, v and the cotangent; q and k of this standard deviation."""
    rng = np.random.default_rng(0)
    shape = (sizes.batch, sizes.length, sizes.heads, sizes.width)
    return [jnp.asarray(rng.normal(size=shape) * (std if i < 2 else 1), dtype) for i in range(4)]


def masks_of(sizes: Sizes) -> dict[str, np.ndarray]:
    """Name -> key mask [B, N]."""
    shortest = np.full(sizes.batch, sizes.length)
    shortest[1:] = max(sizes.length // 3, 1)
    holes = np.random.default_rng(5).random((sizes.batch, sizes.length)) < 0.7
    empty = holes.copy()
    empty[-1] = False
    prefix = np.arange(sizes.length) < shortest[:, None]
    return {"prefix": prefix, "holes": holes, "one row empty": empty}


def _reference(
    attention: str, options: dict[str, Any], inputs: Arrays, mask: np.ndarray, sizes: Sizes
) -> references.Gradients:
    """Output and gradients in float64; the package draws the random numbers."""
    q, k, v, cotangent = (np.asarray(x, np.float64) for x in inputs)
    if attention == "sdpa":
        return references.softmax(q, k, v, cotangent, mask[:, None, None])
    if attention == "local":
        place = np.arange(sizes.length)
        near = np.abs(place[:, None] - place) <= options["window"] // 2
        return references.softmax(q, k, v, cotangent, mask[:, None, None] & near)
    if attention == "performer_favor":
        draw = jax.jit(draw_projections, static_argnums=(1, 2, 3))
        projections = np.asarray(draw(KEY, options["nb_features"], sizes.width, True))
        return references.favor(q, k, v, cotangent, projections, mask)
    chunk_size, rounds = options["chunk_size"], options["num_hashes"]
    rotations = jax.jit(hashing.draw, static_argnums=(1, 2, 3, 4, 5))(
        KEY, sizes.heads, rounds, sizes.width, sizes.length, chunk_size
    )
    hashed, within = np.asarray(inputs[0], np.float32), options["mask_within_chunks"]
    met = references.lsh_meetings(hashed, mask, np.asarray(rotations), chunk_size, within)
    return references.lsh(q, v, cotangent, met, mask)


class Checks:
    """Compiles every case once, and compares."""

    def __init__(self, part: Part, sizes: Sizes) -> None:
        """Compiles nothing yet."""
        self.part, self.sizes, self.masks = part, sizes, masks_of(sizes)
        self.wrong: list[str] = []
        self._programs: dict[tuple[Case, Sizes], jax.stages.Compiled] = {}
        self._references: dict[Any, references.Gradients] = {}
        self._slowest = 0.0

    def time_for(self, case: Case, sizes: Sizes | None = None) -> bool:
        """Whether there is time to compile a case and to compare its results."""
        known = (case, sizes or self.sizes) in self._programs
        return self.part.left() > 1.5 + (0 if known else self._slowest)

    def found(
        self, case: Case, inputs: Arrays, mask: Any, sizes: Sizes | None = None
    ) -> references.Gradients:
        """Output and gradients by the package; k is None where queries serve as keys."""
        op = ATTENTIONS[case.attention]
        extra: dict[str, Any] = {"key": KEY} if op.needs_key else {}

        def run(q: Any, k: Any, v: Any, cotangent: Any, mask: Any) -> Any:
            def call(q: Any, k: Any, v: Any) -> jax.Array:
                return op.apply(q, k, v, key_mask=mask, **extra, **dict(case.options))

            out, pull = jax.vjp(call, q, k, v)
            return out, *pull(cotangent)

        q, k, v, cotangent = inputs
        arguments = (q, None if op.shares_qk else k, v, cotangent, jnp.asarray(mask))
        place = case, sizes or self.sizes
        if place not in self._programs:
            began = time.perf_counter()
            lowered = jax.jit(run).lower(*arguments)
            self._programs[place], _ = compile_for_device(lowered)
            self._slowest = max(self._slowest, time.perf_counter() - began)
        return references.Gradients(*self._programs[place](*arguments))

    def wanted(
        self, case: Case, mask_name: str, sizes: Sizes | None = None
    ) -> references.Gradients:
        """The same by the reference, which is computed once for all implementations."""
        sizes = sizes or self.sizes
        options = {k: v for k, v in case.options if k != "implementation"}
        mask = masks_of(sizes)[mask_name]
        place = case.attention, case.dtype, mask_name, sizes, *options.items()
        if place not in self._references:
            inputs = case.inputs(sizes, mask)
            self._references[place] = _reference(case.attention, options, inputs, mask, sizes)
        return self._references[place]

    def compare(self, case: Case, mask_name: str, sizes: Sizes | None = None) -> None:
        """Notes the relative errors of a case under one mask."""
        mask = (masks_of(sizes) if sizes else self.masks)[mask_name]
        found = self.found(case, case.inputs(sizes or self.sizes, mask), mask, sizes)
        wanted = self.wanted(case, mask_name, sizes)
        if case.right_padded:
            real = mask[..., None, None]
            found, wanted = (x._replace(out=np.where(real, x.out, 0)) for x in (found, wanted))
        errors = [
            references.relative_error(ours, theirs)
            for ours, theirs in zip(found, wanted, strict=True)
            if theirs is not None
        ]
        allowed = TOLERANCE[case.dtype]
        allowed *= FAVOR_FACTOR if case.attention == "performer_favor" else 1
        right, more = max(errors) < allowed, ""
        if case.attention == "reformer_lsh":
            away = np.linalg.norm(np.asarray(found.out, np.float64) - wanted.out, axis=-1)
            away /= np.linalg.norm(wanted.out, axis=-1) + 1e-6
            moved = float((away > 10 * allowed).mean())
            more = f", queries in other buckets {moved:.1e}"
            right = right or (0 < moved < MOVED and math.isfinite(max(errors)))
        at = f"{case.name}, {mask_name}" + (f", {sizes.length} x {sizes.width}" if sizes else "")
        self.verdict(at, right, " ".join(f"{error:.1e}" for error in errors) + more)

    def verdict(self, name: str, right: bool, text: str) -> None:
        """Notes a result, and counts it if it is wrong."""
        if not right:
            self.wrong.append(name)
        self.part.note(name, f"{'ok' if right else 'WRONG'} {text}")

    def padding(self, case: Case) -> None:
        """What padding holds changes nothing; its gradient is 0; equal runs have equal bits."""
        mask = self.masks["prefix"]
        real = mask[..., None, None]
        q, k, v, cotangent = (np.asarray(x) for x in random_inputs(self.sizes, case.dtype))
        cotangent = np.where(real, cotangent, 0).astype(q.dtype)

        def found(padding: float | None) -> list[np.ndarray]:
            inputs = [q, k, v]
            if padding is not None:
                inputs = [np.where(real, x, padding).astype(x.dtype) for x in inputs]
            arrays = [jnp.asarray(x) for x in (*inputs, cotangent)]
            results = self.found(case, arrays, mask)
            return [np.asarray(x, np.float32) for x in results if x is not None]

        plain, again = found(None), found(None)
        same = all((a == b).all() for a, b in zip(plain, again, strict=True))
        texts, right = [f"same bits again: {same}"], True
        for padding in (1e4, math.nan):
            error = max(
                references.relative_error(np.where(real, a, 0), np.where(real, b, 0))
                for a, b in zip(found(padding), plain, strict=True)
            )
            texts.append(f"with {padding:g} in padding {error:.1e}")
            right &= error < TOLERANCE[case.dtype]
        gradient = max(float(np.abs(np.where(real, 0, x)).max()) for x in plain[1:])
        texts.append(f"its gradient {gradient:g}")
        self.verdict(f"{case.name}, padding", right and gradient == 0, ", ".join(texts))

    def extreme(self, case: Case, std: float) -> None:
        """Queries and keys of such a standard deviation: what comes out has to be finite."""
        inputs, mask = random_inputs(self.sizes, case.dtype, std), self.masks["prefix"]
        found = [x for x in self.found(case, inputs, mask) if x is not None]
        finite = all(np.isfinite(np.asarray(x, np.float32)).all() for x in found)
        self.verdict(f"{case.name}, std {std:g}", finite, "finite" if finite else "not finite")
