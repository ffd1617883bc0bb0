"""BERT_SMALL with reformer_lsh attention, pretrained on Wikipedia.

    python launch.py --config=configs/lsh_small.py --mode=pretrain --exp=wiki_lsh

27,481,402 parameters with a vocabulary of 30,522. Run time and result: none yet, this has not been
run to the end; it is made for a GPU.
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import wikipedia_pretraining


def get_config() -> ConfigDict:
    """The published recipe; --config.data.path=<folder> reads local files instead of the hub."""
    config = wikipedia_pretraining("bert_small")
    config.attention.type = "reformer_lsh"
    return config
