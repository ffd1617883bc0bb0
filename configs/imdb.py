"""IMDB sentiment: a small encoder with each attention on a CPU, next to TF-IDF.

    python launch.py --mode=study --config=configs/imdb.py --config.data.path=<folder>

Run time: 49 minutes on 2 busy CPU cores. Test macro-F1: sdpa 85.0, reformer_lsh 84.9,
performer_favor 83.5, TF-IDF + LogReg 89.9 (docs/measurements/2026-11-21-cpu-imdb-novels.md).
The folder holds train.parquet and test.parquet with columns text and label; without
--config.data.path the hub's stanfordnlp/imdb is read. Fine-tuning alone inherits any encoder:

    python launch.py --mode=finetune --config=configs/imdb.py --exp=imdb_lsh --pretrain=wiki_lsh
"""

from ml_collections import ConfigDict

from jaxattn.config import defaults, inherit_architecture
from jaxattn.config.presets import set_architecture


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128, 256 tokens; 150 steps of MLM on the training texts, one epoch."""
    config = defaults()
    config.data.name = "imdb"
    config.data.hub = "stanfordnlp/imdb"
    config.data.label_names = ("neg", "pos")
    config.data.max_length = 256
    config.data.length_buckets = (128, 256)
    config.train.batch_size = 32
    config.train.eval_batch_size = 64
    config.train.learning_rate = 1e-3
    if mode == "finetune":
        inherit_architecture(config)
        config.train.epochs = 1
        return config
    set_architecture(config, "quick")
    config.model.max_seq_len = 256
    config.tokenizer.vocab_size = 8192
    config.attention.reformer_lsh.chunk_size = 64
    config.attention.reformer_lsh.num_hashes = 2
    config.train.epochs = 1
    config.train.max_steps = 150
    return config
