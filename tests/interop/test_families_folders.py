"""What a folder of each family may look like, what is refused and in whose words."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxattn.config import replace
from jaxattn.errors import InputError
from jaxattn.interop.export import write_published
from jaxattn.interop.families import MODEL_TYPES
from jaxattn.interop.published import read_published


def changed(folder: Path, **changes: Any) -> Path:
    """The folder with entries of its config.json exchanged."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


REFUSED = {
    "distilbert": [
        ({"activation": "relu"}, ["activation", "'relu'", "exact GELU"]),
        ({"n_heads": 3}, ["n_heads: found 3", "dim = 16"]),
        ({"dropout": 1.5}, ["dropout: found 1.5"]),
        ({"hidden_dim": 25}, ["ffn.lin1.weight", "[24, 16]", "[25, 16]"]),
        ({"tie_word_embeddings": False}, ["tie_word_embeddings"]),
    ],
    "roberta": [
        ({"pad_token_id": 0}, ["pad_token_id: found 0", "pads with 1"]),
        ({"pad_token_id": None}, ["pad_token_id: found None"]),
        ({"max_position_embeddings": 2}, ["max_position_embeddings: found 2", "more than 2"]),
        ({"max_position_embeddings": 15}, ["position_embeddings", "[14, 16]", "[15, 16]"]),
        ({"is_decoder": True}, ["is_decoder"]),
        ({"vocab_size": 31}, ["30 words", "31"]),
    ],
    "electra": [
        ({"embedding_size": 12}, ["word_embeddings", "[30, 10]", "[30, 12]"]),
        ({"embedding_size": None}, ["embedding_size: found None"]),
        ({"embedding_size": 16}, ["unexpected: electra.embeddings_project"]),
        ({"position_embedding_type": "relative_key"}, ["position_embedding_type"]),
    ],
    "modernbert": [
        ({"hidden_activation": "silu"}, ["hidden_activation: found 'silu'", "exact GELU"]),
        ({"norm_bias": True}, ["norm_bias: found True", "none are read"]),
        ({"classifier_bias": True}, ["classifier_bias: found True"]),
        ({"intermediate_size": 25}, ["mlp.Wi.weight", "[48, 16]", "[50, 16]"]),
        ({"num_attention_heads": 3}, ["num_attention_heads: found 3", "hidden_size = 16"]),
        ({"layer_types": ["full_attention"]}, ["layer_types", "each of 2 layers"]),
    ],
}


def test_what_is_refused_is_named_as_the_family_names_it(relative: tuple[str, Path]) -> None:
    kind, folder = relative
    whole = (folder / "config.json").read_text()
    for changes, words in REFUSED[kind]:
        (folder / "config.json").write_text(whole)
        with pytest.raises(InputError) as error:
            read_published(changed(folder, **changes))
        assert "\n" not in str(error.value)
        for word in words:
            assert word in str(error.value), changes


def test_names_without_the_prefix_and_tied_copies_are_the_same(relative: tuple[str, Path]) -> None:
    kind, folder = relative
    wanted = read_published(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    copies = MODEL_TYPES[kind].tied
    tensors |= {copy: tensors[of].copy() for copy, of in copies.items()}
    save_file(
        {name.removeprefix(MODEL_TYPES[kind].prefix): array for name, array in tensors.items()},
        path,
    )
    jax.tree.map(np.testing.assert_array_equal, read_published(folder).params, wanted.params)
    tensors[next(iter(copies))] += 1
    save_file(tensors, path)
    with pytest.raises(InputError, match="not tied"):
        read_published(folder)


def test_rows_before_the_first_position_are_left_out_and_come_back_as_zeros(
    relative: tuple[str, Path], tmp_path: Path
) -> None:
    kind, folder = relative
    bert = read_published(folder)
    names = [n for n in load_file(folder / "model.safetensors") if "position_emb" in n]
    assert bool(names) == (bert.config.model.positions == "learned")
    if not names:
        return
    (name,) = names
    theirs = load_file(folder / "model.safetensors")[name]
    first = 2 if kind == "roberta" else 0
    table = bert.params["encoder"]["embeddings"]["position_table"]
    np.testing.assert_array_equal(table, theirs[first:])
    assert bert.config.model.max_seq_len == len(theirs) - first
    write_published(
        tmp_path / "out", bert.config, bert.params, bert.tokenizer,
        model_type=kind, origin="pretrain/x",
    )  # fmt: skip
    back = load_file(tmp_path / "out" / "model.safetensors")[name]
    np.testing.assert_array_equal(back[first:], theirs[first:])
    assert not back[:first].any()


def test_a_classifier_with_another_head_is_not_exported(
    relative: tuple[str, Path], tmp_path: Path
) -> None:
    kind, folder = relative
    bert = read_published(folder)
    head = MODEL_TYPES[kind].classifier.pooler
    other = "relu" if head != "relu" else "bert"
    for pooling, pooler in (("cls", other), ("mean", head)):
        config = replace(bert.config, {"head.pooling": pooling, "head.pooler": pooler})
        with pytest.raises(InputError, match=f"finetune/x: head.pooling: .*'cls' with '{head}'"):
            write_published(
                tmp_path / "out", config, bert.params, bert.tokenizer,
                model_type=kind, label_names=("a", "b"), origin="finetune/x",
            )  # fmt: skip
    assert not (tmp_path / "out").exists()
