"""BERT_SMALL with reformer_lsh attention, pretrained on Wikipedia.

    python launch.py --config=configs/lsh_small.py --mode=pretrain --exp=wiki_lsh

RUNTIME_lsh
"""

from ml_collections import ConfigDict

from jaxattn.presets import wikipedia_pretraining


def get_config() -> ConfigDict:
    """The published recipe; --config.data.path=<folder> reads local files instead of the hub."""
    config = wikipedia_pretraining("bert_small")
    config.attention.type = "reformer_lsh"
    return config
