"""What each method of parameter-efficient fine-tuning adds, trains and leaves alone."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import ATTENTION_TYPES, Config, replace
from jaxattn.config.presets import architecture_options
from jaxattn.data.tokens.arrays import SpecialIds
from jaxattn.errors import InputError
from jaxattn.model.heads import ClassifierModel, init_classifier
from jaxattn.model.peft import LORA_B, complete, counts, cut, equipped, folded, is_added, on_folded
from jaxattn.ops.trees import joined, path_names, split, tree_hash
from jaxattn.profile.synthetic_step import synthetic_step
from jaxattn.stages import parameters
from jaxattn.stages.parameters import check_method, first_params
from jaxattn.train.optimizer import make_optimizer
from jaxattn.train.state import create_state, frozen_of
from jaxattn.train.steps import classification_loss, make_train_step

VOCABULARY, CLASSES = 40, 3
SPECIAL = SpecialIds(0, 1, 2, 3, 4)
TINY = {
    "model.num_layers": 1,
    "model.hidden_dim": 16,
    "model.mlp_dim": 32,
    "model.num_heads": 2,
    "model.qkv_dim": 12,
    "model.positions": "sinusoidal",
    "model.max_seq_len": 32,
    "data.max_length": 16,
    "attention.reformer_lsh.chunk_size": 4,
    "attention.reformer_lsh.num_hashes": 2,
    "peft.n_tokens": 3,
    "peft.r": 2,
}
ADDING = ("soft_prompt", "adapter", "lora")
BY_DEFAULT = (
    ("sdpa", "sinusoidal"),
    ("sdpa", "learned"),
    ("reformer_lsh", "rope"),
    ("performer_favor", "relative"),
)


def configured(method: str, **options: Any) -> Config:
    return replace(Config(), {**TINY, "peft.method": method} | options)


def made_up(model: ClassifierModel, seed: int) -> Any:
    """Parameters like those of `init_classifier`, but not compiled for."""
    rng = np.random.default_rng(seed)

    def fill(path: tuple[Any, ...], leaf: Any) -> jax.Array:
        name = path_names(path)[-1]
        if name in ("scale", "bias"):
            return jnp.full(leaf.shape, float(name == "scale"))
        return jnp.asarray(rng.normal(0.0, 0.2, leaf.shape), jnp.float32)

    shapes = jax.eval_shape(lambda: init_classifier(model, seed))
    return jax.tree_util.tree_map_with_path(fill, shapes)


@pytest.fixture(autouse=True)
def quick_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "init_classifier", made_up)


@functools.cache
def pretrained(config: Config) -> Any:
    return made_up(ClassifierModel(config, VOCABULARY, CLASSES), 7)


@functools.cache
def begun(config: Config) -> tuple[ClassifierModel, Any, Any, Any]:
    """The model, a base as pretraining left it, and the two parts that fine-tuning begins with."""
    model = ClassifierModel(config, VOCABULARY, CLASSES)
    found = pretrained(replace(config, {"peft": dataclasses.asdict(Config().peft)}))
    trained, base = first_params(model, config, SPECIAL, "first@1", found)
    return model, found, trained, None if base is None else base.frozen


def rows(lengths: tuple[int, ...], width: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(3)
    mask = np.arange(width) < np.asarray(lengths)[:, None]
    ids = np.where(mask, rng.integers(5, VOCABULARY, mask.shape), 0)
    ids[:, 0] = SPECIAL.cls
    return {
        "ids": jnp.asarray(ids, jnp.int32),
        "mask": jnp.asarray(mask),
        "labels": jnp.arange(len(lengths), dtype=jnp.int32) % CLASSES,
        "weights": jnp.ones(len(lengths), jnp.float32),
    }


def logits(model: ClassifierModel, params: Any, batch: dict[str, jax.Array]) -> np.ndarray:
    rngs = {"attention": jax.random.key(5)}
    run = jax.jit(
        lambda p, ids, mask: model.apply({"params": p}, ids, mask, deterministic=True, rngs=rngs)
    )
    return np.asarray(run(params, batch["ids"], batch["mask"]))


def counted(architecture: str, options: dict[str, Any]) -> int:
    """Parameters that a method adds, by the shapes of the model itself."""
    values = architecture_options(architecture) | {"model.max_seq_len": 1024} | options
    config = replace(Config(), values)
    model = ClassifierModel(config, VOCABULARY, CLASSES)

    def parts() -> Any:
        key = jax.random.key(0)
        return cut(
            equipped(init_classifier(model, 0), config.peft, key, range(5, VOCABULARY)),
            config.peft.method,
        )

    trained, frozen = jax.eval_shape(parts)
    found = counts(trained, frozen)
    head = (config.model.hidden_dim + 1) * CLASSES
    assert found["trainable"] == found["added"] + head
    return found["added"]


@pytest.mark.parametrize(
    ("architecture", "prompt", "adapter", "lora"),
    [
        ("bert_small", 5_120, 34_848, 65_536),
        ("autotinybert_5x564", 5_640, 47_980, 86_080),
        ("autotinybert_3x320", 3_200, 16_344, 27_648),
    ],
)
def test_published_counts(architecture: str, prompt: int, adapter: int, lora: int) -> None:
    sizes = architecture_options(architecture)
    layers, d, qkv = (sizes[f"model.{n}"] for n in ("num_layers", "hidden_dim", "qkv_dim"))
    assert prompt == 10 * d
    assert adapter == layers * (2 * d * 8 + d + 8)
    assert lora == 2 * layers * 8 * (d + qkv)
    of = {"peft.method": "soft_prompt", "peft.n_tokens": 10}
    assert counted(architecture, of) == prompt
    of = {"peft.method": "adapter", "peft.bottleneck": 8}
    assert counted(architecture, of) == adapter
    assert counted(architecture, of | {"peft.placement": "houlsby"}) == 2 * adapter
    assert counted(architecture, {"peft.method": "lora", "peft.r": 8}) == lora
    assert counted(architecture, {"peft.method": "head_only"}) == 0


def test_formulas_give_the_reference_counts_on_t5_small() -> None:
    base, d = 60_506_624, 512
    assert base + 10 * d == 60_511_744
    assert base + 12 * (2 * d * 8 + d + 8) == 60_611_168
    assert base + 2 * 18 * 8 * (d + d) == 60_801_536


@pytest.mark.parametrize("method", ["head_only", "lora"])
def test_lora_begins_as_the_model_it_changes(method: str) -> None:
    config = configured(method)
    model, found, trained, frozen = begun(config)
    batch = rows((9, 4), 12)
    own = {**found, "classifier": trained["classifier"]}
    begins = logits(model, complete(trained, frozen, config.peft), batch)
    np.testing.assert_array_equal(begins, logits(model, own, batch))


def test_adapters_begin_nearly_as_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    config = configured("adapter", **{"peft.placement": "houlsby"})
    model, found, trained, frozen = begun(config)
    batch = rows((9, 4), 12)
    plain = ClassifierModel(configured("full"), VOCABULARY, CLASSES)
    own = {**found, "classifier": trained["classifier"]}
    ours = logits(model, complete(trained, frozen, config.peft), batch)
    theirs = logits(plain, own, batch)
    assert 0 < np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()


def test_lora_adds_the_scaled_product() -> None:
    config = configured("lora", **{"peft.alpha": 6.0, "peft.targets": ("out", "up")})
    _, _, trained, frozen = begun(config)
    trained = jax.tree.map(lambda x: x + 0.5, trained)
    whole = complete(trained, frozen, config.peft)
    for layer, name in (("attention", "out"), ("mlp", "up")):
        factors = trained["encoder"]["blocks_0"][layer][name]
        a, b = (np.asarray(factors[f], np.float64) for f in ("lora_a", "lora_b"))
        wanted = frozen["encoder"]["blocks_0"][layer][name]["kernel"] + 6.0 / 2 * a @ b
        np.testing.assert_allclose(
            whole["encoder"]["blocks_0"][layer][name]["kernel"], wanted, 1e-5
        )
    untouched = whole["encoder"]["blocks_0"]["attention"]["query"]["kernel"]
    np.testing.assert_array_equal(
        untouched, frozen["encoder"]["blocks_0"]["attention"]["query"]["kernel"]
    )


def test_lora_dropout_drops_input_features_and_keeps_the_mean() -> None:
    config = configured("lora", **{"peft.dropout": 0.5, "peft.targets": ("query",)})
    _, _, trained, frozen = begun(config)
    parts = joined(jax.tree.map(lambda x: x + 1.0, trained), frozen)

    def change(key: jax.Array | None) -> jax.Array:
        whole = folded(parts, config.peft, key)["encoder"]["blocks_0"]["attention"]["query"]
        return whole["kernel"] - frozen["encoder"]["blocks_0"]["attention"]["query"]["kernel"]

    full = np.asarray(change(None))
    many = np.asarray(jax.vmap(change)(jax.random.split(jax.random.key(0), 400)))
    kept = np.isclose(many, 2 * full, rtol=1e-4).all(axis=2)
    gone = np.isclose(many, 0.0, atol=1e-6).all(axis=2)
    assert (kept | gone).all() and 0.45 < kept.mean() < 0.55
    np.testing.assert_allclose(many.mean(axis=0), full, rtol=0.25)


def test_absent_targets_are_refused_by_name() -> None:
    config = configured(
        "lora", **{"attention.type": "reformer_lsh", "peft.targets": ("query", "key")}
    )
    with pytest.raises(InputError, match=r"peft\.targets: found 'key'.*out, query, up, value"):
        begun(config)
    begun(configured("lora", **{"peft.targets": ("query", "key")}))


@pytest.mark.parametrize(
    ("attention", "positions"),
    [
        pytest.param(attention, positions, marks=() if default else pytest.mark.slow)
        for attention in ATTENTION_TYPES
        for positions in ("sinusoidal", "learned", "relative", "rope")
        for default in [(attention, positions) in BY_DEFAULT]
    ],
)
def test_prompts_stand_before_the_text_and_out_of_the_pool(attention: str, positions: str) -> None:
    config = configured(
        "soft_prompt",
        **{"attention.type": attention, "model.positions": positions},
    )
    model, _, trained, frozen = begun(config)
    params = complete(trained, frozen, config.peft)
    # A model without prompts gives the same for a text that begins with words of these embeddings.
    plain = ClassifierModel(replace(config, {"peft.method": "full"}), VOCABULARY, CLASSES)
    bare = split(params, lambda path: path[-1] != "prompt")[0]
    table = params["encoder"]["embeddings"]["tokens"]["embedding"]
    prompt = params["encoder"]["embeddings"]["prompt"]
    words = jnp.argmin(jnp.abs(table[None] - prompt[:, None]).sum(-1), axis=1).astype(jnp.int32)
    np.testing.assert_array_equal(table[words], prompt)
    assert (words > max(SPECIAL)).all() and len(set(words.tolist())) == 3
    batch = rows((11, 4), 13)
    longer = jnp.concatenate([jnp.tile(words, (2, 1)), batch["ids"]], axis=1)
    wider = jnp.pad(batch["mask"], ((0, 0), (3, 0)), constant_values=True)

    def hidden(model: ClassifierModel, params: Any, ids: jax.Array, mask: jax.Array) -> Any:
        def encoded(model: ClassifierModel) -> jax.Array:
            return model.encoder(ids, mask, deterministic=True)

        rngs = {"attention": jax.random.key(5)}
        return model.apply({"params": params}, method=encoded, rngs=rngs)

    @jax.jit
    def both() -> Any:
        ours = hidden(model, params, batch["ids"], batch["mask"])
        return ours, hidden(plain, bare, longer, wider)[:, 3:]

    ours, theirs = map(np.asarray, both())
    assert ours.shape == (2, 13, 16)
    real = np.asarray(batch["mask"])
    np.testing.assert_allclose(ours[real], theirs[real], atol=2e-5)


@pytest.mark.parametrize("method", ADDING)
def test_only_what_is_trained_moves_and_has_moments(method: str) -> None:
    options: dict[str, Any] = {"train.weight_decay": 0.1, "train.accumulation": 2}
    options |= {"peft.dropout": 0.3, "train.batch_size": 4}
    config = configured(method, **options)
    model, _, trained, frozen = begun(config)
    optimizer = make_optimizer(config.train, 10, config.finetune, 1)
    step = jax.jit(
        make_train_step(
            on_folded(classification_loss(model), config.peft),
            optimizer,
            accumulation=2,
            redraw_interval=1,
            loss_scale_steps=10,
        )
    )
    state = create_state(trained, optimizer, 0, frozen=frozen)
    before = tree_hash(frozen)
    for _ in range(3):
        state, sums = step(state, rows((9, 4, 12, 5), 12))
    assert np.isfinite(float(sums["loss"])) and float(sums["grad_norm"]) > 0
    assert tree_hash(frozen_of(state)) == before
    shapes = {leaf.shape for leaf in jax.tree.leaves(trained)} | {()}
    assert {leaf.shape for leaf in jax.tree.leaves(state.opt_state)} <= shapes
    moments = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim)
    assert moments == 2 * counts(trained, frozen)["trainable"]
    moved = jax.tree_util.tree_map_with_path(
        lambda path, new, old: (path_names(path), bool((new != old).any())), state.params, trained
    )
    for path, has_moved in jax.tree.leaves(moved, is_leaf=lambda x: isinstance(x, tuple)):
        assert has_moved, path


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("lora", {"finetune.freeze_blocks": 1}, ["finetune.freeze_blocks: found 1", "lora"]),
        ("head_only", {"finetune.layer_decay": 0.9}, ["finetune.layer_decay", "head_only"]),
        ("head_only", {"finetune.backbone_lr_ratio": 0.5}, ["backbone_lr_ratio", "head_only"]),
        ("soft_prompt", {"finetune.layer_decay": 0.9}, ["finetune.layer_decay", "soft_prompt"]),
        ("soft_prompt", {"peft.n_tokens": 17}, ["found 17", "= 16", "33 tokens", "= 32"]),
        ("lora", {"peft.targets": ()}, ["peft.targets", "query"]),
        ("lora", {"peft.targets": ("q",)}, ["peft.targets", "'q'", "query, key, value"]),
        ("lora", {"peft.targets": ("up", "up")}, ["peft.targets", "different"]),
        ("lorra", {}, ["peft.method", "did you mean 'lora'"]),
        ("lora", {"peft.dropout": 1.0}, ["peft.dropout", "1.0"]),
    ],
)
def test_what_makes_no_sense_is_refused(method: str, options: dict, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        configured(method, **options)
    for word in words:
        assert word in str(error.value)


def test_a_method_needs_a_base_and_a_finished_vocabulary() -> None:
    check_method(configured("full"), "none")
    with pytest.raises(InputError, match=r"--pretrain=none: peft\.method = lora"):
        check_method(configured("lora"), "none")
    with pytest.raises(InputError, match=r"tokenizer\.extend: found 5.*adapter"):
        check_method(configured("adapter", **{"tokenizer.extend": 5}), "first@1")


def test_random_prompts_and_factors_follow_the_seed() -> None:
    config = configured("soft_prompt", **{"peft.prompt_init": "random"})
    model, found, trained, _ = begun(config)
    other = dataclasses.replace(config, train=replace(config, {"train.seed": 1}).train)
    again, different = (
        first_params(model, c, SPECIAL, "first@1", found)[0] for c in (config, other)
    )
    assert tree_hash(trained) == tree_hash(again) != tree_hash(different)
    lora = begun(configured("lora", **{"model.num_layers": 2}))[2]
    added = split(lora, is_added)[0]
    blocks = added["encoder"]
    a = [
        blocks[f"blocks_{i}"]["attention"][n]["lora_a"] for i in (0, 1) for n in ("query", "value")
    ]
    assert len({np.asarray(x).tobytes() for x in a}) == 4
    assert not np.asarray(blocks["blocks_0"]["attention"]["query"][LORA_B]).any()


@pytest.mark.parametrize("method", ["lora", "soft_prompt"])
def test_a_planned_step_has_the_state_of_the_run(method: str) -> None:
    config = configured(method)
    step = synthetic_step(
        config,
        task="classification",
        batch_size=64,
        length=16,
        vocab_size=VOCABULARY,
        num_classes=CLASSES,
    )
    _, _, trained, frozen = begun(config)
    shapes = lambda tree: jax.tree.map(lambda leaf: leaf.shape, tree)  # noqa: E731
    assert shapes(step.state.params) == shapes(trained)
    assert shapes(frozen_of(step.state)) == shapes(frozen)
