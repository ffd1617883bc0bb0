"""What every attention of the registry must do; a new one is held to it by its line there.

The cases are every attention with every implementation and every feature map that its options
name, and with queries as keys where it can. Blocks, chunks and groups of rows are made small, so
that 40 tokens already take several of each, ragged ones among them.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import ArrayLike, DTypeLike

from jaxattn.attention import ATTENTIONS, blocks
from jaxattn.attention.favor import attention as favor
from jaxattn.attention.favor import local
from jaxattn.attention.inputs import Cost
from jaxattn.attention.local import windows
from jaxattn.attention.op import AttentionOp
from jaxattn.attention.sdpa import blockwise
from jaxattn.config import ATTENTION_TYPES
from jaxattn.errors import InputError
from jaxattn.model.positions import rope

KEY = jax.random.key(0)
BATCH, LENGTH, HEADS, WIDTH, VALUES = 3, 40, 2, 5, 4
# Small enough that LENGTH takes several chunks.
OPTIONS = {"reformer_lsh": {"chunk_size": 4, "num_hashes": 2}, "local": {"window": 10}}
# Options with which the variant is exact, and up to which length.
EXACT_OPTIONS = {
    "reformer_lsh": {"chunk_size": 64, "mask_within_chunks": False},
    "local": {"window": 128},
}
EXACT_UP_TO = {"sdpa": 1000, "reformer_lsh": 65, "local": 65}
# Takes queries and keys of one sequence only.
SELF_ATTENTION = {"reformer_lsh", "local"}
# Options each of whose choices is a case, but for those that need a GPU or stand for another.
CHOICES, NO_CASE = ("implementation", "features"), ("auto", "cudnn", "fused")


class Case(NamedTuple):
    """One attention: its name, the option that tells it from the others, k=None or not."""

    name: str
    choice: tuple[tuple[str, Any], ...] = ()
    shared: bool = False

    @property
    def label(self) -> str:
        return "-".join([self.name, *(str(value) for _, value in self.choice)]) + (
            "-shared" * self.shared
        )


def cases() -> list[Case]:
    found = []
    for name, op in ATTENTIONS.items():
        choices = [
            ((field.name, value),)
            for field in dataclasses.fields(op.options)
            if field.name in CHOICES
            for value in field.metadata["choices"]
            if value not in NO_CASE
        ]
        for choice in choices or [()]:
            found += [Case(name, choice, shared) for shared in (False, True)[: 1 + op.shares_qk]]
    return found


CASES = cases()
every = pytest.mark.parametrize("case", CASES, ids=[case.label for case in CASES])


def first_and_last_choice(case: Case) -> bool:
    alike = [other for other in CASES if (other.name, other.shared) == (case.name, case.shared)]
    return case in (alike[0], alike[-1])


# As `every`, where a case compiles for seconds: choices between the first and the last are slow.
most = pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, id=case.label, marks=() if first_and_last_choice(case) else pytest.mark.slow
        )
        for case in CASES
    ],
)


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    """Several blocks of queries, keys and chunks, and several groups of rows, in every case."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blockwise, "_QUERIES", 16)
        patch.setattr(blockwise, "_KEYS", 12)
        patch.setattr(local, "_SHORTEST_CHUNK", 8)
        patch.setattr(windows, "_CHUNK", 4)
        patch.setattr(blocks, "_CPU_NUMBERS", 256)
        yield


Inputs = tuple[np.ndarray, np.ndarray, np.ndarray]
# Of q, k, v and the biases.
Gradients = tuple[jax.Array, jax.Array, jax.Array, dict[str, jax.Array]]


def arrays(
    length: int = LENGTH,
    batch: int = BATCH,
    std: float = 1.0,
    seed: int = 0,
    dtype: DTypeLike = np.float32,
    width: int = WIDTH,
    keys: int | None = None,
) -> Inputs:
    rng = np.random.default_rng(seed)
    keys = length if keys is None else keys
    q = std * rng.normal(size=(batch, length, HEADS, width))
    k = std * rng.normal(size=(batch, keys, HEADS, width))
    v = rng.normal(size=(batch, keys, HEADS, VALUES))
    return q.astype(dtype), k.astype(dtype), v.astype(dtype)


def mask(length: int = LENGTH, real: tuple[int, ...] = (LENGTH, 11, 3)) -> np.ndarray:
    return np.arange(length) < np.array(real)[:, None]


def weights(length: int = LENGTH, batch: int = BATCH, dtype: DTypeLike = np.float32) -> np.ndarray:
    """A cotangent of the outputs in which no two numbers are the same."""
    shape = (batch, length, HEADS, VALUES)
    return np.cos(np.arange(np.prod(shape))).reshape(shape).astype(dtype)


def real_only(x: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """`x` with zeros in padding."""
    return np.where(seen[..., None, None], x, 0).astype(x.dtype)


def relative_table(dtype: DTypeLike = np.float32) -> np.ndarray:
    return np.random.default_rng(8).normal(size=(HEADS, 11)).astype(dtype)


def attend(
    case: Case,
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    key: jax.Array | None = KEY,
    options: dict[str, dict[str, Any]] = OPTIONS,
    **given: Any,
) -> jax.Array:
    op = ATTENTIONS[case.name]
    return op.apply(
        q, None if case.shared else k, v,
        key=key if op.needs_key else None, **options.get(case.name, {}), **dict(case.choice),
        **given,
    )  # fmt: skip


@functools.cache
def compiled(case: Case, exact: bool = False) -> Callable[..., tuple[jax.Array, Gradients]]:
    """(q, k, v, cotangent, biases, masks, key) -> output, gradients of q, k, v and the biases.

    biases: dict of `bias`, `relative_bias`. masks: dict of what has no gradient.
    """

    @jax.jit
    def jitted(
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        cotangent: jax.Array,
        biases: dict[str, jax.Array],
        masks: dict[str, jax.Array],
        key: jax.Array,
    ) -> tuple[jax.Array, Gradients]:
        def own(
            q: jax.Array, k: jax.Array, v: jax.Array, biases: dict[str, jax.Array]
        ) -> jax.Array:
            options = EXACT_OPTIONS if exact else OPTIONS
            return attend(case, q, k, v, key=key, options=options, **biases, **masks)

        out, pull = jax.vjp(own, q, k, v, biases)
        return out, pull(cotangent.astype(out.dtype))

    def run(
        q: ArrayLike,
        k: ArrayLike,
        v: ArrayLike,
        cotangent: ArrayLike,
        biases: Mapping[str, ArrayLike] | None = None,
        masks: Mapping[str, ArrayLike] | None = None,
        key: jax.Array = KEY,
    ) -> tuple[jax.Array, Gradients]:
        return jitted(q, k, v, cotangent, biases or {}, masks or {}, key)

    return run


def plain(
    case: Case,
    inputs: Sequence[np.ndarray],
    seen: np.ndarray,
    cotangent: np.ndarray | None = None,
    **given: jax.Array,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """`compiled` with a key mask alone: (output, (dq, dk, dv))."""
    cotangent = weights() if cotangent is None else cotangent
    out, grads = compiled(case)(*inputs, cotangent, {}, {"key_mask": seen}, **given)
    return np.asarray(out), [np.asarray(grad) for grad in grads[:3]]


def assert_equal(found: Any, wanted: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_registry_is_the_list_of_the_configuration() -> None:
    assert tuple(ATTENTIONS) == ATTENTION_TYPES


def test_every_attention_has_its_cases() -> None:
    assert {case.name for case in CASES} == set(ATTENTIONS)
    labels = {
        "sdpa-xla", "sdpa-blockwise", "reformer_lsh", "reformer_lsh-shared",
        "performer_favor-positive", "performer_favor-hyperbolic", "performer_favor-optimal",
    }  # fmt: skip
    assert labels <= {case.label for case in CASES}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_options_by_name_are_the_options_object(name: str) -> None:
    op = ATTENTIONS[name]
    assert op.name == name and min(op.cost(op.options(), 512, 32)) > 0
    # Every option but the callers' interval; None stands for the default.
    known = [field.name for field in dataclasses.fields(op.options)]
    defaults = {each: getattr(op.options(), each) for each in known if each != "redraw_interval"}
    assert op.with_options() == op.with_options(**defaults) == op.options()
    assert op.with_options(**dict.fromkeys(defaults)) == op.options()
    q, k, v = arrays(8)
    key = KEY if op.needs_key else None
    given, named = (
        op.apply(q, k, v, key=key, **how)
        for how in ({"options": op.with_options(**own_keys(op))}, {**defaults, **own_keys(op)})
    )
    assert_equal(given, named)


def own_keys(op: AttentionOp[Any]) -> dict[str, bool]:
    """The option that goes with keys of their own."""
    return {"shared_qk": False} if op.shares_qk else {}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_what_cannot_be_honoured_is_refused_by_its_name(name: str) -> None:
    op = ATTENTIONS[name]
    call = functools.partial(op.apply, *arrays(8), key=KEY)
    others = {
        "drawn": (op.draws is None, jnp.ones((3, WIDTH))),
        "dropout_rate": (not op.drops_weights, 0.5),
        "dropout_key": (not op.drops_weights, KEY),
        "right_padded": (not op.takes_padding, True),
        "redraw_interval": (True, 3),
        "chunk_sizes": (True, 3),
    }
    for argument, (refused, value) in others.items():
        if refused:
            with pytest.raises(InputError, match=f"{name}.*{argument}"):
                call(**{argument: value})
    if not op.shares_qk:
        with pytest.raises(InputError, match=f"{name} needs keys of their own, found k = None"):
            op.apply(call.args[0], None, call.args[2], key=KEY)


def cost_of(name: str) -> Callable[..., Cost]:
    op = ATTENTIONS[name]
    return lambda length, width, **changed: op.cost(op.with_options(**changed), length, width)


def test_costs_are_the_counted_ones() -> None:
    # Scores and values: 2 x 2 N^2 K; q, k, v and the output move, and five times the scores.
    names = ("sdpa", "reformer_lsh", "performer_favor")
    sdpa, lsh, favor = (cost_of(name) for name in names)
    assert sdpa(128, 8) == (4 * 128 * 128 * 8, 4 * 128 * 8 + 5 * 128 * 128)
    blocks = sdpa(1024, 8, implementation="blockwise")
    assert blocks == (4 * 1024 * 1024 * 8, 4 * 1024 * 8 + 2 * 1024 * 8)
    # Per round: hashing into 2 x 4 buckets by 4 columns, then windows of 3 x 16 keys.
    few = lsh(128, 8, chunk_size=16, num_hashes=3)
    assert few.flops == 3 * (2 * 128 * 8 * 4 + 4 * 128 * 48 * 8)
    # A round moves its queries, two windows of 3 chunks, and its output twice.
    assert few.floats == 3 * 128 * 8 * (1 + 6 + 2) + 4 * 128 * 8
    # 64 pairs of buckets from two hashes of 6 columns; both queries and keys are hashed.
    both = lsh(2048, 8, chunk_size=16, num_hashes=1, shared_qk=False, chunks_after=0)
    assert both.flops == 2 * 2 * 2048 * 8 * 12 + 4 * 2048 * 32 * 8
    assert favor(128, 8, nb_features=10) == (4 * 128 * 8 * 10 + 4 * 128 * 10 * 9, 4 * 128 * 8)
    # Hyperbolic: twice the features of as many projections.
    pairs = favor(128, 8, nb_features=10, features="hyperbolic").flops
    assert pairs == 4 * 128 * 8 * 10 + 4 * 128 * 20 * 9
    assert favor(4096, 8).flops == 4 * favor(1024, 8).flops


@most
def test_jit_equals_eager(case: Case, optimised: None) -> None:
    inputs = arrays()
    out, _ = plain(case, inputs, mask())
    jax.config.update("jax_disable_most_optimizations", True)
    eager = attend(case, *inputs, key_mask=mask())
    assert out.shape == (BATCH, LENGTH, HEADS, VALUES) and out.dtype == jnp.float32
    np.testing.assert_allclose(out[mask()], eager[mask()], rtol=0, atol=2e-6)


def lengths() -> Iterator[object]:
    """Every length and several head widths for the first case of each attention."""
    firsts = {}
    for case in CASES:
        base = firsts.setdefault(case.name, case) is case
        sizes = ((1, 5), (2, 32), (7, 48), (63, 64), (64, 7), (65, 32), (1000, 48))
        for length, width in sizes:
            slow = not base and case.name != "sdpa" and length not in (1, 65)
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(case, length, width, marks=marks, id=f"{case.label}-{length}")


@pytest.mark.parametrize("case, length, width", [*lengths()])
def test_any_length_is_exact_or_an_average(case: Case, length: int, width: int) -> None:
    """LSH equals SDPA where all pairs meet; every variant's weights are positive and sum to 1."""
    q, k, v = arrays(length, batch=1, width=width)
    if length in (2, 65):
        cotangent = weights(length, batch=1)
        out, grads = compiled(case, exact=True)(q, k, v, cotangent)
        assert all(jnp.isfinite(grad).all() for grad in grads[:3])
        # The weights of each query sum to 1, so those of the cotangent do over all keys.
        np.testing.assert_allclose(grads[2].sum(1), cotangent.sum(1), rtol=0, atol=2e-4)
    else:
        out = jax.jit(functools.partial(attend, case, options=EXACT_OPTIONS))(q, k, v)
    if length <= EXACT_UP_TO.get(case.name, 0):
        itself = np.eye(length, dtype=bool)
        keys = q / np.sqrt((q**2).mean(-1, keepdims=True)) if case.shared else k
        seen = ~itself if case.shared and length > 1 else np.ones_like(itself)
        expected = ATTENTIONS["sdpa"].apply(q, keys, v, attn_mask=seen, implementation="xla")
        np.testing.assert_allclose(out, expected, rtol=0, atol=5e-6)
    assert (out >= v.min(1, keepdims=True) - 1e-5).all()
    assert (out <= v.max(1, keepdims=True) + 1e-5).all()


@most
def test_padding_at_either_end_changes_no_real_token_and_no_gradient(case: Case) -> None:
    """With relative positions, which are the same wherever the text begins."""
    inputs, seen = arrays(), mask()
    biases = {"relative_bias": relative_table()}
    out, grads = compiled(case)(*inputs, real_only(weights(), seen), biases, {"key_mask": seen})
    before, after = 9, 16
    ends = ((0, 0), (before, after), (0, 0), (0, 0))
    # What stands in the padding must not matter either.
    longer = [np.pad(x, ends, constant_values=9.0) for x in inputs]
    cotangent = np.pad(real_only(weights(), seen), ends)
    masks = {"key_mask": np.pad(seen, ends[:2])}
    long_out, long_grads = compiled(case)(*longer, cotangent, biases, masks)
    own = slice(before, before + LENGTH)
    np.testing.assert_allclose(long_out[:, own][seen], out[seen], rtol=0, atol=1e-5)
    for found, wanted in zip(long_grads[:3], grads[:3], strict=True):
        np.testing.assert_allclose(found[:, own], wanted, rtol=0, atol=2e-5)
        assert not np.delete(found, np.r_[own], axis=1).any()
    found, wanted = (each[3]["relative_bias"] for each in (long_grads, grads))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)
    assert jnp.abs(wanted).max() > 0.01


@every
def test_masked_keys_leak_nowhere(case: Case) -> None:
    """Whatever stands in padded keys and values; the loss is over padding queries too."""
    inputs, seen = arrays(), mask()
    expected, expected_grads = plain(case, inputs, seen)
    for bad in (np.nan, np.inf, 1e30):
        dirty = [np.where(seen[..., None, None], x, bad).astype(np.float32) for x in inputs]
        # Shared queries are keys; elsewhere a padding query may make what it likes of itself.
        queries = dirty[0] if case.shared else inputs[0]
        out, grads = plain(case, (queries, *dirty[1:]), seen)
        assert_equal(out[seen], expected[seen])
        assert_equal(grads, expected_grads)
    for grad in expected_grads[1:]:
        assert not grad[~seen].any()


@every
def test_nothing_in_padding_reaches_a_real_token_or_a_gradient(case: Case) -> None:
    inputs, seen = arrays(), mask()
    cotangent = real_only(weights(), seen)
    expected, expected_grads = plain(case, inputs, seen, cotangent)
    for bad in (np.nan, -np.inf, np.inf, 1e30):
        dirty = [np.where(seen[..., None, None], x, bad).astype(np.float32) for x in inputs]
        out, grads = plain(case, dirty, seen, cotangent)
        assert_equal(out[seen], expected[seen])
        assert_equal(grads, expected_grads)
    for grad in expected_grads:
        assert not grad[~seen].any()
    assert np.abs(expected_grads[0][seen]).max() > 0.01


# Three documents, in another order in each row, padding after the first and the last one; two of
# them, never neighbours, have the same id.
DOCUMENTS = (17, 9, 10)
ORDERS = ((0, 1, 2), (2, 0, 1), (2, 1, 0))


def packed(documents: Sequence[np.ndarray], order: Sequence[int], fill: float = 0.0) -> np.ndarray:
    """[LENGTH, ...] with the documents' arrays in this order, at places of their own."""
    row = np.full((LENGTH, *documents[0].shape[1:]), fill, documents[0].dtype)
    for start, number in places(order):
        row[start : start + DOCUMENTS[number]] = documents[number]
    return row


def places(order: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for place, number in enumerate(order):
        yield start, number
        start += DOCUMENTS[number] + (place == 0)


@every
@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_packed_documents_are_as_each_alone(case: Case, bad: float) -> None:
    """Outputs and gradients, with gaps in the key mask, NaN there, and relative positions."""
    rng = np.random.default_rng(4)
    real = [rng.random(n) < 0.8 for n in DOCUMENTS]
    alone_mask = mask(real=DOCUMENTS)
    for i, n in enumerate(DOCUMENTS):
        alone_mask[i, :n] = real[i]
    inputs = [real_only(x, alone_mask) for x in (*arrays(), weights())]
    biases = {"relative_bias": relative_table()}
    alone, alone_grads = compiled(case)(*inputs, biases, {"key_mask": alone_mask})

    def pack(x: np.ndarray, fill: float = 0.0) -> np.ndarray:
        own = [x[i, :n] for i, n in enumerate(DOCUMENTS)]
        return np.stack([packed(own, order, fill) for order in ORDERS])

    ids = pack(np.broadcast_to(np.array([[7], [3], [7]], np.int32), (3, LENGTH)), fill=9)
    seen = pack(alone_mask, fill=False)
    dirty = [np.where(seen[..., None, None], pack(x), bad).astype(x.dtype) for x in inputs[:3]]
    masks = {"key_mask": seen, "segment_ids": ids}
    out, grads = compiled(case)(*dirty, pack(inputs[3]), biases, masks)
    np.testing.assert_allclose(out[seen], pack(np.asarray(alone))[seen], rtol=0, atol=1e-5)
    for found, wanted in zip(grads[:3], alone_grads[:3], strict=True):
        np.testing.assert_allclose(found, pack(np.asarray(wanted)), rtol=0, atol=2e-5)
    found, wanted = (each[3]["relative_bias"] for each in (grads, alone_grads))
    np.testing.assert_allclose(found, len(ORDERS) * wanted, rtol=0, atol=1e-4)
    assert jnp.abs(found).max() > 0.01


@every
def test_a_row_that_sees_nothing_gives_zeros(case: Case) -> None:
    out, grads = plain(case, arrays(), mask(real=(LENGTH, 0, 3)))
    assert not out[1].any() and out[0].any()
    for grad in grads:
        assert np.isfinite(grad).all() and not grad[1].any()


@most
@pytest.mark.parametrize("dtype, width", [(jnp.bfloat16, WIDTH), (jnp.float16, 32)])
def test_half_precision_is_finite_and_close(case: Case, dtype: DTypeLike, width: int) -> None:
    for std in (0.1, 1.0, 4.0):
        inputs = arrays(dtype=dtype, std=std, width=width)
        out, grads = plain(case, inputs, mask())
        assert out.dtype == dtype and np.isfinite(np.float32(out)).all()
        for grad in grads:
            assert grad.dtype == dtype and np.isfinite(np.float32(grad)).all()
        if std == 4.0 or width != WIDTH:
            continue
        exact, exact_grads = plain(case, [x.astype(np.float32) for x in inputs], mask())
        assert np.abs(np.float32(out) - exact).max() < 0.05
        for grad, wanted in zip(grads, exact_grads, strict=True):
            error = np.abs(np.float32(grad) - wanted).max()
            assert error <= 0.05 * (1 + np.abs(wanted).max()), std


# What inputs may be like: a standard deviation, or what `unusual` says.
KINDS = (0.01, 0.3, 1.0, 5.0, 20.0, "one huge token", "equal tokens", "means apart")


def unusual(kind: float | str) -> tuple[Inputs, float]:
    """q, k, v of that kind, and the queries' root mean square."""
    q, k, v = arrays(std=kind if isinstance(kind, float) else 1.0)
    if kind == "one huge token":
        # Token 2 is a real one in every row; the largest query is not that of the largest key.
        q[:, 1], k[:, 2] = 40 * q[:, 1], 40 * k[:, 2]
    if kind == "equal tokens":
        q, k = (np.broadcast_to(3 * x[:1, :1], x.shape).copy() for x in (q, k))
    if kind == "means apart":
        mean = np.random.default_rng(5).normal(size=(HEADS, WIDTH)).astype(np.float32)
        q, k = q + 4 * mean, k - 4 * mean
    return (q, k, v), float(np.sqrt(np.square(q).mean()))


def assert_as_in_float64(
    case: Case,
    inputs: Sequence[np.ndarray],
    doubles: Sequence[np.ndarray],
    limit: float,
    label: object,
) -> None:
    """Output and gradients are finite and those of float64 inputs; no query comes out empty."""
    seen = mask()
    cotangent = real_only(weights(), seen)
    found = plain(case, inputs, seen, cotangent)
    with jax.enable_x64(True):
        wanted = plain(case, doubles, seen, np.float64(cotangent))
    assert wanted[0].dtype == np.float64
    assert (np.abs(found[0][seen]).max(-1) > 0).all(), label
    for name, x, y in zip(("out", "dq", "dk", "dv"), jax.tree.leaves(found),
                          jax.tree.leaves(wanted), strict=True):  # fmt: skip
        x, y = x[seen], y[seen]
        assert np.isfinite(x).all(), (label, name)
        # Gradients that cancel, as those of equal tokens do, are compared with 1e-2.
        error = np.linalg.norm(x - y) / (np.linalg.norm(y) + 1e-2 * x.size**0.5)
        assert error < limit, (label, name, error)


@every
def test_every_kind_of_input_gives_what_float64_gives(case: Case) -> None:
    for kind in KINDS:
        inputs, size = unusual(kind)
        doubles = [np.float64(x) for x in inputs]
        assert_as_in_float64(case, inputs, doubles, 1e-5 * max(1.0, size), kind)


@every
def test_the_last_positions_are_as_exact_as_the_first(case: Case) -> None:
    """Rotated queries and keys at 0, 1, ... and up to 16,383; the latter have large angles."""
    q, k, v = arrays(width=WIDTH + 1)

    def rotated(x: np.ndarray, positions: np.ndarray) -> np.ndarray:
        # Of the last pair one feature is left out: the width is that of the other tests.
        return np.asarray(rope(jnp.asarray(x), jnp.asarray(positions), 10000.0, 1.0))[..., :WIDTH]

    for first in (0, 16384 - LENGTH):
        positions = np.arange(first, first + LENGTH)
        inputs = *(rotated(x, positions) for x in (q, k)), v
        with jax.enable_x64(True):
            doubles = *(rotated(np.float64(x), positions) for x in (q, k)), np.float64(v)
        assert_as_in_float64(case, inputs, doubles, 1e-5, first)


def arguments(name: str) -> Iterator[dict[str, Any]]:
    """Values of every keyword of an attention but options, PRNG keys and draws, one by one."""
    op = ATTENTIONS[name]
    rng = np.random.default_rng(3)
    by_key = (BATCH, HEADS, 1, LENGTH)
    known = {
        "key_mask": mask(),
        "attn_mask": rng.random(by_key) < 0.7,
        "bias": rng.normal(size=by_key).astype(np.float32),
        "relative_bias": relative_table(),
        "segment_ids": np.repeat([[1, 2]], [15, 25], axis=1).repeat(BATCH, 0),
        "dropout_rate": 0.5,
        "dropout_key": jax.random.key(5),
        "right_padded": True,
    }
    needs = {"dropout_rate": "dropout_key", "dropout_key": "dropout_rate"}
    needs["right_padded"] = "key_mask"
    taken = set(known)
    if not op.drops_weights:
        taken -= {"dropout_rate", "dropout_key"}
    if not op.takes_padding:
        taken -= {"right_padded"}
    every = set(AttentionOp.apply.__kwdefaults__) - {"key", "drawn", "options"}
    assert every == set(known), "a value for every argument"
    yield {}
    for one in sorted(taken):
        yield {each: known[each] for each in {one, needs.get(one, one)}}
    yield {each: known[each] for each in taken - {"right_padded"}}
    by_pair = (BATCH, HEADS, LENGTH, LENGTH)
    dense = {"dense_masks": True} if hasattr(op.options, "dense_masks") else {}
    yield {"attn_mask": rng.random(by_pair) < 0.7, **dense}
    yield {"bias": rng.normal(size=by_pair).astype(np.float32), **dense}


@every
@pytest.mark.parametrize(
    "dtype", [jnp.bfloat16, *(pytest.param(x, marks=pytest.mark.slow) for x in ("f2", "f4"))]
)
def test_outputs_and_gradients_have_the_type_of_the_inputs(case: Case, dtype: DTypeLike) -> None:
    """Under every argument, float32 ones among them; with options and without."""
    q, k, v = arrays(dtype=dtype)
    for given in arguments(case.name):
        for options in (OPTIONS, {}):

            def run(
                q: jax.Array,
                k: jax.Array,
                v: jax.Array,
                given: dict[str, Any] = given,
                options: dict[str, dict[str, Any]] = options,
            ) -> tuple[jax.Array, ...]:
                own = functools.partial(attend, case, options=options, **given)
                out, pull = jax.vjp(own, q, k, v)
                return out, *pull(jnp.ones_like(out))

            for x in jax.eval_shape(run, q, k, v):
                assert x.dtype == dtype, list(given)


@every
def test_one_key_gives_one_result(case: Case) -> None:
    inputs = arrays()
    first, second = (plain(case, inputs, mask()) for _ in range(2))
    assert_equal(first, second)
    other = plain(case, inputs, mask(), key=jax.random.key(1))[0]
    assert ATTENTIONS[case.name].needs_key == bool(np.abs(other - first[0]).max() > 1e-3)


@every
def test_batch_rows_do_not_mix(case: Case) -> None:
    order = np.array([2, 0, 1])
    inputs = arrays()
    out, grads = plain(case, inputs, mask())
    moved, moved_grads = plain(case, [x[order] for x in inputs], mask()[order], weights()[order])
    np.testing.assert_allclose(moved[mask()[order]], out[order][mask()[order]], rtol=0, atol=1e-6)
    for found, wanted in zip(moved_grads, grads, strict=True):
        np.testing.assert_allclose(found, wanted[order], rtol=0, atol=1e-5)
    assert grads[0].any()


@most
def test_three_ways_to_say_which_keys_count(case: Case) -> None:
    """attn_mask without a query axis; a bias of 0 and -inf; a constant relative bias on top."""
    allowed = np.random.default_rng(2).random((BATCH, 1, 1, LENGTH)) < 0.6
    bias = np.where(allowed, 0.0, -np.inf).astype(np.float32)
    constant = np.full((HEADS, 7), 1.5, np.float32)

    def both(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        own = functools.partial(attend, case, q, k, v, key_mask=mask())
        return own(attn_mask=allowed, relative_bias=constant), own(bias=bias)

    q, k, v = arrays()
    by_mask, by_bias = jax.jit(both)(q, k, v)
    seen = mask()
    if case.shared:
        # The last resort of a query that sees nothing is itself, which an attn_mask can forbid.
        seen = seen & allowed[:, 0, 0]
    np.testing.assert_allclose(by_mask[seen], by_bias[seen], rtol=0, atol=5e-6)
    assert by_mask[0].any()


@most
def test_gradients_match_finite_differences(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64: of q, k, v, a bias of the keys and relative_bias, with masks and documents."""

    # A of the "optimal" features is held fixed: it decides the variance, not the estimate, and
    # has no gradient.
    def tilt(q: jax.Array, *_: object) -> jax.Array:
        return jnp.full((q.shape[0], 1, q.shape[2], 1), -0.05, q.dtype)

    monkeypatch.setattr(favor, "_tilt", tilt)
    rng, step = np.random.default_rng(1), 1e-6
    with jax.enable_x64(True):
        run = compiled.__wrapped__(case)
        q, k, v = arrays(24, batch=1, dtype=np.float64)
        cotangent = real_only(weights(24, batch=1, dtype=np.float64), mask(24, (21,)))
        biases = {"relative_bias": relative_table(np.float64), "bias": rng.normal(size=(2, 1, 24))}
        masks = {"key_mask": mask(24, (21,)), "segment_ids": np.repeat([[1, 2]], [15, 9], axis=1)}
        inputs = q, k, v, biases

        def at(inputs: Sequence[Any]) -> tuple[float, Gradients]:
            out, grads = run(*inputs[:3], cotangent, inputs[3], masks)
            return float((out * cotangent).sum()), grads

        grads = at(inputs)[1]
        # Each argument alone, then all of them.
        leaves, tree = jax.tree.flatten(inputs)
        for part in [*range(len(leaves)), None]:
            change = [rng.normal(size=x.shape) * (part in (None, i)) for i, x in enumerate(leaves)]
            ends = [[x + s * d for x, d in zip(leaves, change, strict=True)] for s in (step, -step)]
            up, down = (at(jax.tree.unflatten(tree, end))[0] for end in ends)
            own = zip(jax.tree.leaves(grads), change, strict=True)
            slope = sum(float((g * d).sum()) for g, d in own)
            assert abs((up - down) / (2 * step) - slope) < 1e-6 * (1 + abs(slope)), part
            assert abs(slope) > 1e-3 or (case.shared and part == 1)


@most
def test_more_keys_than_queries_or_an_error(case: Case) -> None:
    """Keys of another sequence: hidden ones and the order of the others change nothing."""
    q, k, v = arrays(12, keys=25)
    if case.name in SELF_ATTENTION:
        with pytest.raises(InputError, match="self-attention, found 12 queries and 25 keys"):
            attend(case, q, k, v)
    else:
        seen = mask(25, (25, 11, 0))
        dirty = [np.where(seen[..., None, None], x, np.nan).astype(np.float32) for x in (k, v)]
        cotangent = weights(12)
        out, grads = compiled(case)(q, *dirty, cotangent, {}, {"key_mask": seen})
        clean, clean_grads = compiled(case)(q, k, v, cotangent, {}, {"key_mask": seen})
        assert_equal((out, grads), (clean, clean_grads))
        assert not out[2].any() and out.shape == (BATCH, 12, HEADS, VALUES)
        # Keys have no order: another one moves their gradients and nothing else.
        order = np.random.default_rng(0).permutation(25)
        moved, moved_grads = compiled(case)(
            q, k[:, order], v[:, order], cotangent, {}, {"key_mask": seen[:, order]}
        )
        np.testing.assert_allclose(moved, out, rtol=0, atol=5e-6)
        np.testing.assert_allclose(moved_grads[0], grads[0], rtol=0, atol=2e-5)
        for found, wanted in zip(moved_grads[1:3], grads[1:3], strict=True):
            np.testing.assert_allclose(found, wanted[:, order], rtol=0, atol=2e-5)
            assert not wanted[~seen].any() and wanted[seen].any()
    for name, x in (
        ("relative_bias", relative_table()),
        ("segment_ids", np.zeros((BATCH, 25), np.int32)),
    ):
        with pytest.raises(InputError, match=rf"{name} needs .* 12 queries and 25 keys"):
            attend(case, q, k, v, **{name: x})


@every
def test_a_missing_key_is_an_error(case: Case) -> None:
    inputs = arrays(8, batch=1)
    if ATTENTIONS[case.name].needs_key:
        with pytest.raises(InputError, match="pass key"):
            attend(case, *inputs, key=None)
    else:
        assert_equal(attend(case, *inputs), attend(case, *inputs, key=None))
