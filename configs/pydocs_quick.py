"""The main job in minutes on a laptop: a small encoder on the docstrings of installed packages.

    python launch.py --mode=study --config=configs/pydocs_quick.py

Run time: 12 minutes on 2 CPU cores. Test macro-F1: sdpa 80.7, reformer_lsh 79.4, performer_favor
75.6, TF-IDF + LogReg 80.8 (docs/measurements/2026-11-21-cpu-pydocs.md).
"""

from ml_collections import ConfigDict

from jaxattn.config_io import defaults, inherit_architecture
from jaxattn.presets import set_architecture


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128; fine-tuning has its own optimisation settings."""
    config = defaults()
    config.data.name = "pydocs"
    config.data.max_length = 128
    config.data.length_buckets = (64, 128)
    config.train.batch_size = 32
    config.train.eval_batch_size = 64
    config.train.learning_rate = 1e-3
    if mode == "finetune":
        inherit_architecture(config)
        config.train.epochs = 2
        config.train.max_steps = 520
        return config
    set_architecture(config, "quick")
    config.model.max_seq_len = 128
    config.tokenizer.vocab_size = 8192
    config.attention.reformer_lsh.chunk_size = 32
    config.attention.reformer_lsh.num_hashes = 2
    config.train.epochs = 1
    config.train.max_steps = 100
    return config
