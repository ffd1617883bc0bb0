"""MLM on Wikipedia articles with an encoder that two CPU cores can train.

    python launch.py --mode=pretrain --exp=wiki_sdpa --config=configs/wiki_quick.py \\
        --config.data.path=<folder> --config.attention.type=sdpa
    python launch.py --mode=tapt --exp=wiki_favor --pretrain=wiki_sdpa \\
        --config=configs/wiki_quick.py --config.data.path=<folder> \\
        --config.attention.type=performer_favor --config.attention.allow_change=true

The folder holds train and validation files with the column text. RoPE and `model.max_seq_len` let a
later stage read 8,192 tokens: configs/novels.py and configs/neurips.py start from it. Run time: 9
minutes on 2 CPU cores (LSH 16). Validation MLM loss: sdpa 5.75, reformer_lsh 5.83, performer_favor
6.76 to 6.87 (docs/measurements/2026-11-21-cpu-wiki.md).
"""

from ml_collections import ConfigDict

from jaxattn.config import defaults, inherit_architecture
from jaxattn.config.presets import set_architecture


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128; 1,600 steps (TAPT: 150) of 16 pieces of at most 256 tokens."""
    config = defaults()
    config.data.name = "wiki"
    config.data.max_length = 256
    config.data.length_buckets = (256,)
    config.train.batch_size = 16
    config.train.learning_rate = 2e-3
    config.train.max_steps = 1600
    config.train.validate_every_steps = 200
    if mode == "tapt":
        inherit_architecture(config)
        config.train.max_steps = 150
        return config
    set_architecture(config, "quick")
    config.model.max_seq_len = 8192
    config.attention.reformer_lsh.num_hashes = 2
    return config
