"""The three stages in minutes on a laptop: pretrain, TAPT and fine-tune on docstrings.

    python launch.py --mode=recipe --config=configs/recipe_quick.py --exp=quick

Run time: 9 min 33 s on 2 CPU cores shared with other work (pretraining 47 s, TAPT 31 s, fine-tuning
231 s, the rest tokenising and compiling). Result: validation MLM loss 5.81, after TAPT 5.67; test
macro-F1 79.1, with exact attention and one seed.
All stages read one corpus here, so TAPT is little more than a longer pretraining: this file shows
how a recipe is written, not what TAPT is good for.
"""

from ml_collections import ConfigDict

from jaxattn.config_io import defaults, inherit_architecture
from jaxattn.presets import set_architecture


def get_config(mode: str) -> ConfigDict:
    """Asked once for every stage, as `mode`; later stages inherit architecture and vocabulary."""
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
    config.train.epochs = 1
    if mode == "tapt":
        inherit_architecture(config)
        config.train.learning_rate = 5e-4
        config.train.max_steps = 60
        return config
    set_architecture(config, "quick")
    config.model.max_seq_len = 128
    config.attention.reformer_lsh.chunk_size = 32
    config.attention.reformer_lsh.num_hashes = 2
    config.train.max_steps = 100
    return config
