"""Which part of a docstring a sentence is of, from nothing: the way without a published encoder.

    python launch.py --mode=study --config=configs/pyroles_quick.py

RESULT
"""

from ml_collections import ConfigDict

from jaxattn.config import defaults, inherit_architecture
from jaxattn.config.presets import set_architecture


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128; asked once for every stage, as `mode`."""
    config = defaults()
    config.data.name = "pyroles"
    config.data.max_length = 64
    config.data.length_buckets = (16, 32, 64)
    # All sentences of the training files, those without a class too.
    config.data.mlm_splits = ("unlabelled",)
    config.train.eval_batch_size = 128
    if mode == "finetune":
        inherit_architecture(config)
        config.train.batch_size = 64
        config.train.epochs = 1
        config.train.learning_rate = 1e-3
        config.head.dropout = 0.3
        return config
    config.train.batch_size = 128
    config.train.epochs = 3
    if mode == "tapt":
        inherit_architecture(config)
        config.train.learning_rate = 1e-3
        config.train.epochs = 1
        return config
    config.train.learning_rate = 2e-3
    set_architecture(config, "quick")
    config.model.max_seq_len = 64
    config.attention.reformer_lsh.chunk_size = 16
    config.attention.reformer_lsh.num_hashes = 2
    return config
