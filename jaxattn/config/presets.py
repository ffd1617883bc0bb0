"""The published architectures and the pretraining recipe that files in configs/ begin with."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jaxattn.config.editable import defaults, inherit_architecture
from jaxattn.errors import InputError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

ARCHITECTURES = {
    "bert_small": (4, 512, 2048, 8, 512),
    "modern_small": (4, 512, 1344, 8, 512),
    "autotinybert_5x564": (5, 564, 1054, 8, 512),
    "autotinybert_4x396": (4, 396, 624, 6, 384),
    "autotinybert_4x432": (4, 432, 384, 4, 256),
    "autotinybert_3x320": (3, 320, 608, 4, 256),
    "quick": (2, 128, 256, 4, 128),
    "lra_listops": (6, 512, 2048, 8, 512),
    "lra_text": (4, 256, 1024, 4, 256),
}
"""Name -> layers, hidden, feed-forward, heads, query/key/value width.

BERT_SMALL: "Well-Read Students Learn Better" (Turc et al. 2019); modern_small has as many
parameters with gated feed-forward layers, for `set_modern`. The others: AutoTinyBERT (Yin et
al. 2021). The two of Long Range Arena: Tay et al. 2020. "quick" is ours: small enough to
train on two CPU cores in minutes.
"""

_WIDTHS = ("num_layers", "hidden_dim", "mlp_dim", "num_heads", "qkv_dim")


def architecture_options(name: str) -> dict[str, int]:
    """The options of one of `ARCHITECTURES`; raises InputError for another name."""
    if name not in ARCHITECTURES:
        raise InputError(f"architecture: found {name!r}, allowed: {', '.join(ARCHITECTURES)}")
    sizes = zip(_WIDTHS, ARCHITECTURES[name], strict=True)
    return {f"model.{width}": size for width, size in sizes}


def set_architecture(config: "ConfigDict", name: str) -> None:
    """Gives `config.model` one of `ARCHITECTURES`; raises InputError for another name."""
    config.update_from_flattened_dict(architecture_options(name))


def set_modern(config: "ConfigDict") -> None:
    """Makes of the encoder a ModernBERT (Warner et al. 2024) of its size; see interop's family."""
    config.attention.pattern = ("sdpa", "local", "local")
    config.attention.local.window = 128
    config.model.positions = "rope"
    config.model.rope_base = 160_000.0
    config.model.local_rope_base = 10_000.0
    config.model.norm = "pre"
    config.model.embedding_norm = True
    config.model.norm_eps = 1e-5
    config.model.mlp_gate = True
    for bias in ("norm_bias", "mlp_bias", "projection_bias", "transform_bias"):
        config.model[bias] = False


def wikipedia_pretraining(architecture: str) -> "ConfigDict":
    """MLM on 200,000 Wikipedia articles: 10 epochs, batches of 64, peak rate 5e-4.

    Reads the hub's dataset, or the Parquet, CSV or JSONL files of --config.data.path.
    """
    config = defaults()
    set_architecture(config, architecture)
    config.data.name = "wiki"
    config.data.hub = "wikimedia/wikipedia"
    config.data.hub_config = "20231101.en"
    config.data.max_examples = 200_000
    config.tokenizer.vocab_size = 30522
    config.train.epochs = 10
    return config


def quick_classification(
    mode: str, corpus: str, max_length: int, *, batch_size: int, epochs: int
) -> "ConfigDict":
    """A corpus known by name and an encoder that two CPU cores can train: MLM, then the classifier.

    Args:
        mode: the --mode; for fine-tuning the architecture is inherited.
        corpus: a name of `jaxattn.data.known_corpora`, which says where and how it is read.
        max_length: tokens per example.
        batch_size: examples per step.
        epochs: of fine-tuning; pretraining and TAPT have 150 steps.
    """
    config = defaults()
    config.data.name = corpus
    config.data.max_length = max_length
    config.data.length_buckets = (max_length // 4, max_length // 2, max_length)
    config.train.batch_size = batch_size
    config.train.learning_rate = 1e-3
    config.train.epochs = epochs
    if mode in ("tapt", "finetune"):
        inherit_architecture(config)
        if mode == "tapt":
            config.train.max_steps = 150
        return config
    set_architecture(config, "quick")
    config.model.max_seq_len = max_length
    config.attention.reformer_lsh.num_hashes = 2
    config.train.max_steps = 150
    return config


def quick_study(
    mode: str, *, max_seq_len: int, epochs: Mapping[str, int], steps: Mapping[str, int]
) -> "ConfigDict":
    """Any corpus and an encoder that two CPU cores can train in minutes.

    Args:
        mode: the --mode; for TAPT and fine-tuning the architecture is inherited.
        max_seq_len: the longest input of the encoder, tokens.
        epochs: of "pretrain", "tapt" and "finetune".
        steps: of each of them, at most.
    """
    config = defaults()
    stage = mode if mode in ("tapt", "finetune") else "pretrain"
    config.train.batch_size = 32
    config.train.eval_batch_size = 64
    config.train.learning_rate = 5e-4 if stage == "tapt" else 1e-3
    config.train.epochs = epochs[stage]
    config.train.max_steps = steps[stage]
    if stage != "pretrain":
        inherit_architecture(config)
        return config
    set_architecture(config, "quick")
    config.model.max_seq_len = max_seq_len
    config.attention.reformer_lsh.num_hashes = 2
    return config


def minbert(mode: str, corpus: str, *, batch_size: int) -> "ConfigDict":
    """A task of the minBERT course with the settings of its classifier.py (CS224N's version).

    Pretraining is a small encoder of BERT's kind, for those who have no BERT to import.

    Args:
        mode: the --mode; for later stages the architecture is that of the imported BERT.
        corpus: sst5 or cfimdb.
        batch_size: examples per step.
    """
    config = defaults()
    config.data.name = corpus
    config.data.max_length = 128 if corpus == "sst5" else 512
    config.train.batch_size = batch_size
    if mode in ("tapt", "finetune"):
        inherit_architecture(config)
    else:
        set_architecture(config, "quick")
        config.model.max_seq_len = 512
        config.model.positions = "learned"
        config.model.norm = "post"
        config.model.norm_eps = 1e-12
        config.model.token_types = 2
    if mode != "finetune":
        config.train.learning_rate = 5e-4
        config.train.max_steps = 150
        return config
    # There dropout and linear layer follow the pooler, whose input is the first token; the 0.3 of
    # hidden_dropout_prob is the head's alone, inside BERT it is that of the checkpoint.
    config.head.pooling = "cls"
    config.head.pooler = "bert"
    config.head.dropout = 0.3
    config.train.epochs = 10
    config.train.learning_rate = 1e-5
    config.train.schedule = "constant"
    config.train.warmup_ratio = 0.0
    config.train.optimizer = "minbert_adamw"
    config.train.epsilon = 1e-6
    config.train.weight_decay = 0.0
    # It does not clip.
    config.train.clip_norm = 1e6
    config.train.seed = 11711
    return config


def long_range_arena(architecture: str, *, tokens: int, steps: int, warmup: int) -> "ConfigDict":
    """A classifier of Long Range Arena, trained from random weights as published.

    Args:
        architecture: "lra_listops" or "lra_text".
        tokens: longest input, [CLS] and [SEP] not counted.
        steps: optimizer steps of batches of 32.
        warmup: of them with a rising rate, to 0.05 / sqrt(warmup).
    """
    config = defaults()
    set_architecture(config, architecture)
    config.model.max_seq_len = config.data.max_length = tokens + 2
    config.model.positions = "sinusoidal"
    config.head.pooling = "cls"
    config.head.pooler = "bert"
    config.train.batch_size = 32
    config.train.max_steps = steps
    config.train.learning_rate = 0.05 / warmup**0.5
    config.train.warmup_ratio = warmup / steps
    config.train.weight_decay = 0.1
    config.train.beta2 = 0.98
    return config
