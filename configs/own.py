"""Texts of your own, with nothing to write: what --data=<file, folder or hub id> begins with.

    jaxattn study --data=reviews.csv
    python launch.py --mode=study --config=configs/own.py --config.data.path=reviews.csv

The second leaves columns and length at their defaults. An encoder that two CPU cores can train is
pretrained on the texts and fine-tuned, with every attention, beside the baselines. A published
encoder is better where there is one:

    jaxattn study --data=reviews.csv --pretrain=google-bert/bert-base-uncased

Everything can be changed by flags, as --config.train.epochs=5.

Run time: 3 minutes for 300 reviews of one line on 2 CPU cores shared with other work.
"""

from ml_collections import ConfigDict

from jaxattn.config import defaults, inherit_architecture
from jaxattn.config.presets import set_architecture


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128; asked once for every stage, as `mode`."""
    config = defaults()
    config.train.batch_size = 32
    config.train.eval_batch_size = 64
    config.train.learning_rate = 1e-3
    if mode == "finetune":
        inherit_architecture(config)
        config.train.epochs = 4
        # A thousand steps take minutes on two cores; more texts than that are passed over once.
        config.train.max_steps = 1000
        return config
    config.train.epochs = 20
    if mode == "tapt":
        inherit_architecture(config)
        config.train.learning_rate = 5e-4
        config.train.max_steps = 100
        return config
    set_architecture(config, "quick")
    config.model.max_seq_len = 1024
    config.attention.reformer_lsh.num_hashes = 2
    config.train.max_steps = 300
    return config
