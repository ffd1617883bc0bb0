"""A tiny BERT in the Hugging Face form whose every number follows from a formula.

Its names and shapes are written down here on their own, from what `transformers` saves, and not
from `jaxattn.interop`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

LAYERS, WIDTH, MLP, WORDS, POSITIONS, TYPES = 2, 16, 24, 30, 12, 2
DOCUMENT: dict[str, Any] = {
    "architectures": ["BertForPreTraining"],
    "model_type": "bert",
    "vocab_size": WORDS,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": MLP,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": TYPES,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "pad_token_id": 0,
}
VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefghijklmnopqrstuvw",
    "##s",
    "##d",
]


def shapes(
    words: int = WORDS, positions: int = POSITIONS, layers: int = LAYERS
) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor, the tied output weights left out."""
    found: dict[str, tuple[int, ...]] = {}

    def dense(name: str, outputs: int, inputs: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name: str) -> None:
        found[f"{name}.LayerNorm.weight"] = found[f"{name}.LayerNorm.bias"] = (WIDTH,)

    for name, rows in (("word", words), ("position", positions), ("token_type", TYPES)):
        found[f"bert.embeddings.{name}_embeddings.weight"] = (rows, WIDTH)
    norm("bert.embeddings")
    for layer in range(layers):
        block = f"bert.encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            dense(f"{block}.attention.self.{name}", WIDTH, WIDTH)
        dense(f"{block}.attention.output.dense", WIDTH, WIDTH)
        norm(f"{block}.attention.output")
        dense(f"{block}.intermediate.dense", MLP, WIDTH)
        dense(f"{block}.output.dense", WIDTH, MLP)
        norm(f"{block}.output")
    dense("bert.pooler.dense", WIDTH, WIDTH)
    dense("cls.predictions.transform.dense", WIDTH, WIDTH)
    norm("cls.predictions.transform")
    found["cls.predictions.bias"] = (words,)
    dense("cls.seq_relationship", 2, WIDTH)
    return found


NARROW = 10
"""Width of ELECTRA's embeddings."""

RELATIVES: dict[str, dict[str, Any]] = {
    "distilbert": {
        "model_type": "distilbert", "vocab_size": WORDS, "dim": WIDTH, "hidden_dim": MLP,
        "n_layers": LAYERS, "n_heads": 2, "max_position_embeddings": POSITIONS, "dropout": 0.1,
        "attention_dropout": 0.1, "activation": "gelu", "pad_token_id": 0,
    },
    "roberta": DOCUMENT
    | {"model_type": "roberta", "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5,
       "max_position_embeddings": POSITIONS + 2},
    "electra": DOCUMENT | {"model_type": "electra", "embedding_size": NARROW},
    "modernbert": {
        "model_type": "modernbert", "vocab_size": WORDS, "hidden_size": WIDTH,
        "intermediate_size": MLP, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
        "max_position_embeddings": POSITIONS, "pad_token_id": 0, "bos_token_id": 2,
        "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "local_attention": 6,
        "global_attn_every_n_layers": 3, "global_rope_theta": 1000.0, "local_rope_theta": 50.0,
        "embedding_dropout": 0.0, "mlp_dropout": 0.0, "attention_dropout": 0.0, "norm_eps": 1e-5,
    },
}  # fmt: skip
"""config.json of other families, all with an MLM head."""


def relative_shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of one of `RELATIVES`, the tied output weights left out."""
    if kind == "distilbert":
        return _distilbert_shapes()
    if kind == "modernbert":
        return _modernbert_shapes()
    found = {}
    for name, shape in shapes().items():
        if name.startswith("bert.") and "pooler" not in name:
            found[name.replace("bert.", f"{kind}.", 1)] = shape
    tables = f"{kind}.embeddings"
    if kind == "roberta":
        found[f"{tables}.position_embeddings.weight"] = (POSITIONS + 2, WIDTH)
        found[f"{tables}.token_type_embeddings.weight"] = (1, WIDTH)
        head = {"dense.weight": (WIDTH, WIDTH), "dense.bias": (WIDTH,), "bias": (WORDS,)}
        head |= {"layer_norm.weight": (WIDTH,), "layer_norm.bias": (WIDTH,)}
        return found | {f"lm_head.{name}": shape for name, shape in head.items()}
    narrow = {name: (*shape[:-1], NARROW) for name, shape in found.items() if tables in name}
    return found | narrow | {
        "electra.embeddings_project.weight": (WIDTH, NARROW),
        "electra.embeddings_project.bias": (WIDTH,),
        "generator_predictions.dense.weight": (NARROW, WIDTH),
        "generator_predictions.dense.bias": (NARROW,),
        "generator_predictions.LayerNorm.weight": (NARROW,),
        "generator_predictions.LayerNorm.bias": (NARROW,),
        "generator_lm_head.bias": (WORDS,),
    }  # fmt: skip


def _distilbert_shapes() -> dict[str, tuple[int, ...]]:
    square, row, tables = (WIDTH, WIDTH), (WIDTH,), "distilbert.embeddings"
    found = {
        f"{tables}.word_embeddings.weight": (WORDS, WIDTH),
        f"{tables}.position_embeddings.weight": (POSITIONS, WIDTH),
        f"{tables}.LayerNorm.weight": row,
        f"{tables}.LayerNorm.bias": row,
    }
    for layer in range(LAYERS):
        block = f"distilbert.transformer.layer.{layer}"
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            found[f"{block}.attention.{name}.weight"] = square
            found[f"{block}.attention.{name}.bias"] = row
        found |= {f"{block}.ffn.lin1.weight": (MLP, WIDTH), f"{block}.ffn.lin1.bias": (MLP,)}
        found |= {f"{block}.ffn.lin2.weight": (WIDTH, MLP), f"{block}.ffn.lin2.bias": row}
        for name in ("sa_layer_norm", "output_layer_norm"):
            found |= {f"{block}.{name}.weight": row, f"{block}.{name}.bias": row}
    found |= {"vocab_transform.weight": square, "vocab_transform.bias": row}
    found |= {"vocab_layer_norm.weight": row, "vocab_layer_norm.bias": row}
    return found | {"vocab_projector.bias": (WORDS,)}


def _modernbert_shapes() -> dict[str, tuple[int, ...]]:
    square, row = (WIDTH, WIDTH), (WIDTH,)
    found: dict[str, tuple[int, ...]] = {
        "model.embeddings.tok_embeddings.weight": (WORDS, WIDTH),
        "model.embeddings.norm.weight": row,
    }
    for layer in range(LAYERS):
        block = f"model.layers.{layer}"
        if layer:
            found[f"{block}.attn_norm.weight"] = row
        found |= {
            f"{block}.attn.Wqkv.weight": (3 * WIDTH, WIDTH),
            f"{block}.attn.Wo.weight": square,
        }
        found |= {f"{block}.mlp_norm.weight": row, f"{block}.mlp.Wi.weight": (2 * MLP, WIDTH)}
        found[f"{block}.mlp.Wo.weight"] = (WIDTH, MLP)
    found |= {"model.final_norm.weight": row, "head.dense.weight": square, "head.norm.weight": row}
    return found | {"decoder.bias": (WORDS,)}


def write_relative(folder: Path, kind: str) -> Path:
    """The folder of one of `RELATIVES`, its weights by the same formula."""
    write_folder(folder, made(relative_shapes(kind)))
    (folder / "config.json").write_text(json.dumps(RELATIVES[kind]))
    if kind == "roberta":
        (folder / "vocab.txt").unlink()
        names = ["<s>", "<pad>", "</s>", "<unk>", *VOCABULARY[5:], "<mask>"]
        ids = {name: number for number, name in enumerate(names)}
        (folder / "vocab.json").write_text(json.dumps(ids))
        (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def weights(
    words: int = WORDS, positions: int = POSITIONS, layers: int = LAYERS
) -> dict[str, np.ndarray]:
    """Every tensor of the BERT."""
    return made(shapes(words, positions, layers))


def made(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Every tensor, float32: norms away from 1 and 0, no bias that is zero, no two alike."""
    found = {}
    for number, (name, shape) in enumerate(shapes.items(), 1):
        at = 12.9898 * np.arange(np.prod(shape), dtype=np.float64) + 78.233 * number
        noise = 2 * np.modf(np.abs(np.sin(at)) * 43758.5453)[0] - 1
        array = 0.5 * noise.reshape(shape)
        is_scale = name.lower().endswith("norm.weight")
        found[name] = (array + 1 if is_scale else array).astype(np.float32)
    return found


def write_folder(
    folder: Path,
    tensors: dict[str, np.ndarray] | None = None,
    vocabulary: list[str] = VOCABULARY,
    **changes: Any,
) -> Path:
    """The folder of that model; `tensors` instead of its own, `changes` to its config.json."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    document = {name: value for name, value in (DOCUMENT | changes).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(document))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    save_file(weights() if tensors is None else tensors, folder / "model.safetensors")
    return folder


@pytest.fixture(params=RELATIVES)
def relative(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A family and the folder of a model of it."""
    return request.param, write_relative(tmp_path / request.param, request.param)


@pytest.fixture
def made_weights() -> Callable[[], dict[str, np.ndarray]]:
    return weights


@pytest.fixture
def make_folder() -> Callable[..., Path]:
    return write_folder


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("hf") / "bert")


@pytest.fixture(scope="session")
def spelling_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose words are letters, so that every text can be read; 32 positions."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*VOCABULARY[:5], *letters, *(f"##{letter}" for letter in letters)]
    return write_folder(
        tmp_path_factory.mktemp("hf") / "spelling",
        weights(len(words), 32, layers=1),
        words,
        vocab_size=len(words),
        max_position_embeddings=32,
        num_hidden_layers=1,
    )


@pytest.fixture
def write_vocabulary() -> Callable[[Path, int], None]:
    """Writes a vocabulary of so many entries into a folder, as its model_type has it."""

    def write(folder: Path, size: int) -> None:
        others = [f"w{number}" for number in range(size - 5)]
        if json.loads((folder / "config.json").read_text()).get("pad_token_id") != 1:
            words = [*VOCABULARY[:5], *others]
            (folder / "vocab.txt").write_text("\n".join(words) + "\n")
            return
        names = ["<s>", "<pad>", "</s>", "<unk>", *others, "<mask>"]
        ids = {name: number for number, name in enumerate(names)}
        (folder / "vocab.json").write_text(json.dumps(ids))
        (folder / "merges.txt").write_text("#version: 0.2\n")

    return write


TEXTS = [
    "The cats purr, and the dogs bark: nobody sleeps!",
    "  Two  spaces, a\ttab\nand a line feed  ",
    "Crème brûlée, naïve café, ÅNGSTRÖM, straße",
    "猫は可愛い。我喜欢狗",
    "🐈 sleeps 👩‍👩‍👧 and 😀😀",
    "don't, can't; it's 3.14 or 1,000,000 (see [1])",
    "",
    " ",
    "a",
    "zzzzqqqq " * 40,
]
"""Spaces, accents, Chinese, emoji, contractions, nothing at all, and too much."""


def _trained(kind: str, size: int) -> Any:
    """A tokenizer with RoBERTa's special tokens, trained on `TEXTS`: "BPE" or "Unigram"."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

    names = ["<s>", "<pad>", "</s>", "<unk>"]
    if kind == "BPE":
        found = tokenizers.Tokenizer(models.BPE())
        found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer: Any = trainers.BpeTrainer(
            vocab_size=size - 1, special_tokens=names, show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
    else:
        found = tokenizers.Tokenizer(models.Unigram())
        found.normalizer = normalizers.NFKC()
        found.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        )
        trainer = trainers.UnigramTrainer(
            vocab_size=size - 1, special_tokens=names, unk_token="<unk>", show_progress=False
        )
    # Of Chinese a Unigram vocabulary shall know nothing.
    found.train_from_iterator([t for t in TEXTS if kind == "BPE" or t.isascii()] * 3, trainer)
    found.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True)])
    found.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    if kind == "Unigram":
        found.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
            special_tokens=[("<s>", 0), ("</s>", 2)],
        )  # fmt: skip
    return found


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session")
def trained_tokenizer() -> Callable[[str, int], Any]:
    return _trained
