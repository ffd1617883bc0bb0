"""Hyperpartisan news by article: a small encoder with each attention on a CPU, next to TF-IDF.

    python launch.py --mode=study --config=configs/hyperpartisan.py --config.data.path=<folder>

Without --config.data.path the hub is read. 645 articles, 80 / 10 / 10 % by data.split_seed: with
65 to test on one seed says little. --config.data.group_column=url keeps the articles of a
publisher together. Run time and result: none yet.
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import quick_classification


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128, 2,048 tokens; 150 steps of MLM, 10 epochs of fine-tuning."""
    return quick_classification(mode, "hyperpartisan", 2048, batch_size=8, epochs=10)
