"""Which part of a docstring a sentence is of, from nothing: the way without a published encoder.

    python launch.py --mode=study --config=configs/pyroles_quick.py

The MLM reads pydocs, the classifier pyroles, both built in. With exact attention and one seed
validation macro-F1 is 59.2 (TF-IDF + LogReg 57.9: within the interval of 2 points, so a tie), after
about 5 CPU minutes; the other attentions were not run. What reading gains: pyroles_minilm.py.
docs/measurements/2026-11-27-sentence-roles.md.
"""

from ml_collections import ConfigDict

from jaxattn.config import defaults, inherit_architecture
from jaxattn.config.presets import set_architecture


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128; asked once for every stage, as `mode`."""
    config = defaults()
    config.data.name = "pyroles"
    config.data.max_length = 64
    config.data.length_buckets = (16, 24, 32, 48, 64)
    config.train.batch_size = 64
    if mode in ("tapt", "finetune"):
        inherit_architecture(config)
        config.train.learning_rate = 1e-3
        config.train.epochs = 2
        config.head.dropout = 0.3
        return config
    if mode == "pretrain":
        config.data.name = "pydocs"
        config.data.length_buckets = (64,)
        config.data.packing = True
        config.train.max_steps = 600
    config.train.learning_rate = 2e-3
    set_architecture(config, "quick")
    config.model.max_seq_len = 64
    config.attention.reformer_lsh.chunk_size = 16
    config.attention.reformer_lsh.num_hashes = 2
    return config
