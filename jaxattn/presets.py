"""The published architectures and the pretraining recipe that files in configs/ begin with."""

from typing import TYPE_CHECKING

from jaxattn.config_io import defaults
from jaxattn.errors import InputError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

ARCHITECTURES = {
    "bert_small": (4, 512, 2048, 8, 512),
    "autotinybert_5x564": (5, 564, 1054, 8, 512),
    "autotinybert_4x396": (4, 396, 624, 6, 384),
    "autotinybert_4x432": (4, 432, 384, 4, 256),
    "autotinybert_3x320": (3, 320, 608, 4, 256),
    "quick": (2, 128, 256, 4, 128),
}
"""Name -> layers, hidden, feed-forward, heads, query/key/value width.

BERT_SMALL: "Well-Read Students Learn Better" (Turc et al. 2019). The others: AutoTinyBERT (Yin et
al. 2021). "quick" is ours: small enough to train on two CPU cores in minutes.
"""


def set_architecture(config: "ConfigDict", name: str) -> None:
    """Gives `config.model` one of `ARCHITECTURES`; raises InputError for another name."""
    if name not in ARCHITECTURES:
        raise InputError(f"architecture: found {name!r}, allowed: {', '.join(ARCHITECTURES)}")
    layers, hidden, mlp, heads, qkv = ARCHITECTURES[name]
    config.model.num_layers = layers
    config.model.hidden_dim = hidden
    config.model.mlp_dim = mlp
    config.model.num_heads = heads
    config.model.qkv_dim = qkv


def wikipedia_pretraining(architecture: str) -> "ConfigDict":
    """MLM on 200,000 Wikipedia articles: 10 epochs, batches of 64, peak rate 5e-4, bfloat16.

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
    config.train.precision = "bfloat16"
    return config
