"""Every family computes what `transformers` computes, imported and exported, and nothing else.

Every parameter is away from its initial value: otherwise a norm in the wrong place or a bias left
out would go unseen.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import replace
from jaxattn.errors import InputError
from jaxattn.interop.export import write_published
from jaxattn.interop.families import FAMILIES, MODEL_TYPES
from jaxattn.interop.family import POOLER
from jaxattn.interop.published import Published, read_published
from jaxattn.model.embeddings import Embeddings
from jaxattn.model.encoder import Encoder, EncoderBlock
from jaxattn.model.heads import ClassifierModel, MlmModel, init_classifier

WORDS, TOKENS = 41, 13
SIZES = {
    "vocab_size": WORDS, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
    "intermediate_size": 40, "max_position_embeddings": 20,
}  # fmt: skip


class Case(NamedTuple):
    """An architecture of `transformers`: its classes begin with `called`.

    `noise` is added to every parameter; where no norm follows a layer, more of it than of others
    makes hidden states so large that float32 rounds them by 1e-5, there as here.
    """

    called: str
    options: dict[str, Any]
    noise: float = 0.3


CASES = {
    "bert": Case("Bert", SIZES),
    "distilbert": Case(
        "DistilBert",
        {"vocab_size": WORDS, "dim": 24, "hidden_dim": 40, "n_layers": 2, "n_heads": 3,
         "max_position_embeddings": 20},
    ),
}  # fmt: skip

SMALL = SIZES | {"max_position_embeddings": 22, "type_vocab_size": 1}
CASES |= {
    "roberta": Case("Roberta", SMALL),
    "xlm-roberta": Case("XLMRoberta", SMALL),
    "electra": Case("Electra", SIZES | {"embedding_size": 24}),
    "electra/narrow": Case("Electra", SIZES | {"embedding_size": 10}),
    "camembert": Case("Camembert", SMALL | {"bos_token_id": 5, "eos_token_id": 6}),
}

SPECIAL = {
    "pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3
}  # fmt: skip
MODERN = SIZES | SPECIAL | {"num_hidden_layers": 4, "local_attention": 8}
THETAS = {
    "full_attention": {"rope_type": "default", "rope_theta": 500.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
}
CASES |= {
    "modernbert": Case("ModernBert", MODERN, 0.1),
    # Another order of the layers, and other bases.
    "modernbert/other": Case(
        "ModernBert",
        MODERN | {"layer_types": ["sliding_attention", "sliding_attention", "full_attention",
                                  "sliding_attention"], "rope_parameters": THETAS},
        0.1,
    ),
}  # fmt: skip

Tokenizer = Callable[[Path, int], None]


def test_there_is_a_case_for_every_model_type() -> None:
    assert {name.partition("/")[0] for name in CASES} == set(MODEL_TYPES)


def published(folder: Path, case: Case, suffix: str, write_vocabulary: Tokenizer) -> Any:
    """A model of `transformers` in eval mode with perturbed weights, and its folder written."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(3)
    config = getattr(transformers, f"{case.called}Config")(**case.options)
    model = getattr(transformers, f"{case.called}{suffix}")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(case.noise * torch.randn_like(parameter))
    model.save_pretrained(folder)
    write_vocabulary(folder, WORDS)
    return model


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Ids without special tokens, padded with id 1, and the mask."""
    rng = np.random.default_rng(5)
    mask = np.arange(TOKENS) < np.array([TOKENS, 4, 9])[:, None]
    return np.where(mask, rng.integers(5, WORDS, mask.shape), 1).astype(np.int32), mask


def theirs(model: Any, **options: Any) -> Any:
    """What a model of `transformers` gives for the batch."""
    import torch

    ids, mask = batch()
    given = {"input_ids": torch.tensor(ids).long(), "attention_mask": torch.tensor(mask).long()}
    with torch.no_grad():
        return model(**given, **options)


def hidden_states(
    bert: Published, ids: np.ndarray | None = None, mask: np.ndarray | None = None
) -> np.ndarray:
    """Of the embeddings and every block, float32 [layers + 1, B, N, D]."""
    names = ["embeddings", *(f"blocks_{i}" for i in range(bert.config.model.num_layers))]
    encoder = Encoder(bert.config, bert.tokenizer.get_vocab_size(), jnp.float32)
    inputs = batch() if ids is None else (ids, mask)

    def apply(params: Any) -> Any:
        _, kept = encoder.apply(
            {"params": params["encoder"]},
            *inputs,
            deterministic=True,
            capture_intermediates=lambda module, name: (
                name == "__call__" and isinstance(module, Embeddings | EncoderBlock)
            ),
            mutable=["intermediates"],
        )
        return jnp.stack([kept["intermediates"][name]["__call__"][0] for name in names])

    states = np.asarray(jax.jit(apply)(bert.params))
    return states[:-1] if bert.config.model.norm == "pre" else states


def mlm_logits(
    bert: Published, ids: np.ndarray | None = None, mask: np.ndarray | None = None
) -> np.ndarray:
    """At every position."""
    if ids is None or mask is None:
        ids, mask = batch()
    everywhere = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    params = {name: value for name, value in bert.params.items() if name != "pooler"}
    model = MlmModel(bert.config, bert.tokenizer.get_vocab_size())
    apply = jax.jit(lambda p: model.apply({"params": p}, ids, mask, everywhere, deterministic=True))
    return np.asarray(apply(params))


def blocks_of(states: Any, bert: Published) -> np.ndarray:
    """Theirs of the embeddings and every block; the last one's may have the final norm already."""
    stacked = np.stack([h.numpy() for h in states])
    return stacked[:-1] if bert.config.model.norm == "pre" else stacked


def close(found: Any, wanted: Any, mask: np.ndarray | None = None) -> None:
    """At the places of text: what stands in padded ones is nobody's concern."""
    mask = batch()[1] if mask is None else mask
    found, wanted = (np.asarray(x)[..., mask, :] for x in (found, wanted))
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_hidden_states_and_logits_there_and_back(
    name: str, tmp_path: Path, write_vocabulary: Tokenizer
) -> None:
    model = published(tmp_path / "in", CASES[name], "ForMaskedLM", write_vocabulary)
    wanted = theirs(model, output_hidden_states=True)
    bert = read_published(tmp_path / "in")
    close(hidden_states(bert), blocks_of(wanted.hidden_states, bert))
    close(mlm_logits(bert), wanted.logits.numpy())
    loads = write_published(
        tmp_path / "out", bert.config, bert.params, bert.tokenizer,
        model_type=bert.model_type, origin="pretrain/bert",
    )  # fmt: skip
    assert loads[0] == type(model).__name__
    again, told = type(model).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not told["missing_keys"] and not told["mismatched_keys"]
    close(theirs(again.eval()).logits.numpy(), wanted.logits.numpy())
    back = read_published(tmp_path / "out")
    assert back.config == bert.config
    assert back.tokenizer.to_str() == bert.tokenizer.to_str()
    jax.tree.map(np.testing.assert_array_equal, back.params, bert.params)


@pytest.mark.parametrize(
    "name", [n for n in CASES if n.partition("/")[0] not in ("distilbert", "electra", "modernbert")]
)
def test_the_pooler(name: str, tmp_path: Path, write_vocabulary: Tokenizer) -> None:
    model = published(tmp_path, CASES[name], "Model", write_vocabulary)
    bert = read_published(tmp_path)
    assert bert.parts == ("encoder", POOLER)
    width = bert.config.model.hidden_dim
    # With the identity for its last layer a classifier gives what comes out of the pooler.
    head = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    config = replace(bert.config, {"head.pooling": "cls", "head.pooler": "bert"})
    found = ClassifierModel(config, WORDS, width).apply(
        {"params": bert.params | {"classifier": head}}, *batch(), deterministic=True
    )
    np.testing.assert_allclose(found, theirs(model).pooler_output.numpy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_a_classifier_of_ours_is_one_of_theirs(
    name: str, tmp_path: Path, write_vocabulary: Tokenizer
) -> None:
    published(tmp_path / "in", CASES[name], "ForMaskedLM", write_vocabulary)
    bert = read_published(tmp_path / "in")
    family = MODEL_TYPES[bert.model_type]
    config = replace(bert.config, {"head.pooling": "cls", "head.pooler": family.classifier.pooler})
    model = ClassifierModel(config, WORDS, 3)
    leaves, tree = jax.tree.flatten(init_classifier(model, 0))
    rng = np.random.default_rng(0)
    leaves = [p + rng.normal(scale=0.3, size=p.shape).astype(np.float32) for p in leaves]
    params = jax.tree.unflatten(tree, leaves)
    loads = write_published(
        tmp_path / "out", config, params, bert.tokenizer,
        model_type=bert.model_type, label_names=("a", "b", "c"), origin="finetune/x",
    )  # fmt: skip
    transformers = pytest.importorskip("transformers")
    again, told = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert type(again).__name__ == loads[0]
    assert not told["missing_keys"] and not told["unexpected_keys"]
    assert again.config.id2label == {0: "a", 1: "b", 2: "c"}
    found = model.apply({"params": params}, *batch(), deterministic=True)
    np.testing.assert_allclose(found, theirs(again.eval()).logits.numpy(), atol=1e-5, rtol=0)


def test_a_family_is_listed_once() -> None:
    listed = [name for family in FAMILIES for name in family.model_types]
    assert len(listed) == len(set(listed))


def test_it_computes_what_was_stored(relative: tuple[str, Path]) -> None:
    """What make_golden.py wrote, where there is no torch."""
    kind, folder = relative
    bert = read_published(folder)
    assert bert.parts == ("encoder", "MLM head")
    with np.load(Path(__file__).with_name(f"golden_{kind}.npz"), allow_pickle=False) as stored:
        wanted = dict(stored)
    inputs = ids, mask = wanted["ids"], wanted["mask"]
    assert not mask.all() and ids[~mask].max() == RELATIVE_PADS[kind]
    for found, name in (
        (hidden_states(bert, *inputs), "hidden"),
        (mlm_logits(bert, *inputs), "logits"),
    ):
        np.testing.assert_allclose(
            found[..., mask, :], wanted[name][..., mask, :], atol=1e-5, rtol=0, err_msg=name
        )


RELATIVE_PADS = {"distilbert": 0, "roberta": 1, "electra": 0, "modernbert": 0}


def test_what_a_discriminator_predicts_with_is_left_out(
    tmp_path: Path, write_vocabulary: Tokenizer
) -> None:
    model = published(tmp_path, CASES["electra/narrow"], "ForPreTraining", write_vocabulary)
    bert = read_published(tmp_path)
    assert bert.parts == ("encoder",)
    assert len(bert.left_out) == 4 and all("discriminator" in name for name in bert.left_out)
    wanted = theirs(model, output_hidden_states=True).hidden_states
    close(hidden_states(bert), np.stack([h.numpy() for h in wanted]))


@pytest.mark.parametrize("length", [40, 129, 700])
def test_windows_are_theirs_at_any_length(
    length: int, tmp_path: Path, write_vocabulary: Tokenizer
) -> None:
    """With the published window of 128 tokens, and padding that ends within one."""
    sizes = MODERN | {"local_attention": 128, "max_position_embeddings": 1024}
    model = published(tmp_path, Case("ModernBert", sizes, 0.1), "Model", write_vocabulary)
    modern = read_published(tmp_path)
    assert modern.config.attention.label == "sdpa-local-local"
    assert modern.config.attention.local.window == 128
    ids = np.random.default_rng(1).integers(5, WORDS, (2, length)).astype(np.int32)
    mask = np.arange(length) < np.array([length, length - 30])[:, None]
    import torch

    with torch.no_grad():
        given = {"input_ids": torch.tensor(ids).long(), "attention_mask": torch.tensor(mask).long()}
        states = model(**given, output_hidden_states=True).hidden_states
    close(hidden_states(modern, ids, mask), blocks_of(states, modern), mask)


OLDER = {
    "global_attn_every_n_layers": 2, "global_rope_theta": 900.0, "local_rope_theta": None,
    "local_attention": 8, "num_hidden_layers": 4,
}  # fmt: skip


def test_both_forms_of_their_configuration_are_read() -> None:
    """As on the hub: the older one counts layers and names its bases one by one."""
    family = MODEL_TYPES["modernbert"]
    found = family.read(OLDER, "config.json")
    assert found["attention.pattern"] == ("sdpa", "local")
    assert found["model.rope_base"] == found["model.local_rope_base"] == 900.0
    assert family.read({"num_hidden_layers": 4}, "c") == {
        "attention.type": "sdpa", "attention.pattern": ("sdpa", "local", "local"),
        "attention.local.window": 128, "model.rope_base": 160_000.0,
        "model.local_rope_base": 10_000.0,
    }  # fmt: skip
    everywhere = {"num_hidden_layers": 2, "layer_types": ["sliding_attention"] * 2}
    assert family.read(everywhere, "c")["attention.type"] == "local"
    assert family.read(everywhere, "c")["attention.pattern"] == ()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types: found .* each of 4 layers"),
        ({"layer_types": ["linear_attention"] * 4}, "expected full_attention or sliding_attention"),
        ({"local_attention": "x"}, "local_attention: found 'x'"),
        ({"global_attn_every_n_layers": 0}, "global_attn_every_n_layers: found 0"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "'yarn', allowed"),
        ({"global_rope_theta": -1}, "global_rope_theta: found -1"),
    ],
)
def test_what_a_modernbert_cannot_be_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"config.json: .*{words}"):
        MODEL_TYPES["modernbert"].read(OLDER | changed, "config.json")


def test_only_its_own_attentions_are_exported_as_a_modernbert(
    tmp_path: Path, write_vocabulary: Tokenizer
) -> None:
    published(tmp_path / "in", CASES["modernbert"], "ForMaskedLM", write_vocabulary)
    modern = read_published(tmp_path / "in")
    other = replace(modern.config, {"attention.pattern": ("sdpa", "performer_favor")})
    with pytest.raises(InputError, match="found performer_favor in a layer"):
        write_published(
            tmp_path / "out", other, modern.params, modern.tokenizer,
            model_type="modernbert", origin="tapt/x",
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
