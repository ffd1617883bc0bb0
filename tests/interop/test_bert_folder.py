"""What a folder may look like, what is refused and why; nothing is ever imported partially."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxattn.config import Config, replace
from jaxattn.data.tokens.arrays import SpecialIds
from jaxattn.errors import InputError
from jaxattn.interop.export import write_published
from jaxattn.interop.options import document_of, model_options
from jaxattn.interop.published import read_published

Make = Callable[..., Path]
Weights = Callable[[], dict[str, np.ndarray]]
QUERY = "bert.encoder.layer.1.attention.self.query.weight"


def same(found: dict, wanted: dict) -> None:
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(InputError) as error:
        read_published(folder)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_options_are_those_of_the_model(bert_folder: Path) -> None:
    bert = read_published(bert_folder)
    model = bert.config.model
    assert (model.num_layers, model.hidden_dim, model.mlp_dim, model.num_heads) == (2, 16, 24, 2)
    assert (model.qkv_dim, model.max_seq_len, model.token_types) == (16, 12, 2)
    assert (model.positions, model.norm, model.norm_eps) == ("learned", "post", 1e-12)
    assert (model.mlp_dropout, model.embedding_dropout, model.attention_dropout) == (0.1, 0.1, 0.1)
    assert bert.config.tokenizer.lowercase
    assert bert.config.data.max_length == 12
    assert bert.parts == ("encoder", "MLM head", "pooler")
    assert bert.left_out == ("cls.seq_relationship.weight", "cls.seq_relationship.bias")
    assert set(bert.hashes) == {"config.json", "model.safetensors"}


def test_old_names_and_names_without_prefix_are_the_same(
    tmp_path: Path, bert_folder: Path, make_folder: Make, made_weights: Weights
) -> None:
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in made_weights().items()
    }
    # As some save them: the tied weights too, and the positions' numbers.
    old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"]
    old["cls.predictions.decoder.bias"] = old["cls.predictions.bias"]
    old["bert.embeddings.position_ids"] = np.arange(12)[None]
    wanted = read_published(bert_folder).params
    same(read_published(make_folder(tmp_path / "old", old)).params, wanted)
    short = {name.removeprefix("bert."): value for name, value in made_weights().items()}
    same(read_published(make_folder(tmp_path / "short", short)).params, wanted)


def test_half_precision_becomes_float32(
    tmp_path: Path, make_folder: Make, made_weights: Weights
) -> None:
    import ml_dtypes

    for dtype in (np.float16, ml_dtypes.bfloat16):
        given = {name: value.astype(dtype) for name, value in made_weights().items()}
        bert = read_published(make_folder(tmp_path / np.dtype(dtype).name, given))
        kernel = bert.params["encoder"]["blocks_1"]["attention"]["query"]["kernel"]
        assert kernel.dtype == np.float32
        np.testing.assert_array_equal(kernel, given[QUERY].T.astype(np.float32))


def test_parts_may_be_absent_but_not_half_of_one(
    tmp_path: Path, make_folder: Make, made_weights: Weights
) -> None:
    inner = {n: v for n, v in made_weights().items() if n.startswith("bert.") and "pool" not in n}
    assert read_published(make_folder(tmp_path / "inner", inner)).parts == ("encoder",)
    half = inner | {"bert.pooler.dense.bias": np.zeros(16, np.float32)}
    refused(make_folder(tmp_path / "half", half), "1 missing: bert.pooler.dense.weight")


def test_missing_and_unexpected_tensors_are_listed(
    tmp_path: Path, make_folder: Make, made_weights: Weights
) -> None:
    given = made_weights()
    del given[QUERY]
    given["classifier.weight"] = np.zeros((2, 16), np.float32)
    folder = make_folder(tmp_path / "other", given)
    refused(folder, "1 missing", QUERY, "1 unexpected: classifier.weight", "nothing was imported")
    refused(make_folder(tmp_path / "deep", num_hidden_layers=3), "16 missing", "layer.2")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t | {QUERY: np.zeros((16, 8), np.float32)}, [QUERY, "[16, 8]", "[16, 16]"]),
        (lambda t: t | {QUERY: np.full((16, 16), np.nan, np.float32)}, [QUERY, "not finite"]),
        (lambda t: t | {QUERY: np.zeros((16, 16), np.int64)}, [QUERY, "int64"]),
        (lambda t: t | {QUERY.removeprefix("bert."): t[QUERY]}, ["two tensors are", QUERY]),
        (
            lambda t: t | {"cls.predictions.decoder.weight": np.zeros((30, 16), np.float32)},
            ["decoder.weight differs", "not tied"],
        ),
    ],
)
def test_wrong_tensors_are_named(
    change: Callable, words: list[str], tmp_path: Path, make_folder: Make, made_weights: Weights
) -> None:
    refused(make_folder(tmp_path / "bert", change(made_weights())), *words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "gpt2"}, ["model_type", "'gpt2'", "'bert'"]),
        ({"hidden_act": "gelu_new"}, ["hidden_act", "'gelu_new'", "exact GELU"]),
        ({"position_embedding_type": "relative_key"}, ["position_embedding_type"]),
        ({"is_decoder": True}, ["is_decoder"]),
        ({"tie_word_embeddings": False}, ["tie_word_embeddings"]),
        ({"quantization_config": {}}, ["quantization_config"]),
        ({"num_attention_heads": 3}, ["num_attention_heads", "3", "16"]),
        ({"hidden_size": None}, ["hidden_size", "None"]),
        ({"layer_norm_eps": "small"}, ["layer_norm_eps", "'small'"]),
        ({"layer_norm_eps": 0.5}, ["config.json", "norm_eps", "0.5"]),
        ({"vocab_size": 31}, ["30 words", "vocab_size", "31"]),
        ({"type_vocab_size": 3}, ["token_type_embeddings", "[2, 16]", "[3, 16]"]),
    ],
)
def test_other_families_are_refused_with_the_reason(
    changes: dict, words: list[str], tmp_path: Path, make_folder: Make
) -> None:
    refused(make_folder(tmp_path / "bert", **changes), *words)


def test_files_that_are_not_there_or_not_what_they_should_be(
    tmp_path: Path, make_folder: Make
) -> None:
    refused(tmp_path / "nowhere", "no such folder")
    refused(tmp_path, "no config.json")
    folder = make_folder(tmp_path / "bert")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8])
    refused(folder, "model.safetensors", "not readable as safetensors")
    weights.unlink()
    refused(folder, "no model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    refused(folder, "pytorch_model.bin", "never read", "save_pretrained")
    weights.write_bytes(whole)
    (folder / "config.json").write_text("{")
    refused(folder, "config.json", "JSON")
    other = make_folder(tmp_path / "other")
    (other / "vocab.txt").unlink()
    refused(other, "neither tokenizer.json nor vocab.txt")


def test_shards_are_read_by_their_index(
    tmp_path: Path, bert_folder: Path, make_folder: Make, made_weights: Weights
) -> None:
    folder = make_folder(tmp_path / "bert")
    (folder / "model.safetensors").unlink()
    given = list(made_weights().items())
    halves = {"a.safetensors": dict(given[:20]), "b.safetensors": dict(given[20:])}
    index = {name: file for file, half in halves.items() for name in half}
    for file, half in halves.items():
        save_file(half, folder / file)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": index}))
    bert = read_published(folder)
    same(bert.params, read_published(bert_folder).params)
    assert set(bert.hashes) == {"config.json", *halves}
    path.write_text(json.dumps({"weight_map": index | {QUERY: "a.safetensors"}}))
    refused(folder, QUERY, "in b.safetensors")
    path.write_text(json.dumps({"weight_map": index | {QUERY: "../b.safetensors"}}))
    refused(folder, "'../b.safetensors'")
    path.write_text(json.dumps({"weight_map": index | {QUERY: "c.safetensors"}}))
    refused(folder, "c.safetensors", "no such file")


def test_what_is_exported_is_imported_bit_for_bit(tmp_path: Path, bert_folder: Path) -> None:
    bert = read_published(bert_folder)
    write_published(tmp_path / "out", bert.config, bert.params, bert.tokenizer, origin="here")
    again = read_published(tmp_path / "out")
    same(again.params, bert.params)
    assert again.config == bert.config
    assert again.tokenizer.to_str() == bert.tokenizer.to_str()
    with pytest.raises(InputError, match="exists already"):
        write_published(tmp_path / "out", bert.config, bert.params, bert.tokenizer, origin="here")


def test_a_run_that_is_no_bert_is_not_exported(tmp_path: Path, bert_folder: Path) -> None:
    bert = read_published(bert_folder)
    for values, word in (
        ({"model.norm": "pre"}, "model.norm"),
        ({"model.positions": "rope"}, "model.positions"),
        ({"attention.type": "performer_favor", "model.attention_dropout": 0.0}, "attention.type"),
        ({"model.qkv_dim": 8}, "model.qkv_dim"),
        ({"model.activation": "relu"}, "model.activation"),
        ({"model.embedding_dim": 8}, "model.embedding_dim"),
    ):
        config = replace(bert.config, values)
        with pytest.raises(InputError, match=f"tapt/x: {word}: found"):
            write_published(tmp_path / "out", config, bert.params, bert.tokenizer, origin="tapt/x")
    assert not list(tmp_path.iterdir())


def test_parameters_that_a_bert_has_no_place_for_are_not_dropped(
    tmp_path: Path, bert_folder: Path
) -> None:
    bert = read_published(bert_folder)
    params = bert.params | {"encoder": bert.params["encoder"] | {"lora": {"a": np.ones(1)}}}
    with pytest.raises(InputError, match=r"tapt/x: encoder/lora/a has no place"):
        write_published(tmp_path / "out", bert.config, params, bert.tokenizer, origin="tapt/x")
    assert not list(tmp_path.iterdir())


def test_config_json_there_and_back() -> None:
    values = {"model.norm": "post", "model.positions": "learned", "model.token_types": 3}
    config = replace(Config(), values)
    document = document_of(config, "bert", 100, SpecialIds(*range(5)), "pretrain/x")
    found = model_options(document, "config.json")
    assert replace(Config(), found).model == config.model
