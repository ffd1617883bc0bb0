"""The encoder and its heads, over every attention and position scheme."""

import itertools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import ATTENTION_TYPES, Config, replace
from jaxattn.errors import InputError
from jaxattn.model.encoder import Encoder
from jaxattn.model.heads import ClassifierModel, MlmModel, pool
from jaxattn.ops.programs import compiled
from jaxattn.ops.trees import Params, count_parameters

POSITIONS = ("sinusoidal", "learned", "relative", "rope")
VOCABULARY = 50


def config(**values: object) -> Config:
    small = {
        "model.num_layers": 2,
        "model.hidden_dim": 24,
        "model.mlp_dim": 40,
        "model.num_heads": 2,
        "model.qkv_dim": 16,
        "model.max_seq_len": 64,
        "data.max_length": 64,
        "attention.reformer_lsh.chunk_size": 8,
    }
    return replace(Config(), small | {k.replace("__", "."): v for k, v in values.items()})


def inputs(rows: int = 3, length: int = 20) -> tuple[jax.Array, jax.Array]:
    ids = jax.random.randint(jax.random.key(1), (rows, length), 5, VOCABULARY)
    lengths = jnp.array([length, length - 7, 4])[:rows]
    return ids, jnp.arange(length) < lengths[:, None]


def classifier(c: Config, classes: int = 3) -> tuple[ClassifierModel, Params]:
    model = ClassifierModel(c, VOCABULARY, classes)
    ids, mask = inputs()
    keys = {"params": jax.random.key(0), "attention": jax.random.key(0)}
    return model, model.init(keys, ids, mask, deterministic=True)["params"]


def apply(model: nn.Module, params: Params, ids: jax.Array, mask: jax.Array) -> jax.Array:
    rngs = {"attention": jax.random.key(5)}
    return model.apply({"params": params}, ids, mask, deterministic=True, rngs=rngs)


POOLED = {"rope": "mean", "relative": "cls", "learned": "max", "sinusoidal": "mean"}
"""Positions -> the pooling they are tested with every time; with the others only when asked for."""


@pytest.mark.parametrize(
    ("attention", "positions", "pooling"),
    [
        pytest.param(
            *case, marks=() if POOLED[case[1]] == case[2] else pytest.mark.slow, id="-".join(case)
        )
        for case in itertools.product(ATTENTION_TYPES, POSITIONS, ("cls", "mean", "max"))
    ],
)
def test_more_padding_changes_no_logit(attention: str, positions: str, pooling: str) -> None:
    c = config(attention__type=attention, model__positions=positions, head__pooling=pooling)
    model, params = classifier(c)
    ids, mask = inputs()
    longer = jnp.pad(ids, ((0, 0), (0, 21))), jnp.pad(mask, ((0, 0), (0, 21)))
    np.testing.assert_allclose(
        apply(model, params, ids, mask), apply(model, params, *longer), atol=1e-5
    )


@pytest.mark.parametrize("attention", ATTENTION_TYPES)
@pytest.mark.parametrize("positions", POSITIONS)
def test_the_order_of_tokens_matters(attention: str, positions: str) -> None:
    """With mean pooling and no positions a permutation of the tokens would change nothing."""
    c = config(attention__type=attention, model__positions=positions, model__num_layers=1)
    model, params = classifier(c)
    # Positions must weigh something: a freshly drawn relative table hardly does.
    params = jax.tree.map(lambda p: p * 5 if p.ndim == 2 else p, params)
    ids, _ = inputs(rows=1)
    mask = jnp.ones_like(ids, bool)
    change = apply(model, params, ids, mask) - apply(model, params, ids[:, ::-1], mask)
    assert float(jnp.abs(change).max()) > 1e-4


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("attention", ATTENTION_TYPES)
def test_gradients_reach_every_parameter(attention: str, norm: str) -> None:
    c = config(attention__type=attention, model__norm=norm, head__pooler="bert")
    model, params = classifier(c)
    grads = jax.grad(lambda p: (apply(model, p, *inputs()) ** 2).sum())(params)
    chex.assert_tree_all_finite(grads)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        # softmax does not see a bias that is added to every key
        if "'key'" not in str(path) or "bias" not in str(path):
            assert float(jnp.abs(grad).max()) > 0, path


def test_mlm_logits_are_those_of_the_masked_positions_only() -> None:
    """Logits at a chosen position equal those of scoring all positions; weights are tied."""
    c = config()
    model = MlmModel(c, VOCABULARY)
    ids, mask = inputs()
    everywhere = jnp.broadcast_to(jnp.arange(20), (3, 20))
    keys = {"params": jax.random.key(0), "attention": jax.random.key(0)}
    params = model.init(keys, ids, mask, everywhere, deterministic=True)["params"]

    def logits(positions: jax.Array) -> jax.Array:
        return model.apply({"params": params}, ids, mask, positions, deterministic=True)

    chosen = jnp.array([[0, 19, 5], [3, 1, 2], [2, 0, 1]])
    found = logits(chosen)
    chex.assert_shape(found, (3, 3, VOCABULARY))
    wanted = np.take_along_axis(np.asarray(logits(everywhere)), np.asarray(chosen)[..., None], 1)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
    assert sum(VOCABULARY in shape and len(shape) == 2 for shape in shapes) == 1


def test_parameter_count_of_bert_small_by_hand() -> None:
    """4 blocks x (4 projections + 2 feed-forward layers + 2 norms) + embeddings + last norm."""
    d, f, v = 512, 2048, 30522
    block = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 2 * 2 * d
    head = d * d + d + 2 * d + v
    wanted = v * d + 4 * block + 2 * d + head
    model = MlmModel(Config(), v)
    ids, mask = inputs()
    positions = jnp.zeros((3, 1), jnp.int32)
    keys = {"params": jax.random.key(0)}
    shapes = jax.eval_shape(lambda: model.init(keys, ids, mask, positions, deterministic=True))
    assert count_parameters(shapes) == wanted


def test_a_longer_input_is_refused_with_both_numbers() -> None:
    model, params = classifier(config())
    ids = jnp.ones((1, 65), jnp.int32)
    with pytest.raises(InputError, match=r"65 tokens.*64"):
        apply(model, params, ids, jnp.ones_like(ids, bool))


@pytest.mark.parametrize(
    "attention",
    [
        "sdpa",
        pytest.param("reformer_lsh", marks=pytest.mark.slow),
        pytest.param("performer_favor", marks=pytest.mark.slow),
    ],
)
def test_remat_changes_neither_values_nor_gradients(attention: str) -> None:
    results = []
    for remat in ("none", "block", "attention"):
        model, params = classifier(config(train__remat=remat, attention__type=attention))
        rngs = {"attention": jax.random.key(5), "dropout": jax.random.key(6)}

        def loss(
            p: Params, model: ClassifierModel = model, rngs: dict[str, jax.Array] = rngs
        ) -> jax.Array:
            ids, mask = inputs()
            out = model.apply({"params": p}, ids, mask, deterministic=False, rngs=rngs)
            return (out**2).sum()

        lowered = jax.jit(jax.value_and_grad(loss)).lower(params)
        results.append(compiled(lowered)(params))
    for other in results[1:]:
        chex.assert_trees_all_close(results[0], other, rtol=1e-5, atol=1e-6)


def test_remat_of_the_attention_saves_what_it_keeps() -> None:
    """Queries, keys, values and outputs [B, N, H K] of every block, here far wider than D."""

    def temporaries(remat: str) -> int:
        c = config(
            train__remat=remat,
            model__num_layers=4,
            model__qkv_dim=512,
            model__max_seq_len=256,
        )
        model = ClassifierModel(c, VOCABULARY, 3)
        ids, mask = jnp.ones((2, 128), jnp.int32), jnp.ones((2, 128), bool)
        params = jax.eval_shape(
            lambda: model.init(jax.random.key(0), ids, mask, deterministic=True)["params"]
        )

        def loss(p: Params) -> jax.Array:
            out = model.apply({"params": p}, ids, mask, deterministic=True)
            return (out**2).sum()

        program = compiled(jax.jit(jax.grad(loss)).lower(params))
        return program.memory_analysis().temp_size_in_bytes

    # The last block's are alive while its backward pass runs; of the three others most are not.
    block = 4 * 2 * 128 * 512 * 4
    assert temporaries("none") - temporaries("attention") > 2 * block
    assert temporaries("none") - temporaries("block") > 2 * block


@pytest.mark.parametrize("attention", ATTENTION_TYPES)
def test_bfloat16_stays_close_and_parameters_stay_float32(attention: str) -> None:
    values = []
    for precision in ("float32", "bfloat16"):
        c = config(attention__type=attention, train__precision=precision)
        model, params = classifier(c)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
        values.append(apply(model, params, *inputs()))
    assert values[1].dtype == jnp.float32
    np.testing.assert_allclose(values[0], values[1], atol=0.05)


def test_pooling_by_hand() -> None:
    x = jnp.array([[[1.0, -4.0], [3.0, -2.0], [99.0, 99.0]], [[5.0, 5.0]] * 3])
    mask = jnp.array([[True, True, False], [False, False, False]])
    np.testing.assert_array_equal(pool(x, mask, "cls"), [[1, -4], [5, 5]])
    np.testing.assert_array_equal(pool(x, mask, "mean"), [[2, -3], [0, 0]])
    np.testing.assert_array_equal(pool(x, mask, "max"), [[3, -2], [0, 0]])


@pytest.mark.parametrize(
    ("attention", "norm", "positions", "remat", "prompt"),
    [
        ("sdpa", "post", "learned", "none", 0),
        ("sdpa", "pre", "rope", "block", 0),
        ("sdpa", "pre", "relative", "attention", 0),
        ("sdpa", "pre", "sinusoidal", "none", 3),
        ("reformer_lsh", "pre", "rope", "none", 0),
        ("performer_favor", "post", "learned", "none", 0),
    ],
)
def test_the_first_token_alone_is_what_it_is_among_all(
    attention: str, norm: str, positions: str, remat: str, prompt: int
) -> None:
    c = config(
        attention__type=attention, model__norm=norm, model__positions=positions, train__remat=remat
    )
    encoder = Encoder(c, VOCABULARY, jnp.float32, prompt)
    ids, mask = inputs()
    keys = {"params": jax.random.key(0), "attention": jax.random.key(0)}
    init = jax.jit(lambda: encoder.init(keys, ids, mask, deterministic=True))
    params = init()["params"]
    target = jax.random.normal(jax.random.key(2), (3, 24))

    def loss(params: Params, first_only: bool) -> tuple[jax.Array, jax.Array]:
        rngs = {"attention": jax.random.key(5)}
        x_BND = encoder.apply(
            {"params": params}, ids, mask, deterministic=True, first_only=first_only, rngs=rngs
        )
        assert x_BND.shape[1] == (1 if first_only else 20)
        return (x_BND[:, 0] * target).sum(), x_BND[:, 0]

    both = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    (_, wanted), wanted_gradient = both(params, False)
    (_, found), gradient = both(params, True)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    chex.assert_trees_all_close(gradient, wanted_gradient, rtol=1e-4, atol=1e-4)


def test_one_query_is_asked_of_the_last_block_where_the_attention_allows() -> None:
    ids, mask = inputs()
    keys = {"params": jax.random.key(0), "attention": jax.random.key(0)}
    queries = {}
    for attention in ATTENTION_TYPES:
        c = config(attention__type=attention, head__pooling="cls", model__positions="rope")
        model = ClassifierModel(c, VOCABULARY, 3)

        def kept(model: ClassifierModel = model) -> tuple[jax.Array, Params]:
            params = model.init(keys, ids, mask, deterministic=True)
            return model.apply(
                params,
                ids,
                mask,
                deterministic=True,
                rngs={"attention": jax.random.key(5)},
                mutable=["attention_inputs"],
            )

        blocks = jax.eval_shape(kept)[1]["attention_inputs"]["encoder"]
        arguments = [blocks[f"blocks_{i}"]["attention"]["arguments"][0] for i in range(2)]
        queries[attention] = [q_BNHK.shape[1] for q_BNHK, *_ in arguments]
    others = {name: [20, 20] for name in ("reformer_lsh", "performer_favor", "local")}
    assert queries == {"sdpa": [20, 1]} | others
